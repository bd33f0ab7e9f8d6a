"""A guard that decides nothing: a desk in memory, and the real server around it on a thread of its own."""

import os
import selectors
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.link.protocol import Explanation, Rehearsal, Welcome
from edge_agent.link.server import LinkServer
from shared.devices.record import GENESIS, GuardEvent, GuardRecord
from shared.devices.verdict import Access, Cause, Target
from shared.errors import Refused
from shared.fleet.devices import Authorized, DeviceState, GuardReport, Seen

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
HUB = DeviceState(
    "usb1", "", "1d6b:0002", "xHCI Host Controller", "0000:00:03.0", "0a" * 32, "09:00:00", Seen.BEFORE, NOW,
    Target.ALLOW, Target.ALLOW, Cause.ROOT_HUB, 0, "", Access.READ_WRITE, Authorized.YES,
)  # fmt: skip
STICK = DeviceState(
    "1-2", "usb1", "0781:5581", "Ultra", "4C53", "0b" * 32, "08:06:50", Seen.NOW, NOW,
    Target.BLOCK, Target.BLOCK, Cause.DEFAULT, 2, "serial differs: expected 4C52, found 4C53", Access.READ_WRITE,
    Authorized.NO,
)  # fmt: skip
REPORT = GuardReport("leadglass-guard 0.1.0", 3, "", True, "boot", False, 0, 0, (HUB, STICK))

REHEARSAL = Rehearsal(
    "1209:0001", "Leadglass self-test", "03:01:01", Target.BLOCK, Target.BLOCK, Cause.DEFAULT, 0, "no rule matches"
)


class NoSuchDevice(Refused):
    pass


class TooFar(Refused):
    pass


def record(number: int, prev: bytes, event: GuardEvent = GuardEvent.ATTACHED, port: str = "1-2") -> GuardRecord:
    return GuardRecord(number, prev, NOW, event, 0, port, {"id": "0781:5581", "name": "Ultra"})


def chain(count: int, port: str = "1-2", *, after: GuardRecord | None = None) -> list[bytes]:
    """Return so many records in a row, from the first one on or after another."""
    number, prev, lines = (after.number, after.digest, []) if after else (0, GENESIS, [])
    for _ in range(count):
        made = record(number + 1, prev, port=port)
        number, prev = made.number, made.digest
        lines.append(made.encode())
    return lines


class MemoryDesk:
    """Tests read what it was told, and set what it has."""

    def __init__(self, lines: list[bytes] | None = None) -> None:
        self.lines = lines or []
        self.confirmed, self.asked = 0, list[str]()
        self.offers: list[tuple[bytes | None, bytes | None]] = []
        self.strangers: list[tuple[int, int]] = []
        self.tree = REPORT
        self.busy: Exception | None = None
        self.rehearsal = REHEARSAL

    def add(self, count: int) -> None:
        after = GuardRecord.parse(self.lines[-1]) if self.lines else None
        self.lines += chain(count, after=after)

    def welcome(self) -> Welcome:
        return Welcome(REPORT.software, len(self.lines), self.confirmed)

    def offer(self, head: bytes | None, layer: bytes | None) -> None:
        self._ask("offer")
        self.offers.append((head, layer))

    def report(self) -> GuardReport:
        self._ask("report")
        return replace(self.tree, records=len(self.lines))

    def records(self, after: int, most: int) -> list[bytes]:
        self._ask("records")
        return self.lines[after : after + most]

    def confirm(self, upto: int) -> None:
        self._ask("confirm")
        if upto > len(self.lines):
            raise TooFar(f"there are {len(self.lines)} records")
        self.confirmed = max(self.confirmed, upto)

    def explain(self, port: str) -> Explanation:
        found = [device for device in self.tree.devices if device.port == port]
        if not found:
            raise NoSuchDevice(f"nothing is attached to port {port}")
        return Explanation(found[0], "allow 0781:5581 serial 4C52", "IT service, 4711", "en")

    def rehearse(self) -> Rehearsal:
        self._ask("rehearse")
        return self.rehearsal

    def stranger(self, uid: int, pid: int) -> None:
        self.strangers.append((uid, pid))

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.busy is not None:
            raise self.busy


class Loop:
    """The guard's loop as far as the link needs it: select, call what is ready, tick."""

    def __init__(self, path: Path, desk: MemoryDesk, *, users: frozenset[int] | None = None) -> None:
        self.now = 0.0
        self.selector = selectors.DefaultSelector()
        self.server = LinkServer(
            path, desk, self.selector,
            users=frozenset({os.getuid()}) if users is None else users, group=os.getgid(), monotonic=lambda: self.now,
        )  # fmt: skip
        self.server.open()

    def turn(self, timeout_s: float = 0.0) -> int:
        """Do one turn; return how many were ready."""
        ready = self.selector.select(timeout_s)
        for key, mask in ready:
            key.data(mask)
        self.server.tick()
        return len(ready)

    def turns(self) -> None:
        """Go on until nothing is ready."""
        while self.turn():
            pass

    def close(self) -> None:
        self.server.close()
        self.selector.close()


@contextmanager
def guard(path: Path, desk: MemoryDesk, *, users: frozenset[int] | None = None) -> Iterator[Loop]:
    """Run a guard's link on a thread."""
    loop, stop = Loop(path, desk, users=users), threading.Event()

    def run() -> None:
        while not stop.is_set():
            loop.now = time.monotonic()
            loop.turn(0.02)

    loop.now = time.monotonic()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield loop
    finally:
        stop.set()
        thread.join(60)
        with suppress(OSError):
            loop.close()
