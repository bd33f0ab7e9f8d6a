"""Decides from the log alone how each host stands: the last event that changes a host's standing says it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.enrolment.standing import Standing
from shared.audit.events import Event, EventName, Outcome
from shared.audit.record import AuditRecord
from shared.errors import Malformed
from shared.identity import HostId

EFFECTS: Mapping[EventName, Standing] = {
    Event.HOST_ENROLLED: Standing.ACTIVE,
    Event.HOST_REVOKED: Standing.REVOKED,
    Event.HOST_DECOMMISSIONED: Standing.DECOMMISSIONED,
    Event.HOST_REPLACED: Standing.REPLACED,
}
"""What each event of the centre's log makes of the host that it names, where it says that it succeeded."""


@dataclass(frozen=True)
class Stands:
    standing: Standing
    seq: int  # of the record that says so


def fold(records: Iterable[AuditRecord], effects: Mapping[EventName, Standing] = EFFECTS) -> dict[HostId, Stands]:
    """Return how each host stands after `records`, which come in the order of the log."""
    stands: dict[HostId, Stands] = {}
    for record in records:
        standing = effects.get(record.event)
        if standing is None or record.outcome is not Outcome.SUCCESS:
            continue
        for host in _hosts(record):
            stands[host] = Stands(standing, record.seq)
    return stands


def with_kept(stands: Mapping[HostId, Stands], kept: Mapping[HostId, int]) -> dict[HostId, Stands]:
    """Return `stands`, but revoked whom a list kept elsewhere says a record revoked, unless a later one undid it."""
    newer = {host: seq for host, seq in kept.items() if host not in stands or stands[host].seq < seq}
    return {**stands, **{host: Stands(Standing.REVOKED, seq) for host, seq in newer.items()}}


def _hosts(record: AuditRecord) -> Iterable[HostId]:
    for what in record.what:
        if what.kind == "host":
            try:
                yield HostId.parse(what.name)
            except Malformed:
                continue
