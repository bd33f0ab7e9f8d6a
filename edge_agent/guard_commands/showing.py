"""The guard's report, an explanation and records as lines of text for a person.

What came from devices is printable already where it was read; it is made so again here, because whoever answers at the
socket may be another version.
"""

import json
import re
from collections.abc import Iterable, Iterator

from edge_agent.link.protocol import Explanation
from edge_agent.notices.notice import told_of_state
from edge_agent.notices.sentences import sentence
from shared import clock
from shared.devices.printable import printable
from shared.devices.record import GuardRecord
from shared.devices.verdict import Access, Cause, Target
from shared.fleet.devices import Authorized, DeviceState, Finding, GuardReport, OtherDevice, Seen

_DONE = {Target.ALLOW: "allowed", Target.BLOCK: "blocked", Target.REJECT: "blocked and disconnected"}
_SEEN = {Seen.NOW: "", Seen.WHILE_DOWN: "; attached or changed while the guard did not watch", Seen.BEFORE: ""}
_DENY = {
    "boot": "nothing is authorised by itself, from the kernel's start",
    "late": "nothing is authorised by itself, SINCE THE GUARD SET IT: what was there before then was let in",
    "no": "DEVICES ARE AUTHORISED BY THEMSELVES until the guard has decided",
}


def report_lines(report: GuardReport) -> Iterator[str]:
    yield f"policy {report.policy} in force" if report.policy else "NO POLICY: nothing new is allowed"
    if report.policy_error:
        yield f"last policy refused: {_fit(report.policy_error)}"
    yield _DENY[report.default_deny]
    if not report.clock_sure:
        yield "THE CLOCK IS NOT SURE: what is allowed for a time is not allowed now"
    if report.sidecar:
        yield "a box beside the modality: the modality's own ports are not evaluated"
    gaps = f", {report.gaps} GAPS in what was seen" if report.gaps else ""
    yield f"{report.records} records{gaps}; software {_fit(report.software)}"
    yield ""
    yield from _tree(report.devices)
    yield from map(_other_line, report.others)
    yield from map(_finding_line, report.findings)
    if report.left_out:
        yield f"{report.left_out} more are not shown"


def _tree(devices: Iterable[DeviceState]) -> Iterator[str]:
    """Yield each device below its hub; one whose hub is not in the report stands by itself."""
    below: dict[str, list[DeviceState]] = {}
    devices = sorted(devices, key=lambda device: _order(device.port))
    ports = {device.port for device in devices}
    for device in devices:
        below.setdefault(device.parent if device.parent in ports else "", []).append(device)
    waiting = [(0, device) for device in reversed(below.get("", []))]
    while waiting:
        depth, device = waiting.pop()
        yield from _device_lines(device, "  " * depth)
        # Taken, so that a report in which hubs hang on one another still ends.
        waiting += [(depth + 1, each) for each in reversed(below.pop(device.port, []))]


def _order(port: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall("[0-9]{1,9}", port)))


def _device_lines(device: DeviceState, indent: str) -> Iterator[str]:
    name = f" {quoted(device.name)}" if device.name else ""
    serial = f" serial {quoted(device.serial)}" if device.serial else ""
    yield f"{indent}{device.port:10} {device.id}{name}{serial}"
    yield f"{indent}{'':10} {verdict_text(device)}{_SEEN[device.seen]}"


def verdict_text(device: DeviceState) -> str:
    """Return what was done, why, and what sysfs says of it."""
    reason = reason_text(device.cause, device.rule, device.detail)
    read_only = ", read-only" if device.target is Target.ALLOW and device.access is Access.READ_ONLY else ""
    if device.would_be is not device.target:
        return f"OBSERVED ONLY: would be {_DONE[device.would_be]} ({reason}), and is {_DONE[device.target]}"
    return f"{_DONE[device.target]}{read_only} ({reason}), {enforced_text(device)}"


def reason_text(cause: Cause, rule: int, detail: str) -> str:
    """Return why, without the text of the rule that decided: that is for whoever asks for it."""
    if cause is Cause.RULE:
        return f"rule {rule}"
    return f"{cause.value}: {_fit(detail)}" if detail else cause.value


def enforced_text(device: DeviceState) -> str:
    if device.authorized is Authorized.UNKNOWN:
        return "NOT KNOWN whether enforced: sysfs does not tell"
    if device.is_enforced:
        return "enforced"
    return f"NOT ENFORCED: sysfs says authorised: {device.authorized.value}"


def _other_line(other: OtherDevice) -> str:
    detail = f": {_fit(other.detail)}" if other.detail else ""
    return f"{other.kind} {_fit(other.name)}{detail} ({other.state.words}){_SEEN[other.seen]}"


def _finding_line(finding: Finding) -> str:
    return f"{finding.check}: {finding.state.value}: {_fit(finding.detail)} ({clock.text(finding.time)})"


def explanation_lines(explanation: Explanation, language: str = "") -> Iterator[str]:
    device = explanation.device
    yield from _device_lines(device, "")
    yield f"interfaces {device.interfaces or 'none'}"
    yield f"identity   {device.identity}"
    yield f"since      {clock.text(device.since)}"
    if explanation.rule:
        which = "decided" if device.cause is Cause.RULE else "nearest"
        yield f"rule {device.rule} {which}: {printable(explanation.rule, len(explanation.rule))}"
    yield ""
    yield sentence(told_of_state(device, explanation.contact, explanation.language), language)


def record_line(record: GuardRecord) -> str:
    fields = " ".join(f"{_fit(name)}={_value(value)}" for name, value in sorted(record.fields.items()))
    failed = f"  FAILED ({record.outcome})" if record.outcome else ""
    what = f"{record.event.value} {_fit(record.subject)}{failed}"
    return f"{record.number:6} {clock.text(record.time)} {what}  {fields}".rstrip()


def quoted(text: str) -> str:
    """Return what a device calls itself so that it cannot read as anything of ours."""
    return json.dumps(_fit(text), ensure_ascii=False)


def _value(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9:.,/+_-]+", text) else quoted(text)


def _fit(text: str) -> str:
    return printable(text, 1000)
