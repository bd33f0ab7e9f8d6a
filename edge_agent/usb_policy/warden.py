"""Keeps the USB devices of this host: each is read, judged, recorded, enforced and read back.

What is allowed was recorded durably before the kernel was told; what is not is blocked first. Where the journal cannot
be written, only what the machine itself needs is allowed, and the rest waits for the next look. Whatever is done
concerns the attachment that was judged, and never what has come to its port since.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from edge_agent.database import Database
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.devices.memory import Presence, WasThere
from edge_agent.devices.openness import Openness
from edge_agent.devices.ports import in_order, parent_of
from edge_agent.devices.reconcile import Mark, reconcile
from edge_agent.log import Log, why
from edge_agent.usb_policy import notes
from edge_agent.usb_policy.enforcer import Enforced, Enforcer
from shared.clock import Clock
from shared.devices.device import UsbDevice
from shared.devices.record import GuardEvent
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.fleet.devices import MAX_DETAIL_CHARS, Authorized, DeviceState, Seen

_UNJUDGED, _NOT_YET = Verdict(Target.BLOCK, Cause.UNREADABLE), Enforced(Authorized.UNKNOWN, holds=False)
_ALWAYS = (Cause.ROOT_HUB, Cause.PINNED_CONSOLE)


class Reader(Protocol):
    """The USB devices as sysfs has them. Raises an Unavailable when one is gone, a Refused when it cannot be read."""

    def ports(self) -> Iterable[str]: ...
    def read(self, port: str, /) -> UsbDevice: ...
    def instance(self, port: str, /) -> str: ...
    def held(self, port: str, /) -> AbstractContextManager[str]: ...


@dataclass(frozen=True)
class Company:
    """What is there beside a device: what was attached before it, and what is allowed now, itself among it or not."""

    before: tuple[UsbDevice, ...]
    allowed: tuple[UsbDevice, ...]


class Judge(Protocol):
    def judge(self, device: UsbDevice, company: Company, /) -> Verdict: ...

    def carried_out(self, device: UsbDevice, verdict: Verdict, /) -> None:
        """Be told of a device that was treated so."""

    def gone(self, device: UsbDevice, /) -> None:
        """Be told of a device that was taken away."""


Tell = Callable[[UsbDevice, Verdict], None]
"""Is told of each verdict that people at the machine have not been told of."""


@dataclass(frozen=True)
class Held:
    device: UsbDevice
    mark: Mark
    verdict: Verdict
    enforced: Enforced
    seen: Seen
    since: datetime
    open_before: Openness  # as far as its storage may be open now, whoever opened it
    recorded: bool = False  # that it is there, and its verdict


class Warden:
    """`alive` is called between devices, of which each may keep the kernel busy for seconds."""

    def __init__(
        self,
        reader: Reader,
        enforcer: Enforcer,
        judge: Judge,
        *,
        database: Database,
        journal: GuardJournal,
        presence: Presence,
        clock: Clock,
        log: Log,
        tell: Tell = lambda _device, _verdict: None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._reader, self._enforcer, self._judge = reader, enforcer, judge
        self._database, self._journal, self._presence = database, journal, presence
        self._clock, self._log, self._tell, self._alive = clock, log, tell, alive
        self._held: dict[str, Held] = {}
        self._refused_storage: dict[str, tuple[Cause, str]] = {}
        self._lost = 0  # how many notes could not be written since the last one that could

    def begin(self) -> None:
        """Take up what is there at the guard's start, telling what was there before from what came meanwhile."""
        self._take_up(self._presence.there())

    def attached(self, port: str) -> None:
        """Take up a device that the kernel announces. Announced twice, it is judged once unless it has changed."""
        held = self._held.get(port)
        if held is not None:
            if self._mark(port) == held.mark:
                return
            self.detached(port)
        self._take(port, Seen.NOW)

    def detached(self, port: str) -> None:
        held = self._let_go(port)
        if held is not None:
            self._note_detached(port, notes.described(held.device))

    def reconcile(self) -> int:
        """Hold what is known against sysfs; return how many differences there were, each taken up as unseen."""
        return self._take_up({port: _was(held) for port, held in self._held.items()})

    def decide_again(self) -> None:
        """Judge every device anew: policy, time or company has changed. What the kernel forgot is enforced anew."""
        for port in sorted(self._held, key=in_order):
            self._alive()
            self.look_again(port)

    def look_again(self, port: str) -> None:
        """Judge one device anew, such as when the kernel made interfaces of another of its configurations."""
        held = self._held.get(port)
        if held is None:
            return
        verdict = self._judged(held.device)
        if not held.recorded or not _is_same(verdict, held.verdict):
            self._change(held, verdict)
            return
        held = self._held[port] = replace(held, verdict=verdict)
        now = self._enforcer.read_back(held.device, held.mark.instance, verdict)
        # What leaves is no failure of ours: its event, or the next look at sysfs, has it recorded as detached.
        if not now.holds and not now.is_gone:
            self._enforce_again(held)

    def release_buses(self) -> None:
        """Have no bus hold new interfaces back any longer than one device took."""
        left_held = self._enforcer.release_buses()
        if left_held:
            self._log.event("guard.buses-released", where=left_held)

    def refuse_storage(self, port: str, cause: Cause, detail: str) -> None:
        """Keep a device whose storage is not what its verdict asks for blocked, until it is unplugged."""
        self._refused_storage[port] = (cause, detail)
        self.decide_again()

    def held(self) -> dict[str, Held]:
        return self._held

    @property
    def is_settled(self) -> bool:
        """Return whether every device is on record and as its verdict says, so that nothing has to be tried again."""
        return all(each.recorded and each.enforced.holds and _can_last(each.verdict) for each in self._held.values())

    def verdict(self, port: str) -> Verdict | None:
        held = self._held.get(port)
        return held.verdict if held is not None else None

    def next_decision(self) -> datetime | None:
        """Return the next instant at which a verdict may change by time alone."""
        return min((held.verdict.until for held in self._held.values() if held.verdict.until is not None), default=None)

    def states(self) -> list[DeviceState]:
        """Return the tree, hubs before what hangs on them."""
        return [_state(self._held[port]) for port in sorted(self._held, key=in_order)]

    def _take_up(self, known: Mapping[str, WasThere]) -> int:
        self.release_buses()
        marks = {port: self._mark(port) for port in self._reader.ports()}
        present = {port: mark for port, mark in marks.items() if mark is not None}
        changes = reconcile({port: was.mark for port, was in known.items()}, present)
        other = (*changes.changed, *changes.replugged)
        for port in (*changes.detached, *other):
            self._let_go(port)
            fingerprint = known[port].mark.fingerprint
            self._note_detached(port, {"seen": Seen.WHILE_DOWN.value, "fingerprint": fingerprint})
        # What was there first is judged first: of two that look the same the later one is the suspicious one.
        since = {port: known[port].since for port in changes.still}
        latest = self._clock.now()
        for port in sorted(present, key=lambda port: (since.get(port, latest), in_order(port))):
            self._alive()
            if port in changes.still and port not in self._held:
                self._take(port, Seen.BEFORE, known[port])
            elif port not in changes.still:
                self._take(port, Seen.WHILE_DOWN)
        return len(changes.attached) + len(changes.detached) + len(other)

    def _mark(self, port: str) -> Mark | None:
        """Return what tells this attachment from another one, None: there is none any more, or none to be told."""
        try:
            return Mark(self._readable(port).fingerprint, self._reader.instance(port), self._presence.boot)
        except (Unavailable, Refused):
            return None

    def _readable(self, port: str) -> UsbDevice:
        """Return the device, without a fingerprint where it cannot be read. Raises an Unavailable when it is gone."""
        try:
            return self._reader.read(port)
        except Refused as exc:
            return UsbDevice(port, parent_of(port), 0, 0, "", "", "", "", (), problems=(str(exc),))

    def _take(self, port: str, seen: Seen, was: WasThere | None = None) -> None:
        with ExitStack() as kept:
            try:
                instance = kept.enter_context(self._reader.held(port))
                device = self._readable(port)
            except (Unavailable, Refused) as exc:
                # It was there and is gone before anybody could look: that it was there is on record all the same.
                self._write(Note(GuardEvent.ATTACHED, port, {"seen": seen.value, "why": str(exc)}, notes.SERIOUS))
                self._note_detached(port, {"why": "it was gone before it could be read"})
                return
            self._take_up_device(device, instance, seen, was)

    def _take_up_device(self, device: UsbDevice, instance: str, seen: Seen, was: WasThere | None) -> None:
        mark = Mark(device.fingerprint, instance, self._presence.boot)
        since, before = (was.since, was.openness) if was is not None else (self._clock.now(), Openness())
        # Held before it is judged, so that a judge who looks around sees it.
        held = self._held[device.port] = Held(device, mark, _UNJUDGED, _NOT_YET, seen, since, before)
        self._carry_out(held, self._judged(device))
        if seen is not Seen.BEFORE:
            self._tell(device, self._held[device.port].verdict)

    def _change(self, held: Held, verdict: Verdict) -> None:
        self._carry_out(held, verdict)
        now = self._held[held.device.port].verdict
        if not _is_same(now, held.verdict):
            self._tell(held.device, now)

    def _carry_out(self, held: Held, verdict: Verdict) -> None:
        device = held.device
        found = self._enforcer.authorized(device, held.mark.instance)
        before = None if held.verdict is _UNJUDGED else held.verdict
        written = [] if held.recorded else [notes.attached(device, held.seen, found)]
        written += notes.decided(device, before, verdict)
        if verdict.target is Target.ALLOW:
            verdict, enforced, recorded = self._allow(held, verdict, found, written)
        else:
            enforced, recorded = self._keep_out(held, verdict, written)
        opened = Openness.of(verdict) if verdict.target is Target.ALLOW else Openness(written=False, in_clear=False)
        self._held[device.port] = replace(
            held, verdict=verdict, enforced=enforced, open_before=opened, recorded=recorded or held.recorded
        )
        try:
            self._judge.carried_out(device, verdict)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))

    def _allow(
        self, held: Held, verdict: Verdict, found: Authorized, written: Sequence[Note]
    ) -> tuple[Verdict, Enforced, bool]:
        """Record, and then allow; return what came of it, and whether it is on record."""
        device, instance = held.device, held.mark.instance
        recorded = self._write(*written, there=replace(held, verdict=verdict))
        is_closed = held.open_before.closed_by(verdict)
        if not recorded and not _may_go_unrecorded(held, verdict, is_closed=is_closed):
            verdict = Verdict(Target.BLOCK, Cause.UNRECORDED, verdict.rule, "the guard's journal cannot be written")
        if is_closed and found is Authorized.YES:
            self._enforcer.enforce(device, instance, replace(verdict, target=Target.BLOCK))
        enforced = self._enforcer.enforce(device, instance, verdict)
        self._write(notes.enforced(device.port, verdict, enforced))
        return verdict, enforced, recorded

    def _keep_out(self, held: Held, verdict: Verdict, written: Sequence[Note]) -> tuple[Enforced, bool]:
        """Block, which waits for no disk, and record it; return what came of it, and whether it is on record."""
        device, instance, there = held.device, held.mark.instance, replace(held, verdict=verdict)
        if verdict.target is Target.REJECT:
            # What is taken off the bus leaves no trace there: it is on record before.
            self._enforcer.enforce(device, instance, replace(verdict, target=Target.BLOCK))
            recorded = self._write(*written, there=there)
            enforced = self._enforcer.enforce(device, instance, verdict)
            self._write(notes.enforced(device.port, verdict, enforced))
            return enforced, recorded
        enforced = self._enforcer.enforce(device, instance, verdict)
        return enforced, self._write(*written, notes.enforced(device.port, verdict, enforced), there=there)

    def _enforce_again(self, held: Held) -> None:
        """Do what somebody undid, or what did not work before; a failure that stays the same is recorded once."""
        enforced = self._enforcer.enforce(held.device, held.mark.instance, held.verdict)
        if enforced.is_gone:
            return
        if enforced.holds or enforced != held.enforced:
            self._write(notes.enforced(held.device.port, held.verdict, enforced))
        self._held[held.device.port] = replace(held, enforced=enforced)

    def _judged(self, device: UsbDevice) -> Verdict:
        try:
            verdict = self._judge.judge(device, self._company(device))
        except (Unavailable, IntegrityFailure, Refused) as exc:
            self._log.event("guard.not-judged", why=why(exc))
            return Verdict(Target.BLOCK, Cause.UNRECORDED, detail=str(exc)[:MAX_DETAIL_CHARS])
        cause, detail = self._refused_storage.get(device.port, (verdict.cause, ""))
        is_limited = verdict.only_encrypted or verdict.access is Access.READ_ONLY
        if detail and verdict.target is Target.ALLOW and is_limited:
            return replace(verdict, target=Target.BLOCK, cause=cause, detail=detail, would_be=None)
        return verdict

    def _company(self, device: UsbDevice) -> Company:
        ports = list(self._held)
        before = ports[: ports.index(device.port)]
        return Company(
            tuple(self._held[port].device for port in before),
            tuple(held.device for held in self._held.values() if held.verdict.target is Target.ALLOW),
        )

    def _let_go(self, port: str) -> Held | None:
        held = self._held.pop(port, None)
        self._refused_storage.pop(port, None)
        if held is not None:
            self._judge.gone(held.device)
        return held

    def _note_detached(self, port: str, fields: dict[str, str]) -> None:
        self._write(Note(GuardEvent.DETACHED, port, fields), gone=port)

    def _write(self, *written: Note, there: Held | None = None, gone: str = "") -> bool:
        """Return whether the notes are durable, and with them who is there or gone."""
        if self._lost:
            lost = {"lost": str(self._lost), "why": "the guard's journal could not be written"}
            written = (Note(GuardEvent.GAP, "records", lost, notes.SERIOUS), *written)
        try:
            with self._database.transaction():
                if there is not None:
                    self._presence.note(there.device.port, _was(there))
                if gone:
                    self._presence.forget(gone)
                self._journal.record(*written)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))
            self._lost += len(written) - (1 if self._lost else 0)
            return False
        self._lost = 0
        return True


def _may_go_unrecorded(held: Held, verdict: Verdict, *, is_closed: bool) -> bool:
    """Return whether a device may be allowed without its record: it is allowed already, or always."""
    is_allowed_already = held.recorded and held.verdict.target is Target.ALLOW and not is_closed
    return verdict.cause in _ALWAYS or is_allowed_already


def _can_last(verdict: Verdict) -> bool:
    return verdict.cause is not Cause.UNRECORDED


def _is_same(verdict: Verdict, other: Verdict) -> bool:
    """Return whether they say the same; until when is told anew each time, and is no news."""
    return replace(verdict, until=None) == replace(other, until=None)


def _was(held: Held) -> WasThere:
    verdict = held.verdict
    openness = Openness.of(verdict) if verdict.target is Target.ALLOW else held.open_before
    return WasThere(held.mark, held.since, openness)


def _state(held: Held) -> DeviceState:
    device, verdict = held.device, held.verdict
    return DeviceState(
        port=device.port,
        parent=device.parent,
        id=device.id,
        name=device.name,
        serial=device.serial,
        identity=device.identity,
        interfaces=notes.shown_interfaces(device),
        seen=held.seen,
        since=held.since,
        target=verdict.target,
        would_be=verdict.would_be or verdict.target,
        cause=verdict.cause,
        rule=verdict.rule,
        detail=verdict.detail[:MAX_DETAIL_CHARS],
        access=verdict.access,
        authorized=held.enforced.authorized,
    )
