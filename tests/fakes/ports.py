"""Ports for programs that have to be told one.

None is of the range from which the kernel takes a port for whoever asks for none (32768 to 60999 on Linux): tests
run side by side, and such a port may be taken again before its program has begun to listen.
"""

import secrets
import socket
from contextlib import suppress

_PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on just now, each another one."""
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in found:
                found.append(port)
    return found


def free_port() -> int:
    (port,) = free_ports(1)
    return port
