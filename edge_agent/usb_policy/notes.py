"""What is written down and reported of a device and its verdict."""

from edge_agent.devices.journal import Note
from edge_agent.usb_policy.enforcer import Enforced
from shared.devices.device import UsbDevice
from shared.devices.record import GuardEvent
from shared.devices.verdict import Access, Cause, Verdict
from shared.fleet.devices import Authorized, Seen

SERIOUS = 8
_MOST_INTERFACES_SHOWN = 16


def described(device: UsbDevice) -> dict[str, str]:
    fields = {
        "id": device.id, "name": device.name, "serial": device.serial, "identity": device.identity,
        "fingerprint": device.fingerprint, "interfaces": shown_interfaces(device),
    }  # fmt: skip
    if device.problems:
        fields["problems"] = "; ".join(device.problems)
    return fields


def shown_interfaces(device: UsbDevice) -> str:
    """Return the set of its interfaces, as many as a report takes."""
    return " ".join(map(str, sorted(device.interface_set)[:_MOST_INTERFACES_SHOWN]))


def attached(device: UsbDevice, seen: Seen, found: Authorized) -> Note:
    """`found` is what the kernel said before anything was done: a device that comes up authorised shows here."""
    fields = {**described(device), "seen": seen.value, "found_authorized": found.value}
    return Note(GuardEvent.ATTACHED, device.port, fields)


def decided(device: UsbDevice, before: Verdict | None, verdict: Verdict) -> list[Note]:
    notes = [Note(GuardEvent.DECIDED, device.port, _verdict(verdict))]
    was_rescue = before is not None and before.cause is Cause.RESCUE
    if verdict.cause is Cause.RESCUE and not was_rescue:
        notes.append(Note(GuardEvent.RESCUE_USED, device.port, described(device)))
    if was_rescue and verdict.cause is not Cause.RESCUE:
        notes.append(Note(GuardEvent.RESCUE_ENDED, device.port, {"cause": verdict.cause.value}))
    return notes


def enforced(port: str, verdict: Verdict, result: Enforced) -> Note:
    found = {"target": verdict.target.value, "authorized": result.authorized.value, "why": result.why}
    return Note(GuardEvent.ENFORCED, port, found, 0 if result.holds else SERIOUS)


def _verdict(verdict: Verdict) -> dict[str, str]:
    fields = {
        "target": verdict.target.value, "cause": verdict.cause.value, "rule": str(verdict.rule),
        "detail": verdict.detail,
    }  # fmt: skip
    if verdict.is_observed and verdict.would_be is not None:
        fields["would_be"] = verdict.would_be.value
    if verdict.access is Access.READ_ONLY:
        fields["access"] = verdict.access.value
    if verdict.only_encrypted:
        fields["only_encrypted"] = "yes"
    if verdict.interfaces is not None:
        fields["interfaces"] = " ".join(map(str, sorted(verdict.interfaces)))
    return fields
