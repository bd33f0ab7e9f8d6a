"""Takes the kernel's events to whoever they concern; what was missed is found by looking, and is on record."""

import time
from collections.abc import Callable
from typing import Protocol

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
_MINOR, _SERIOUS = 4, 8


class Events(Protocol):
    def read(self) -> KernelEvent | Missed | None: ...


class UsbSide(Protocol):
    def attached(self, port: str, /) -> None: ...
    def detached(self, port: str, /) -> None: ...
    def reconcile(self) -> int: ...
    def decide_again(self) -> None: ...
    def look_again(self, port: str, /) -> None: ...


class Watching:
    """`on_root_hub` is called before a device on a new controller is decided about, `on_storage` when disks may have
    come or gone.
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
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events, self._usb, self._others, self._journal, self._log = events, usb, others, journal, log
        self._on_root_hub, self._on_storage, self._on_medium = on_root_hub, on_storage, on_medium
        self._monotonic_s = monotonic_s
        self._unexplained: list[Missed] = []
        self._told_s = -_QUIET_S
        self.gaps = 0

    def begin(self) -> None:
        """Take up what is there beside USB devices. What came while nobody watched is no gap in the watching."""
        self._take_up_others()
        self._on_storage()

    def drain(self) -> None:
        """Take what has come, and then judge anew what other devices may have changed."""
        usb = storage = others = False
        missed: list[Missed] = []
        for _ in range(_MOST_A_TURN):
            event = self._events.read()
            if event is None:
                break
            if isinstance(event, Missed):
                missed.append(event)
                continue
            usb = self._take(event) or usb
            if event.kind in (Kind.BLOCK, Kind.OPTICAL):
                storage = True
                self._on_medium(event)
            others = self._others.announced(event) or others
        if missed:
            self.missed(missed)
            return
        if usb:
            self._usb.decide_again()
        if usb or storage:
            self._on_storage()
        if others:
            self._take_up_others()

    def missed(self, missed: list[Missed]) -> None:
        """Look for what nobody told of, and record that there was a gap and what was found."""
        self._unexplained += missed
        if self.look() or self._monotonic_s() - self._told_s >= _QUIET_S:
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
        """Record a gap, if there was one: events that did not come, or things that nobody announced."""
        if not found and not self._unexplained:
            return
        numbers = [each for each in self._unexplained if each.first]
        fields = {
            "found": str(found),
            "missed": str(sum(each.last - each.first + 1 for each in numbers)) if numbers else "unknown",
            "why": "; ".join(dict.fromkeys(each.why for each in self._unexplained)) or "no event announced it",
        }
        if numbers:
            fields["numbers"] = f"{numbers[0].first} to {numbers[-1].last}"
        self._told_s, self._unexplained = self._monotonic_s(), []
        self.gaps += 1
        try:
            self._journal.record(Note(GuardEvent.GAP, "kernel events", fields, _SERIOUS if found else _MINOR))
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))

    def _take(self, event: KernelEvent) -> bool:
        """Return whether it was about a USB device that came or went."""
        if event.kind is Kind.USB_INTERFACE and event.action == "add":
            self._usb.look_again(event.port)
        if event.kind is not Kind.USB_DEVICE or event.is_synthetic:
            return False
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
