"""Inside the guest: one image by C-STORE to the agent; prints the status. send.py FILE"""

import sys

from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import CTImageStorage

entity = ApplicationEntity("CT1")
entity.add_requested_context(CTImageStorage)
association = entity.associate("127.0.0.1", 11112)
print(association.send_c_store(sys.argv[1]).Status if association.is_established else "no association")
association.release()
