"""Devices on the buses where attachment is detected and not prevented: each that comes, goes or changes is recorded.

So is, once, what policy does not allow; it stays where it is.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from edge_agent.database import Database
from edge_agent.devices.events import KernelEvent, Kind
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.devices.other_state import judge
from edge_agent.devices.tree import Present
from shared import clock
from shared.clock import Clock
from shared.devices.policy import DevicePolicy
from shared.devices.record import GuardEvent
from shared.fleet.devices import MAX_DETAIL_CHARS, OtherDevice, OtherState, Seen

_SCHEMA = """
CREATE TABLE IF NOT EXISTS other_device (
    kind TEXT NOT NULL, name TEXT NOT NULL, boot TEXT NOT NULL, detail TEXT NOT NULL, since TEXT NOT NULL,
    port TEXT NOT NULL, state TEXT NOT NULL, instance TEXT NOT NULL, PRIMARY KEY (kind, name)
) STRICT;
"""
_VIRTUAL = "/sys/devices/virtual/"  # loop devices, bridges and the like: made by a program, attached by nobody
_MOST_ANNOUNCED = 1000
_MINOR = 4

_Key = tuple[Kind, str]


@dataclass(frozen=True)
class _Known:
    detail: str
    port: str
    seen: Seen
    since: datetime
    state: OtherState  # as it is on record
    instance: str

    def is_another(self, there: Present) -> bool:
        """Return whether `there` is another attachment under the same name."""
        if self.instance and there.instance:
            return self.instance != there.instance
        return self.detail != there.detail


@dataclass(frozen=True)
class _Announced:
    what: str
    port: str


class Others:
    """`look` returns what is there now. An event only says when to look, and what came and went in between."""

    def __init__(
        self,
        look: Callable[[], Iterable[Present]],
        database: Database,
        journal: GuardJournal,
        now: Clock,
        boot: str,
        policy: Callable[[], DevicePolicy | None],
    ) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        self._look, self._database, self._journal, self._clock, self._boot = look, database, journal, now, boot
        self._policy = policy
        database.create(_SCHEMA)
        query = "SELECT kind, name, detail, port, since, state, instance FROM other_device WHERE boot = ?"
        self._known = {
            (Kind(kind), name): _Known(detail, port, Seen.BEFORE, clock.parse(since), OtherState(state), instance)
            for kind, name, detail, port, since, state, instance in database.read(query, (boot,))
        }
        self._announced: dict[_Key, _Announced] = {}

    def announced(self, event: KernelEvent) -> bool:
        """Return whether the event is about one of these, so that `take_up` has to be called soon."""
        if event.kind in (Kind.USB_DEVICE, Kind.USB_INTERFACE, Kind.OTHER) or _is_virtual(event):
            return False
        if event.devtype == "partition" or event.is_synthetic:
            return False
        if event.action == "add" and len(self._announced) < _MOST_ANNOUNCED:
            self._announced[event.kind, event.sysname] = _Announced("added", event.port)
        elif event.action == "change" and event.kind is Kind.OPTICAL and "DISK_MEDIA_CHANGE" in event.properties:
            self._announced[event.kind, event.sysname] = _Announced("medium changed", event.port)
        return event.action in ("add", "remove", "change", "move")

    def take_up(self) -> int:
        """Hold what is known against what is there, and record each difference; return how many nobody announced.

        Raises DatabaseUnavailable, DatabaseDamaged: nothing is taken up then, and the next time makes up for it.
        """
        present = {(each.kind, each.name): each for each in self._look()}
        now, announced, known = self._clock.now(), dict(self._announced), dict(self._known)
        replaced = {key for key in known.keys() & present.keys() if known[key].is_another(present[key])}
        gone = (known.keys() - present.keys()) | replaced
        notes = [_detached(key) for key in gone]
        for key in gone:
            del known[key]
        for key, there in present.items():
            state, before = self._judge(key, there.port), known.get(key)
            if before is None:
                seen = Seen.NOW if key in announced else Seen.WHILE_DOWN
                known[key] = _Known(there.detail, there.port, seen, now, state, there.instance)
                notes.append(_detected(key, there.detail, seen, state))
                continue
            known[key] = replace(before, detail=there.detail, port=there.port, state=state)
            if key in announced and announced[key].what == "medium changed":
                notes.append(_detected(key, "another medium", Seen.NOW, state))
            else:
                notes += _forbidden(key, before, state)
        for key in announced.keys() - present.keys() - self._known.keys():
            state = self._judge(key, announced[key].port)
            notes += [_detected(key, "gone before it could be read", Seen.NOW, state), _detached(key)]
        self._keep(known, notes)
        unseen = len(((present.keys() - self._known.keys()) | replaced) - announced.keys())
        self._known = known
        for key in announced:
            self._announced.pop(key, None)
        return unseen

    def judge_again(self) -> None:
        """Hold what is known against a policy that may be another, and record what is not allowed any more.

        Raises DatabaseUnavailable, DatabaseDamaged: the next time that it is taken up makes up for it.
        """
        known, notes = dict[_Key, _Known](), list[Note]()
        for key, before in self._known.items():
            known[key] = replace(before, state=self._judge(key, before.port))
            notes += _forbidden(key, before, known[key].state)
        self._keep(known, notes)
        self._known = known

    def states(self) -> list[OtherDevice]:
        return [
            OtherDevice(
                kind.value,
                name,
                known.detail[:MAX_DETAIL_CHARS],
                known.seen,
                known.since,
                self._judge((kind, name), known.port),  # by the policy in force, on record or not
            )
            for (kind, name), known in sorted(self._known.items())
        ]

    def _judge(self, key: _Key, port: str) -> OtherState:
        return judge(self._policy(), *key, port)

    def _keep(self, known: dict[_Key, _Known], notes: list[Note]) -> None:
        if not notes and known == self._known:
            return
        with self._database.transaction() as connection:
            self._journal.record(*notes)
            connection.execute("DELETE FROM other_device")
            rows = [
                (kind.value, name, self._boot, at.detail, clock.text(at.since), at.port, at.state.value, at.instance)
                for (kind, name), at in known.items()
            ]
            connection.executemany("INSERT INTO other_device VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _is_virtual(event: KernelEvent) -> bool:
    # What a program types with is listed, and types as well as any keyboard does.
    return event.syspath.startswith(_VIRTUAL) and event.kind is not Kind.INPUT


def _forbidden(key: _Key, before: _Known, state: OtherState) -> list[Note]:
    """Return what to record of something that is there as before, and not allowed as it was."""
    if state is not OtherState.NOT_ALLOWED or before.state is state:
        return []
    return [_detected(key, before.detail, Seen.BEFORE, state)]


def _detected(key: _Key, detail: str, seen: Seen, state: OtherState) -> Note:
    fields = {"kind": key[0].value, "detail": detail, "seen": seen.value, "state": state.words}
    return Note(GuardEvent.DETECTED, key[1], fields, _MINOR if state is OtherState.NOT_ALLOWED else 0)


def _detached(key: _Key) -> Note:
    return Note(GuardEvent.DETACHED, key[1], {"kind": key[0].value})
