"""Devices on the buses where attachment is detected and not prevented: each that comes, goes or changes is recorded."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from edge_agent.database import Database
from edge_agent.devices.events import KernelEvent, Kind
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.devices.tree import Present
from shared import clock
from shared.clock import Clock
from shared.devices.record import GuardEvent
from shared.fleet.devices import MAX_DETAIL_CHARS, OtherDevice, Seen

_SCHEMA = """
CREATE TABLE IF NOT EXISTS other_device (
    kind TEXT NOT NULL, name TEXT NOT NULL, boot TEXT NOT NULL, detail TEXT NOT NULL, since TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;
"""
_VIRTUAL = "/sys/devices/virtual/"  # loop devices, bridges and the like: made by a program, attached by nobody
_MOST_ANNOUNCED = 1000

_Key = tuple[Kind, str]


@dataclass(frozen=True)
class _Known:
    detail: str
    seen: Seen
    since: datetime


class Others:
    """`look` returns what is there now. An event only says when to look, and what came and went in between."""

    def __init__(
        self, look: Callable[[], Iterable[Present]], database: Database, journal: GuardJournal, now: Clock, boot: str
    ) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        self._look, self._database, self._journal, self._clock, self._boot = look, database, journal, now, boot
        database.create(_SCHEMA)
        rows = database.read("SELECT kind, name, detail, since FROM other_device WHERE boot = ?", (boot,))
        self._known = {
            (Kind(k), name): _Known(detail, Seen.BEFORE, clock.parse(since)) for k, name, detail, since in rows
        }
        self._announced: dict[_Key, str] = {}

    def announced(self, event: KernelEvent) -> bool:
        """Return whether the event is about one of these, so that `take_up` has to be called soon."""
        if event.kind in (Kind.USB_DEVICE, Kind.USB_INTERFACE, Kind.OTHER) or event.syspath.startswith(_VIRTUAL):
            return False
        if event.devtype == "partition" or event.is_synthetic:
            return False
        if event.action == "add" and len(self._announced) < _MOST_ANNOUNCED:
            self._announced[event.kind, event.sysname] = "added"
        elif event.action == "change" and event.kind is Kind.OPTICAL and "DISK_MEDIA_CHANGE" in event.properties:
            self._announced[event.kind, event.sysname] = "medium changed"
        return event.action in ("add", "remove", "change", "move")

    def take_up(self) -> int:
        """Hold what is known against what is there, and record each difference; return how many nobody announced.

        Raises DatabaseUnavailable, DatabaseDamaged: nothing is taken up then, and the next time makes up for it.
        """
        present = {(each.kind, each.name): each.detail for each in self._look()}
        now, announced, known = self._clock.now(), dict(self._announced), dict(self._known)
        notes = [_detached(key) for key in known.keys() - present.keys()]
        for key in known.keys() - present.keys():
            del known[key]
        for key, detail in present.items():
            if key not in known:
                known[key] = _Known(detail, Seen.NOW if key in announced else Seen.WHILE_DOWN, now)
                notes.append(_detected(key, detail, known[key].seen))
            elif announced.get(key) == "medium changed":
                notes.append(_detected(key, "another medium", Seen.NOW))
        for key in announced.keys() - present.keys() - self._known.keys():
            notes += [_detected(key, "gone before it could be read", Seen.NOW), _detached(key)]
        self._keep(known, notes)
        unseen = sum(1 for key in present.keys() - self._known.keys() if key not in announced)
        self._known = known
        for key in announced:
            self._announced.pop(key, None)
        return unseen

    def states(self) -> list[OtherDevice]:
        return [
            OtherDevice(kind.value, name, known.detail[:MAX_DETAIL_CHARS], known.seen, known.since)
            for (kind, name), known in sorted(self._known.items())
        ]

    def _keep(self, known: dict[_Key, _Known], notes: list[Note]) -> None:
        if not notes:
            return
        with self._database.transaction() as connection:
            self._journal.record(*notes)
            connection.execute("DELETE FROM other_device")
            rows = [(k.value, name, self._boot, at.detail, clock.text(at.since)) for (k, name), at in known.items()]
            connection.executemany("INSERT INTO other_device VALUES (?, ?, ?, ?, ?)", rows)


def _detected(key: _Key, detail: str, seen: Seen) -> Note:
    return Note(GuardEvent.DETECTED, key[1], {"kind": key[0].value, "detail": detail, "seen": seen.value})


def _detached(key: _Key) -> Note:
    return Note(GuardEvent.DETACHED, key[1], {"kind": key[0].value})
