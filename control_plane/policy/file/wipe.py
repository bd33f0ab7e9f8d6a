"""Reads what a certified wipe of a host's drive needs: `wipe`."""

from control_plane.policy.file.values import Section, Value
from shared.policy.wipe import MAX_APPROVALS, MAX_TICKET_HOURS, LeastClass, ReadBack, WipePolicy

_FIELDS = ("least", "read_back", "approvals", "ticket_hours")


def read_wipe(value: Value) -> WipePolicy:
    section = value.section(_FIELDS)
    return WipePolicy(
        least=LeastClass(_choice(section, "least", list(LeastClass))),
        read_back=ReadBack(_choice(section, "read_back", list(ReadBack))),
        approvals=section.number("approvals", MAX_APPROVALS, " of people"),
        ticket_hours=section.number("ticket_hours", MAX_TICKET_HOURS, " of hours"),
    )


def _choice(section: Section, name: str, allowed: list[str]) -> str:
    value = section.get(name)
    return allowed[0] if value is None else value.choice(allowed)
