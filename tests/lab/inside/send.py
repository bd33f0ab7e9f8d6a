"""Inside the guest: one image to the agent, once its port is open; prints the status.  send.py FILE

The file holds an association request, two octets that say how long it is before it, and a C-STORE request.
"""

import socket
import sys
import time
from pathlib import Path

PATIENCE_S = 60.0
STATUS = b"\x00\x00\x00\x09\x02\x00\x00\x00"  # (0000,0900), DICOM PS3.7 section E.1


def connected() -> socket.socket:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", 11112), timeout=30)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def answer(modality: socket.socket) -> bytes:
    head = modality.recv(6, socket.MSG_WAITALL)
    return head + modality.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)


data = Path(sys.argv[1]).read_bytes()
end = 2 + int.from_bytes(data[:2], "big")
with connected() as modality:
    modality.sendall(data[2:end])
    assert answer(modality)[0] == 2, "not associated"
    modality.sendall(data[end:])
    print(int.from_bytes(answer(modality).partition(STATUS)[2][:2], "little"))
