"""The kernel's event stream, by pyudev."""

import contextlib
import errno
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyudev

from edge_agent.devices.events import KernelEvent
from edge_agent.devices.sequence import MAX_GAPS, Order, Sequence
from shared.devices.printable import printable
from shared.errors import Unavailable

PROPERTIES = ("DISK_MEDIA_CHANGE", "SYNTH_UUID")  # what is asked; others are never looked at
MAX_CHARS, MAX_PATH_CHARS = 200, 1000
PATIENCE_S = 0.2  # how long a number may come late
_BUFFER_BYTES = 128 << 20  # what systemd's own programs ask for; only what waits takes room


class NoEvents(Unavailable):
    """The kernel's events cannot be listened to."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the kernel's events cannot be listened to: {why}")
        self.why = why


@dataclass(frozen=True)
class Missed:
    """Events that did not come. What happened has to be found by looking; `first` is 0 where no number is known."""

    first: int
    last: int
    why: str


class KernelEvents:
    """Every event of every subsystem, unfiltered: where a filter drops events their numbers show nothing.

    Call `read` until it returns None whenever `fileno()` is readable, and again within a second while `is_pending`, so
    that a number that did not come is told although nothing follows it; and `count` now and then.
    """

    def __init__(
        self,
        counter: Path = Path("/sys/kernel/uevent_seqnum"),
        monotonic: Callable[[], float] = time.monotonic,
        buffer_bytes: int = _BUFFER_BYTES,
    ) -> None:
        """Listen from now on. Raises NoEvents."""
        self._counter, self._monotonic = counter, monotonic
        try:
            self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
            self._enlarge(buffer_bytes)
            self._monitor.start()
            self._socket = socket.socket(fileno=os.dup(self._monitor.fileno()))
        except (OSError, ImportError) as exc:
            raise NoEvents(str(exc)) from exc
        # Read after listening began: what comes in between is only told twice, never lost.
        self._sequence = Sequence(_count(counter))
        self._gap_since = 0.0
        self._ready: deque[KernelEvent | Missed] = deque()

    def fileno(self) -> int:
        return int(self._monitor.fileno())

    def read(self) -> KernelEvent | Missed | None:
        """Return the next event, what was missed, or None: there is nothing more now. Does not wait."""
        if not self._ready:
            self._receive()
        return self._ready.popleft() if self._ready else None

    def count(self) -> bool:
        """Take what the kernel has counted beyond what came for missed, unless it comes within PATIENCE_S.

        Return False where its count cannot be read, so that only a look at everything tells what was missed.
        """
        counted = _count(self._counter)
        if counted is None:
            return False
        if self._is_readable():
            return True  # what waits to be read has numbers of its own
        if not self._sequence.gaps:
            self._gap_since = self._monotonic()
        self._sequence = self._sequence.counted(counted)
        return True

    def _is_readable(self) -> bool:
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        return bool(self._ready) or bool(waiting.poll(0))

    @property
    def is_pending(self) -> bool:
        """Return whether a number has not come yet, or something is read and not taken."""
        return bool(self._sequence.gaps or self._ready)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        del self._monitor  # which closes its own descriptor

    def _receive(self) -> None:
        try:
            # None is also what a message that is not the kernel's brings: the descriptor then stays readable.
            device = self._monitor.poll(0)
        except OSError as exc:
            self._ready.append(Missed(0, 0, self._why(exc)))
            return
        if device is not None:
            event = _event(device)
            self._account(event.seqnum)
            self._ready.append(event)
        waited = self._monotonic() - self._gap_since
        if self._sequence.gaps and (waited > PATIENCE_S or len(self._sequence.gaps) > MAX_GAPS):
            self._ready.extend(Missed(gap[0], gap[-1], "numbers that did not come") for gap in self._sequence.gaps)
            self._sequence = self._sequence.given_up()

    def _account(self, number: int) -> None:
        if number == 0:
            return
        before = self._sequence
        self._sequence, order = before.take(number)
        if order is Order.AHEAD and not before.gaps:
            self._gap_since = self._monotonic()
        elif order is Order.BACK:
            self._ready.append(Missed(0, 0, f"the numbers went back from {before.last} to {number}"))

    def _why(self, failed: OSError) -> str:
        """Return why an event did not come. Raises NoEvents: none will come any more."""
        # pyudev's poll raises without a number at an overrun and would do so for ever: it asks the socket before it
        # reads, and the socket has an error until somebody takes it.
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if failed.errno is None else failed.errno
        if number == errno.ENOBUFS:
            return "more events came than were read"
        if number == 0:
            raise NoEvents(str(failed)) from failed
        return "an event is malformed"

    def _enlarge(self, size_bytes: int) -> None:
        # Takes CAP_NET_ADMIN. Without it the buffer is as large as the system allows, and an overrun is told.
        with contextlib.suppress(OSError):
            self._monitor.set_receive_buffer_size(size_bytes)


def _event(device: Any) -> KernelEvent:
    properties = {name: _text(partial(_property, name), device) for name in PROPERTIES}
    return KernelEvent(
        action=_text(lambda at: at.action, device),
        subsystem=_text(lambda at: at.subsystem, device),
        devtype=_text(lambda at: at.device_type, device),
        sysname=_text(lambda at: at.sys_name, device),
        syspath=_text(lambda at: at.sys_path, device, MAX_PATH_CHARS),
        seqnum=int(device.sequence_number),
        properties={name: text for name, text in properties.items() if text},
    )


def _property(name: str, device: Any) -> str | None:
    value: str | None = device.properties.get(name)
    return value


def _text(get: Callable[[Any], str | None], device: Any, most_chars: int = MAX_CHARS) -> str:
    """Return what pyudev gives, which decodes strictly: a name that a device made may not be UTF-8."""
    try:
        return printable(get(device) or "", most_chars)
    except UnicodeDecodeError as exc:
        return printable(exc.object.decode("utf-8", "replace"), most_chars)


def _count(counter: Path) -> int | None:
    try:
        return int(counter.read_bytes())
    except (OSError, ValueError):
        return None
