"""Inside the guest: can the agent's port be reached from this address?  reach.py ADDRESS"""

import fcntl
import socket
import struct
import sys

SIOCSIFADDR = 0x8916
address = sys.argv[1]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    name = f"lo:{address.split('.')[1]}".encode()
    fcntl.ioctl(any_socket, SIOCSIFADDR, struct.pack("16sH2x4s8x", name, socket.AF_INET, socket.inet_aton(address)))
try:
    socket.create_connection(("127.0.0.1", 11112), timeout=3, source_address=(address, 0)).close()
    print("reached")
except TimeoutError:
    print("nobody answers")
