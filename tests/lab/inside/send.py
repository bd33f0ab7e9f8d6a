"""Inside the guest: one image by C-STORE to the agent, once its port is open; prints the status.  send.py FILE"""

import sys
import time

from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

PATIENCE_S = 60.0

entity = ApplicationEntity("CT1")
entity.add_requested_context(CTImageStorage)
end = time.monotonic() + PATIENCE_S
association = entity.associate("127.0.0.1", 11112)
while not association.is_established and time.monotonic() < end:
    time.sleep(0.5)
    association = entity.associate("127.0.0.1", 11112)
print(association.send_c_store(sys.argv[1]).Status if association.is_established else "no association")
association.release()
