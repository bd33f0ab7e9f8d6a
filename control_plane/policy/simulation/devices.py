"""Which of the devices that a host reported, or had lately, another policy would treat otherwise. Decides only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from control_plane.policy.simulation.outcomes import JudgedPolicy, Outcome
from shared.canonical import Json
from shared.devices.device import ConnectType, Interface, UsbDevice
from shared.devices.policy import DevicePolicy
from shared.devices.printable import printable
from shared.devices.simulate import loosens, treatment
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.fleet.devices import DeviceState, GuardReport, OtherDevice, OtherState

_MOST_CHARS = 500
_NOT_BY_RULES = (Cause.ROOT_HUB, Cause.PINNED_CONSOLE)
_DONE = {Target.ALLOW: "allowed", Target.BLOCK: "blocked", Target.REJECT: "rejected"}
_OTHER = {Target.ALLOW: OtherState.ALLOWED, Target.BLOCK: OtherState.NOT_ALLOWED, None: OtherState.NOT_EVALUATED}


_UNTOLD = "no report tells whether this rule is for it: {}"


@dataclass(frozen=True)
class Attached:
    """A device as the guard recorded it when it was attached."""

    device: UsbDevice
    attached: str  # when, as the record has it


Attachments: TypeAlias = Mapping[tuple[str, str], Attached]
"""Of one host, by port and identity, the newest record each."""


@dataclass(frozen=True)
class DeviceDifference:
    """`then` is None where it cannot be told; `why` is the deciding reason, or why it cannot."""

    where: str  # a port, or the kind of another bus
    id: str
    name: str
    serial: str
    now: str
    then: str | None
    why: str
    loosens: bool
    last_attached: str | None = None  # None: it is in the report

    def __post_init__(self) -> None:
        # A device may be hostile, and so may the host that tells of it.
        for name in ("where", "id", "name", "serial", "why"):
            object.__setattr__(self, name, printable(getattr(self, name), _MOST_CHARS))

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)


def differences(
    report: GuardReport, attached: Attachments, before: JudgedPolicy, after: JudgedPolicy, now: datetime
) -> Iterator[DeviceDifference | None]:
    """Yield for each USB device of a report how it would be treated otherwise, or None: as now.

    `before` is the policy under which the guard made the report; `attached` are the newest records of attachments.
    """
    around = Surroundings(now, clock_sure=report.clock_sure)
    ports = {state.port: state for state in report.devices}
    for state in report.devices:
        if state.cause in _NOT_BY_RULES:
            yield None
            continue
        device = replace(
            reported(state),
            fingerprint=_hash(state, attached),
            parent_fingerprint=_hash(ports.get(state.parent), attached),
        )
        yield _difference(state, device, before, after, around)


def gone_differences(
    report: GuardReport, attached: Attachments, before: JudgedPolicy, after: JudgedPolicy, now: datetime
) -> Iterator[DeviceDifference | None]:
    """Yield the same for each device that was attached lately and is in the report no more, as if it came back."""
    around = Surroundings(now, clock_sure=report.clock_sure)
    there = {(state.port, state.identity) for state in report.devices}
    for place, one in attached.items():
        device = one.device
        if place in there or device.is_root_hub:
            continue
        was, then = (policy.outcomes(device, around, {}) for policy in (before, after))
        if [each.key for each in was] == [each.key for each in then]:
            yield None
        else:
            yield _gone(one, was, then)


def _gone(one: Attached, was: tuple[Outcome, ...], then: tuple[Outcome, ...]) -> DeviceDifference | None:
    unknown = next((each for each in (*was[:-1], *then[:-1])), None)
    if unknown is None and treatment(was[0].verdict) == treatment(then[0].verdict):
        return None
    known = [None if len(each) > 1 else _all_words(each[0].verdict) for each in (was, then)]
    why = _reason(then[0].verdict) if unknown is None else _UNTOLD.format(unknown.text)
    is_looser = unknown is None and loosens(was[0].verdict, then[0].verdict)
    device, now = one.device, known[0] or "not known"
    return DeviceDifference(
        device.port, device.id, device.name, device.serial, now, known[1] if unknown is None else None, why, is_looser,
        one.attached,
    )  # fmt: skip


def _hash(state: DeviceState | None, attached: Attachments) -> str:
    one = None if state is None else attached.get((state.port, state.identity))
    return "" if one is None else one.device.fingerprint


def _difference(
    state: DeviceState, device: UsbDevice, before: JudgedPolicy, after: JudgedPolicy, around: Surroundings
) -> DeviceDifference | None:
    learnt = dict(before.learnt(state))
    was, then = (policy.outcomes(device, around, learnt) for policy in (before, after))
    if [each.key for each in was] == [each.key for each in then]:
        return None
    if state.cause is Cause.SUSPICIOUS:
        return _told(state, None, "it is suspicious now, and whether it still would be is not known here")
    if len(then) > 1:
        return _told(state, None, _UNTOLD.format(then[0].text))
    verdict = _effective(then[0].verdict, state.cause)
    possible = [each for each in (_effective(one.verdict, state.cause) for one in was) if _may_be(each, state)]
    is_same = {treatment(each) == treatment(verdict) for each in possible}
    if is_same == {True}:
        return None
    if is_same != {False}:
        return _told(state, None, "no report tells which rule of the policy it has now is for it")
    return _told(state, verdict, _reason(verdict), is_looser=any(loosens(each, verdict) for each in possible))


def _may_be(verdict: Verdict, state: DeviceState) -> bool:
    """Return whether a report says nothing else than that `verdict` was the guard's."""
    is_by_it = state.cause is not Cause.RULE or verdict.rule == state.rule
    return is_by_it and _shown(verdict) == (state.target, state.would_be, state.access)


def _effective(verdict: Verdict, cause: Cause) -> Verdict:
    """Return what becomes of storage that was found not to be encrypted, or not to take read-only."""
    is_found_out = (cause is Cause.NOT_ENCRYPTED and verdict.only_encrypted and not verdict.hardware_encrypted) or (
        cause is Cause.NOT_READ_ONLY and verdict.access is Access.READ_ONLY
    )
    return Verdict(Target.BLOCK, cause, verdict.rule) if is_found_out else verdict


def reported(state: DeviceState) -> UsbDevice:
    """Return a device as far as a report tells of it; it has no descriptors' hash and each interface once."""
    vendor, _, product = state.id.partition(":")
    problems = (state.detail or "unreadable",) if state.cause is Cause.UNREADABLE else ()
    return UsbDevice(
        port=state.port, parent=state.parent, vendor=int(vendor, 16), product=int(product, 16), name=state.name,
        serial=state.serial, fingerprint="", parent_fingerprint="", interfaces=parsed_interfaces(state.interfaces),
        connect_type=ConnectType.NONE, problems=problems,
    )  # fmt: skip


def parsed_interfaces(text: str) -> tuple[Interface, ...]:
    """Read interfaces as reports and records have them: cc:ss:pp, a space between."""
    parts = ([int(part, 16) for part in each.split(":")] for each in text.split())
    return tuple(Interface(class_code, subclass, protocol) for class_code, subclass, protocol in parts)


def _shown(verdict: Verdict) -> tuple[Target, Target, Access]:
    return verdict.target, verdict.would_be or verdict.target, verdict.access


def _told(state: DeviceState, verdict: Verdict | None, why: str, *, is_looser: bool = False) -> DeviceDifference:
    now = _words(state.target, state.would_be, state.access)
    then = None if verdict is None else _all_words(verdict)
    return DeviceDifference(state.port, state.id, state.name, state.serial, now, then, why, is_looser)


def _all_words(verdict: Verdict) -> str:
    return _words(*_shown(verdict)) + _limits(verdict)


def _words(target: Target, would_be: Target, access: Access) -> str:
    observed = f", only recorded that it would be {_DONE[would_be]}" if would_be is not target else ""
    return _DONE[target] + (", read-only" if access is Access.READ_ONLY else "") + observed


def _limits(verdict: Verdict) -> str:
    encrypted = ", only if it is encrypted" if verdict.only_encrypted else ""
    return encrypted + (", not with all its interfaces" if verdict.interfaces is not None else "")


def _reason(verdict: Verdict) -> str:
    return f"rule {verdict.rule}: {verdict.detail}" if verdict.rule else f"no rule is for it ({verdict.cause.value})"


def other_differences(report: GuardReport, after: DevicePolicy | None) -> Iterator[DeviceDifference]:
    """Yield what of other buses would be told otherwise; nothing is ever prevented there."""
    for other in report.others:
        then = _other_state(other, after)
        if then is not other.state:
            is_looser, was, now = then is OtherState.ALLOWED, other.state.words, then.words
            yield DeviceDifference(other.kind, "", other.name, "", was, now, "devices.others", is_looser)


def _other_state(other: OtherDevice, after: DevicePolicy | None) -> OtherState:
    if other.state is OtherState.WITH_USB_DEVICE:
        return other.state
    return _OTHER[None if after is None else after.others.of(other.kind)]
