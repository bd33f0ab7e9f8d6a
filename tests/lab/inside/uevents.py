"""Inside the guest: print what the kernel says, as it says it, without waiting for udev.

`<seconds since the start> <action> <device type or subsystem> <sysfs name>`, see netlink(7).
"""

import os
import socket
import time

KOBJECT_UEVENT = 15  # <linux/netlink.h>
KERNEL = 1  # the multicast group of the kernel's own messages
BUFFER_BYTES = 16 << 20


def main() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, KOBJECT_UEVENT) as events:
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        events.bind((os.getpid(), KERNEL))
        print("listening", flush=True)
        while True:
            message = events.recv(1 << 16)
            heard = time.monotonic()
            parts = [part.partition("=") for part in message.decode(errors="replace").split("\0") if "=" in part]
            said = {name: value for name, _, value in parts}
            kind = said.get("DEVTYPE") or said.get("SUBSYSTEM", "-")
            print(f"{heard:.4f} {said.get('ACTION')} {kind} {said.get('DEVPATH', '').rpartition('/')[2]}", flush=True)


if __name__ == "__main__":
    main()
