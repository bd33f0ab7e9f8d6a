"""Keeps the USB devices of this host: each is read, judged, recorded, enforced and read back, in that order.

What is allowed was recorded durably before the kernel was told. Where the journal cannot be written, only what the
machine itself needs is allowed, and the rest waits for the next look.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from edge_agent.database import Database
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.devices.memory import Presence, WasThere
from edge_agent.devices.ports import in_order, parent_of
from edge_agent.devices.reconcile import Mark, reconcile
from edge_agent.log import Log, why
from edge_agent.usb_policy.enforcer import Enforced, Enforcer
from shared.clock import Clock
from shared.devices.device import STORAGE_CLASS, UsbDevice
from shared.devices.record import GuardEvent
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.fleet.devices import MAX_DETAIL_CHARS, Authorized, DeviceState, Seen

_MOST_INTERFACES_SHOWN = 16
_SERIOUS = 8
_UNJUDGED, _NOT_YET = Verdict(Target.BLOCK, Cause.UNREADABLE), Enforced(Authorized.UNKNOWN, holds=False)
_ALWAYS = (Cause.ROOT_HUB, Cause.PINNED_CONSOLE)


class Reader(Protocol):
    """The USB devices as sysfs has them."""

    def ports(self) -> Iterable[str]: ...

    def read(self, port: str, /) -> UsbDevice:
        """Raises an Unavailable when the device is gone, a Refused when it cannot be read."""

    def instance(self, port: str, /) -> str: ...


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


class Warden:
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
    ) -> None:
        self._tell = tell
        self._reader, self._enforcer, self._judge = reader, enforcer, judge
        self._database, self._journal, self._presence = database, journal, presence
        self._clock, self._log = clock, log
        self._held: dict[str, Held] = {}
        self._not_encrypted: dict[str, str] = {}

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
        held = self._held.pop(port, None)
        self._not_encrypted.pop(port, None)
        if held is not None:
            self._judge.gone(held.device)
            self._note_detached(port, _described(held.device))

    def reconcile(self) -> int:
        """Hold what is known against sysfs; return how many differences there were, each taken up as unseen."""
        return self._take_up({port: WasThere(held.mark, held.since) for port, held in self._held.items()})

    def _take_up(self, known: Mapping[str, WasThere]) -> int:
        marks = {port: self._mark(port) for port in self._reader.ports()}
        present = {port: mark for port, mark in marks.items() if mark is not None}
        changes = reconcile({port: was.mark for port, was in known.items()}, present)
        other = (*changes.changed, *changes.replugged)
        for port in (*changes.detached, *other):
            held = self._held.pop(port, None)
            if held is not None:
                self._judge.gone(held.device)
            self._not_encrypted.pop(port, None)
            self._note_detached(port, {"seen": Seen.WHILE_DOWN.value, "fingerprint": known[port].mark.fingerprint})
        # What was there first is judged first: of two that look the same the later one is the suspicious one.
        since = {port: known[port].since for port in changes.still}
        latest = self._clock.now()
        for port in sorted(present, key=lambda port: (since.get(port, latest), in_order(port))):
            if port in changes.still and port not in self._held:
                self._take(port, Seen.BEFORE, known[port].since)
            elif port not in changes.still:
                self._take(port, Seen.WHILE_DOWN)
        return len(changes.attached) + len(changes.detached) + len(other)

    def _mark(self, port: str) -> Mark | None:
        """Return what tells this attachment from another one, None: there is none any more."""
        try:
            return Mark(self._readable(port).fingerprint, self._reader.instance(port), self._presence.boot)
        except Unavailable:
            return None

    def _readable(self, port: str) -> UsbDevice:
        """Return the device, without a fingerprint where it cannot be read. Raises an Unavailable when it is gone."""
        try:
            return self._reader.read(port)
        except Refused as exc:
            return UsbDevice(port, parent_of(port), 0, 0, "", "", "", "", (), problems=(str(exc),))

    def decide_again(self) -> None:
        """Judge every device anew: policy, time or company has changed. What the kernel forgot is enforced anew."""
        for port in sorted(self._held, key=in_order):
            self.look_again(port)

    def look_again(self, port: str) -> None:
        """Judge one device anew, such as when the kernel made interfaces of another of its configurations."""
        held = self._held.get(port)
        if held is None:
            return
        verdict = self._judged(held.device)
        if verdict != held.verdict:
            self._change(held, verdict)
        elif not self._enforcer.holds(held.device, verdict):
            self._enforce_again(held)

    def refuse_storage(self, port: str, detail: str) -> None:
        """Keep what only encrypted media may do from a device that shows something else, until it is unplugged."""
        self._not_encrypted[port] = detail
        self.decide_again()

    def held(self) -> dict[str, Held]:
        return self._held

    def verdict(self, port: str) -> Verdict | None:
        held = self._held.get(port)
        return held.verdict if held is not None else None

    def next_decision(self) -> datetime | None:
        """Return the next instant at which a verdict may change by time alone."""
        return min((held.verdict.until for held in self._held.values() if held.verdict.until is not None), default=None)

    def states(self) -> list[DeviceState]:
        """Return the tree, hubs before what hangs on them."""
        return [_state(self._held[port]) for port in sorted(self._held, key=in_order)]

    def _take(self, port: str, seen: Seen, since: datetime | None = None) -> None:
        try:
            instance = self._reader.instance(port)
            device = self._readable(port)
        except Unavailable as exc:
            # It was there and is gone before anybody could look: that it was there is on record all the same.
            self._write(Note(GuardEvent.ATTACHED, port, {"seen": seen.value, "why": str(exc)}, _SERIOUS))
            self._note_detached(port, {"why": "it was gone before it could be read"})
            return
        mark = Mark(device.fingerprint, instance, self._presence.boot)
        # Held before it is judged, so that a judge who looks around sees it.
        self._held[port] = Held(device, mark, _UNJUDGED, _NOT_YET, seen, since or self._clock.now())
        attached = Note(GuardEvent.ATTACHED, port, {**_described(device), "seen": seen.value})
        verdict, enforced = self._carry_out(device, self._judged(device), attached)
        self._held[port] = replace(self._held[port], verdict=verdict, enforced=enforced)
        if seen is not Seen.BEFORE:
            self._tell(device, verdict)

    def _change(self, held: Held, verdict: Verdict) -> None:
        port = held.device.port
        if _closes_storage(held, verdict):
            # The kernel goes on writing to what is mounted, whatever becomes of the disk: it has to come anew.
            self._enforcer.enforce(held.device, replace(verdict, target=Target.BLOCK))
        verdict, enforced = self._carry_out(held.device, verdict, *_rescue_ended(held.verdict, verdict, port))
        self._held[port] = replace(held, verdict=verdict, enforced=enforced)
        if verdict != held.verdict:
            self._tell(held.device, verdict)

    def _enforce_again(self, held: Held) -> None:
        """Do what somebody undid, or what did not work before; a failure that stays the same is recorded once."""
        enforced = self._enforcer.enforce(held.device, held.verdict)
        if enforced.holds or enforced != held.enforced:
            self._write(_enforced(held.device.port, held.verdict, enforced))
        self._held[held.device.port] = replace(held, enforced=enforced)

    def _judged(self, device: UsbDevice) -> Verdict:
        if not device.fingerprint and not device.is_root_hub:
            return Verdict(Target.BLOCK, Cause.UNREADABLE, detail="; ".join(device.problems)[:MAX_DETAIL_CHARS])
        try:
            verdict = self._judge.judge(device, self._company(device))
        except (Unavailable, IntegrityFailure, Refused) as exc:
            self._log.event("guard.not-judged", why=why(exc))
            return Verdict(Target.BLOCK, Cause.UNRECORDED, detail=str(exc)[:MAX_DETAIL_CHARS])
        detail = self._not_encrypted.get(device.port)
        if detail is not None and verdict.target is Target.ALLOW and verdict.only_encrypted:
            return replace(verdict, target=Target.BLOCK, cause=Cause.NOT_ENCRYPTED, detail=detail, would_be=None)
        return verdict

    def _carry_out(self, device: UsbDevice, verdict: Verdict, *before: Note) -> tuple[Verdict, Enforced]:
        decided = [Note(GuardEvent.DECIDED, device.port, _decided(verdict))]
        if verdict.cause is Cause.RESCUE:
            decided.append(Note(GuardEvent.RESCUE_USED, device.port, _described(device)))
        recorded = self._write(*before, *decided, there=device)
        if not recorded and verdict.target is Target.ALLOW and verdict.cause not in _ALWAYS:
            verdict = Verdict(Target.BLOCK, Cause.UNRECORDED, verdict.rule, "the guard's journal cannot be written")
        enforced = self._enforcer.enforce(device, verdict)
        self._write(_enforced(device.port, verdict, enforced))
        try:
            self._judge.carried_out(device, verdict)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))
        return verdict, enforced

    def _company(self, device: UsbDevice) -> Company:
        ports = list(self._held)
        before = ports[: ports.index(device.port)]
        return Company(
            tuple(self._held[port].device for port in before),
            tuple(held.device for held in self._held.values() if held.verdict.target is Target.ALLOW),
        )

    def _note_detached(self, port: str, fields: dict[str, str]) -> None:
        try:
            with self._database.transaction():
                self._presence.forget(port)
                self._journal.record(Note(GuardEvent.DETACHED, port, fields))
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))

    def _write(self, *notes: Note, there: UsbDevice | None = None) -> bool:
        """Return whether the notes are durable."""
        try:
            with self._database.transaction():
                if there is not None:
                    held = self._held[there.port]
                    self._presence.note(there.port, WasThere(held.mark, held.since))
                self._journal.record(*notes)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))
            return False
        return True


def _closes_storage(held: Held, now: Verdict) -> bool:
    """Return whether storage that may have been written may be no longer, or not before it was looked at."""
    before = held.verdict
    if before.target is not Target.ALLOW or now.target is not Target.ALLOW or not held.device.has_class(STORAGE_CLASS):
        return False
    is_less = before.access is Access.READ_WRITE and now.access is Access.READ_ONLY
    return is_less or (now.only_encrypted and not before.only_encrypted)


def _rescue_ended(before: Verdict, now: Verdict, port: str) -> tuple[Note, ...]:
    if before.cause is not Cause.RESCUE or now.cause is Cause.RESCUE:
        return ()
    return (Note(GuardEvent.RESCUE_ENDED, port, {"cause": now.cause.value}),)


def _described(device: UsbDevice) -> dict[str, str]:
    fields = {
        "id": device.id, "name": device.name, "serial": device.serial, "identity": device.identity,
        "fingerprint": device.fingerprint, "interfaces": _shown_interfaces(device),
    }  # fmt: skip
    if device.problems:
        fields["problems"] = "; ".join(device.problems)
    return fields


def _shown_interfaces(device: UsbDevice) -> str:
    return " ".join(map(str, sorted(device.interface_set)[:_MOST_INTERFACES_SHOWN]))


def _enforced(port: str, verdict: Verdict, enforced: Enforced) -> Note:
    found = {"target": verdict.target.value, "authorized": enforced.authorized.value, "why": enforced.why}
    return Note(GuardEvent.ENFORCED, port, found, 0 if enforced.holds else _SERIOUS)


def _decided(verdict: Verdict) -> dict[str, str]:
    fields = {
        "target": verdict.target.value, "cause": verdict.cause.value, "rule": str(verdict.rule),
        "detail": verdict.detail,
    }  # fmt: skip
    if verdict.is_observed and verdict.would_be is not None:
        fields["would_be"] = verdict.would_be.value
    if verdict.access is Access.READ_ONLY:
        fields["access"] = verdict.access.value
    if verdict.interfaces is not None:
        fields["interfaces"] = " ".join(map(str, sorted(verdict.interfaces)))
    return fields


def _state(held: Held) -> DeviceState:
    device, verdict = held.device, held.verdict
    return DeviceState(
        port=device.port,
        parent=device.parent,
        id=device.id,
        name=device.name,
        serial=device.serial,
        identity=device.identity,
        interfaces=_shown_interfaces(device),
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
