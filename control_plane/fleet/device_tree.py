"""What people see of a guard's report: the tree of devices in words, and what of it nobody has proved. Decides only.

All text comes from devices by way of a host, and either may be hostile: it is made one printable line here, whatever
the host did with it. What a host said long ago says nothing about now, so nothing of that is called enforced.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shared.canonical import Json
from shared.devices.printable import printable
from shared.devices.verdict import Access, Cause, Target
from shared.fleet.devices import (
    Authorized,
    DeviceState,
    Finding,
    FindingState,
    GuardReport,
    OtherDevice,
    OtherState,
)

_MOST_CHARS = 500
_DONE = {Target.ALLOW: "allowed", Target.BLOCK: "blocked", Target.REJECT: "rejected"}
_CAUSES = {
    Cause.RULE: "rule {rule}",
    Cause.DEFAULT: "no rule matched",
    Cause.NO_POLICY: "the guard has no policy yet",
    Cause.ROOT_HUB: "part of the machine",
    Cause.PINNED_CONSOLE: "the pinned console",
    Cause.RESCUE: "the rescue port, for a time",
    Cause.LAPSED: "rule {rule} would allow it and is not in its time",
    Cause.SUSPICIOUS: "suspicious",
    Cause.NOT_ENCRYPTED: "storage that is not encrypted",
    Cause.NOT_READ_ONLY: "storage that could not be set read-only",
    Cause.UNRECORDED: "the guard cannot write its records",
    Cause.UNREADABLE: "its descriptors cannot be read",
}
_DENIAL = {
    "late": "devices were let in between the machine's start and the guard's (no default from the kernel's start)",
    "no": "new devices are let in before they are judged: the kernel's default is not set",
}


@dataclass(frozen=True)
class Counts:
    """Of a report that is current; a device may count under several."""

    devices: int
    blocked: int
    not_enforced: int
    unknown: int
    observed: int
    suspicious: int
    not_allowed: int  # on other buses, and there all the same

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)


def count(report: GuardReport) -> Counts:
    def of(holds: Callable[[DeviceState], bool]) -> int:
        return sum(map(holds, report.devices))

    return Counts(
        len(report.devices) + report.left_out,
        of(lambda device: device.target is not Target.ALLOW),
        of(lambda device: enforcement(device) == "not enforced"),
        of(lambda device: enforcement(device) == "unknown"),
        of(_is_observed),
        of(lambda device: device.cause is Cause.SUSPICIOUS),
        sum(1 for _ in _not_allowed(report)),
    )


def enforcement(device: DeviceState) -> str:
    """Return enforced, not enforced, or unknown, as sysfs proved it."""
    if device.is_enforced:
        return "enforced"
    if device.authorized is Authorized.UNKNOWN and not _is_observed(device):
        return "unknown"
    return "not enforced"


def tree(report: GuardReport, *, is_current: bool) -> dict[str, Json]:
    """Return the report as the people's door gives it; see `people_models`."""
    return {
        "software": _line(report.software),
        "policy": report.policy,
        "policy_error": _line(report.policy_error),
        "clock_sure": report.clock_sure,
        "default_deny": report.default_deny,
        "sidecar": report.sidecar,
        "gaps": report.gaps,
        "records": report.records,
        "left_out": report.left_out,
        "devices": [_device(device, depth, is_current=is_current) for device, depth in in_order(report.devices)],
        "others": [
            {**other.json(), "name": _line(other.name), "detail": _line(other.detail), "verdict": other.state.words}
            for other in report.others
        ],
        "findings": [_finding(finding, is_current=is_current) for finding in report.findings],
    }


def in_order(devices: Sequence[DeviceState]) -> Iterator[tuple[DeviceState, int]]:
    """Yield each device once, after the hub that it hangs on, with its depth; ports in the order of their numbers.

    What hangs on a hub that was not reported, or on itself, stands at the top.
    """
    ports = {device.port for device in devices}
    below: dict[str, list[DeviceState]] = {}
    for device in sorted(devices, key=lambda one: _by_number(one.port)):
        below.setdefault(device.parent if device.parent in ports else "", []).append(device)
    left = {id(device): device for device in devices}

    def walk(at: list[DeviceState]) -> Iterator[tuple[DeviceState, int]]:
        # A list and no recursion: how deep a host says its hubs are nested is not ours to trust.
        waiting = [(device, 0) for device in reversed(at)]
        while waiting:
            device, depth = waiting.pop()
            if left.pop(id(device), None) is not None:
                yield device, depth
                waiting += [(one, depth + 1) for one in reversed(below.get(device.port, []))]

    yield from walk(below.get("", []))
    while left:
        yield from walk([next(iter(left.values()))])


def gaps(asset: str, report: GuardReport | None) -> Iterator[str]:
    """Say what nobody has proved about what is plugged into a host, in words a person can act on."""
    if report is None:
        yield f"{asset}: no guard answers there; what is plugged in is neither seen nor prevented"
        return
    yield from (f"{asset}: guard: {what}" for what in _of_the_guard(report))
    for device in report.devices:
        if _is_observed(device):
            yield f"{asset}: {_named(device)} is only observed: it would have been {_DONE[device.would_be]}"
        elif (state := enforcement(device)) != "enforced":
            why = "cannot be read back" if state == "unknown" else f"is read back as {device.authorized.value}"
            yield f"{asset}: {_named(device)} should be {_DONE[device.target]}, and authorised {why}"
        if device.cause is Cause.SUSPICIOUS:
            yield f"{asset}: {_named(device)} is suspicious: {_line(device.detail)}"
    for other in _not_allowed(report):
        yield f"{asset}: {other.kind} {_line(other.name)} is {other.state.words}"
    for finding in report.findings:
        if finding.state is not FindingState.FINE:
            yield f"{asset}: check {finding.check}: {finding.state.value}: {_line(finding.detail)}"


def _of_the_guard(report: GuardReport) -> Iterator[str]:
    if not report.policy:
        yield "it has no device policy, so nothing new is authorised"
    if report.policy_error:
        yield f"refused a policy: {_line(report.policy_error)}"
    if not report.clock_sure:
        yield "its clock is not certain, so permissions for a time allow nothing"
    if why := _DENIAL.get(report.default_deny):
        yield why
    if report.gaps:
        yield f"events were missed {report.gaps} times; what was there afterwards was found by looking"
    if report.left_out:
        yield f"{report.left_out} devices, others or findings are not in its report, which has no room for them"
    if report.sidecar:
        yield "it runs beside the modality; the modality's own ports are not evaluated"


def _not_allowed(report: GuardReport) -> Iterator[OtherDevice]:
    return (other for other in report.others if other.state is OtherState.NOT_ALLOWED)


def _device(device: DeviceState, depth: int, *, is_current: bool) -> dict[str, Json]:
    state = enforcement(device)
    return {
        **device.json(),
        "name": _line(device.name),
        "serial": _line(device.serial),
        "detail": _line(device.detail),
        "depth": depth,
        "verdict": _verdict(device),
        "reason": _reason(device),
        "enforcement": state if is_current else "unknown",
        "observed": f"would have {_DONE[device.would_be]}" if _is_observed(device) else "",
        "suspicious": device.cause is Cause.SUSPICIOUS,
    }


def _finding(finding: Finding, *, is_current: bool) -> dict[str, Json]:
    told = {**finding.json(), "detail": _line(finding.detail)}
    return told if is_current else {**told, "state": FindingState.NOT_EVALUATED.value}


def _verdict(device: DeviceState) -> str:
    read_only = device.target is Target.ALLOW and device.access is Access.READ_ONLY
    return _DONE[device.target] + (", read-only" if read_only else "")


def _reason(device: DeviceState) -> str:
    reason = _CAUSES[device.cause].format(rule=device.rule)
    return f"{reason}: {_line(device.detail)}" if device.detail else reason


def _named(device: DeviceState) -> str:
    return f"port {device.port}: {device.id} {_line(device.name)}".rstrip()


def _is_observed(device: DeviceState) -> bool:
    return device.would_be is not device.target


def _by_number(port: str) -> list[tuple[int, str]]:
    """Order 1-2 before 1-10, and usb2 before usb10."""
    return [(int(part) if part.isascii() and part.isdecimal() else -1, part) for part in _parts(port)]


def _parts(port: str) -> list[str]:
    return port.replace("usb", "usb-").replace(".", "-").split("-")


def _line(text: str) -> str:
    return printable(text, _MOST_CHARS)
