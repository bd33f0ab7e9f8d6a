"""Takes the kernel's events to whoever they concern; what was missed is found by looking, and is on record."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from edge_agent.boundary import contained
from edge_agent.devices.events import KernelEvent, Kind
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.devices.others import Others
from edge_agent.devices.ports import is_root_hub
from edge_agent.devices.udev import Missed
from edge_agent.log import Log, why
from shared.devices.record import GuardEvent
from shared.errors import IntegrityFailure, Unavailable

_MOST_A_TURN = 256  # then others have their turn
_QUIET_S = 60.0  # misses without a consequence are told together, once in this time
_MOST_REASONS = 16
_MINOR, _SERIOUS = 4, 8


class Events(Protocol):
    def read(self) -> KernelEvent | Missed | None: ...


class UsbSide(Protocol):
    def attached(self, port: str, /) -> None: ...
    def detached(self, port: str, /) -> None: ...
    def reconcile(self) -> int: ...
    def decide_again(self) -> None: ...
    def look_again(self, port: str, /) -> None: ...


@dataclass
class _Gap:
    """What was missed and is not on record yet: sums, since a disk may be full for days."""

    found: int = 0
    missed: int = 0  # of those that have a number
    first: int = 0
    last: int = 0
    reasons: dict[str, None] = field(default_factory=dict)
    is_counted: bool = False

    def add(self, missed: Missed) -> None:
        if len(self.reasons) < _MOST_REASONS:
            self.reasons[missed.why] = None
        if missed.first:
            self.missed += missed.last - missed.first + 1
            self.first, self.last = self.first or missed.first, missed.last


@dataclass
class _Turn:
    """What is to be done once the events of a turn were taken."""

    usb: bool = False
    storage: bool = False
    others: bool = False
    look: bool = False


class Watching:
    """`on_root_hub` is called before a device on a new controller is decided about, `on_storage` when disks may have
    come or gone, and `alive` between devices, of which each may keep the kernel busy for seconds.
    """

    def __init__(
        self,
        events: Events,
        usb: UsbSide,
        others: Others,
        journal: GuardJournal,
        log: Log,
        *,
        on_root_hub: Callable[[], object],
        on_storage: Callable[[], object],
        on_medium: Callable[[KernelEvent], object] = lambda _event: None,
        alive: Callable[[], object] = lambda: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events, self._usb, self._others, self._journal, self._log = events, usb, others, journal, log
        self._on_root_hub, self._on_storage, self._on_medium = on_root_hub, on_storage, on_medium
        self._alive, self._monotonic_s = alive, monotonic_s
        self._gap = _Gap()
        self._told_s = -_QUIET_S
        self.gaps = 0

    def begin(self) -> None:
        """Take up what is there beside USB devices. What came while nobody watched is no gap in the watching."""
        self._take_up_others()
        self._on_storage()

    def drain(self) -> None:
        """Take what has come, and then judge anew what other devices may have changed. Raises NoEvents."""
        turn = _Turn()
        for _ in range(_MOST_A_TURN):
            event = self._events.read()
            if event is None:
                break
            if isinstance(event, Missed):
                self._gap.add(event)
                turn.look = True
            elif not contained(self._log, "guard.event", partial(self._take, event, turn)):
                self._gap.add(Missed(event.seqnum, event.seqnum, "an event could not be taken up"))
                turn.look = True
        if turn.look:
            self._look_for_missed()
            return
        if turn.usb:
            self._usb.decide_again()
        if turn.usb or turn.storage:
            self._on_storage()
        if turn.others:
            self._take_up_others()

    def _look_for_missed(self) -> None:
        """Look for what nobody told of, and record that there was a gap, and what was found."""
        try:
            self.look()
        finally:
            if self._monotonic_s() - self._told_s >= _QUIET_S:
                self.tell(0)

    def look(self) -> int:
        """Hold everything against sysfs; return how many differences there were, which are on record."""
        self._on_root_hub()
        found = self._usb.reconcile()
        self._usb.decide_again()
        self._on_storage()
        found += self._take_up_others()
        if found:
            self.tell(found)
        return found

    def tell(self, found: int) -> None:
        """Record a gap, if there was one: events that did not come, or things that nobody announced.

        One that cannot be recorded counts, and is told anew the next time.
        """
        gap = self._gap
        gap.found += found
        if not gap.found and not gap.reasons:
            return
        self.gaps += not gap.is_counted
        gap.is_counted = True
        fields = {
            "found": str(gap.found),
            "missed": str(gap.missed) if gap.missed else "unknown",
            "why": "; ".join(gap.reasons) or "no event announced it",
        }
        if gap.missed:
            fields["numbers"] = f"{gap.first} to {gap.last}"
        self._told_s = self._monotonic_s()
        try:
            self._journal.record(Note(GuardEvent.GAP, "kernel events", fields, _SERIOUS if gap.found else _MINOR))
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))
            return
        self._gap = _Gap()

    def _take(self, event: KernelEvent, turn: _Turn) -> None:
        if event.kind in (Kind.BLOCK, Kind.OPTICAL):
            turn.storage = True
            self._on_medium(event)
        turn.usb = self._take_usb(event) or turn.usb
        turn.others = self._others.announced(event) or turn.others

    def _take_usb(self, event: KernelEvent) -> bool:
        """Return whether it was about a USB device that came or went."""
        if event.kind is Kind.USB_INTERFACE and event.action in ("add", "bind"):
            self._usb.look_again(event.port)
        if event.kind is not Kind.USB_DEVICE or event.is_synthetic:
            return False
        self._alive()
        if event.action == "add":
            if is_root_hub(event.sysname):
                self._on_root_hub()
            self._usb.attached(event.sysname)
        elif event.action == "remove":
            self._usb.detached(event.sysname)
        else:
            return False
        return True

    def _take_up_others(self) -> int:
        try:
            return self._others.take_up()
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))
            return 0
