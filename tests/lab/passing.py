"""Passes bytes between standard input and output and a port of this machine's loopback: one connection of a guest.

QEMU starts it for each, so it imports nothing that takes long.
"""

import os
import select
import socket
import sys

_BLOCK = 1 << 16


def passed(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as there:
        open_sides = {0: there.fileno(), there.fileno(): 1}
        while open_sides:
            for side in select.select(list(open_sides), [], [])[0]:
                data = os.read(side, _BLOCK)
                if not data:
                    if side == 0:
                        there.shutdown(socket.SHUT_WR)
                        del open_sides[side]
                        continue
                    return
                _write(open_sides[side], data)


def _write(side: int, data: bytes) -> None:
    while data:
        data = data[os.write(side, data) :]


if __name__ == "__main__":
    passed(int(sys.argv[1]))
