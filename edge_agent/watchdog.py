"""Tells systemd that the service is up, what it does, and that it lives (sd_notify(3)), in a datagram each."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from shared.devices.printable import printable

_MAX_STATUS_CHARS = 200
_START_S = 60


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
    def interval_s(self) -> float:
        """Return how often `alive` has to be called: three times within its patience. 0: never."""
        return self.expected_s / 3

    def ready(self, status: str) -> None:
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        self._send(_status(status))

    def starting(self) -> None:
        """Have the start take longer: the next word comes within a minute."""
        self._send(f"EXTEND_TIMEOUT_USEC={_START_S * 1_000_000}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        # A manager that cannot be told notices the silence by itself, and a guard that waits for it would not guard.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
            out.sendto("\n".join(lines).encode(), address)


def service_manager() -> ServiceManager:
    """Take what systemd said out of the environment, so that no child answers in our place."""
    found = ServiceManager.of(os.environ, os.getpid())
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        os.environ.pop(name, None)
    return found


def _status(text: str) -> str:
    return f"STATUS={printable(text, _MAX_STATUS_CHARS)}"
