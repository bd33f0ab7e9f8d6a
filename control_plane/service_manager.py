"""Tells systemd that the control plane is up and that its doors answer (sd_notify(3)), in a datagram each."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@dataclass(frozen=True)
class ServiceManager:
    """Who started us, at `address`; empty: nobody who wants to hear. `expected_s` is its patience, 0: without end."""

    address: str = ""
    expected_s: float = 0.0

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> "ServiceManager":
        """Read what systemd put into the environment of process `pid`."""
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@"):
            return cls()
        microseconds, for_pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(pid))
        watched = microseconds.isascii() and microseconds.isdigit() and for_pid == str(pid)
        return cls(address, int(microseconds) / 1_000_000 if watched else 0.0)

    @property
    def interval_s(self) -> float | None:
        """Return how often `alive` has to be called: three times within its patience. None: never."""
        return self.expected_s / 3 or None

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, line: str) -> None:
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        # A manager that cannot be told notices the silence by itself.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
            out.sendto(line.encode(), address)


def service_manager() -> ServiceManager:
    """Take what systemd said out of the environment, so that no child answers in our place."""
    found = ServiceManager.of(os.environ, os.getpid())
    for name in _OURS:
        os.environ.pop(name, None)
    return found
