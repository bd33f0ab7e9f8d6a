"""What hosts reported last of a layer, from the rows of the database and by their own signatures."""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from control_plane.db.models import Host
from control_plane.enrolment.codes import readable_parts
from control_plane.fleet.reports import Report, VerifiedReports
from control_plane.rollout.gate import Member, Observation
from shared.errors import IntegrityFailure, Refused
from shared.fleet.state import HostState
from shared.identity import HostId
from shared.policy.document import ORGANISATION

_STREAMED = {"yield_per": 500}


def members(session: Session, layer: str, reports: VerifiedReports) -> tuple[Member, ...]:
    """Return every active host that has `layer`, by its last report; one that is not authentic says nothing."""
    columns = (Host.host_id, Host.asset, Host.parts, Host.state, Host.state_received, Host.evidence_spki)
    query = select(*columns).where(*_having(layer)).order_by(Host.enrolled, Host.host_id)
    layers_of, found = lru_cache(maxsize=None)(_layers_of), []
    for host_id, asset, parts, signed, received, spki in session.execute(query, execution_options=_STREAMED):
        layers = layers_of(parts)
        if layer in layers:
            report = None if signed is None else _authentic(reports, host_id, signed, spki)
            seen = None if report is None or received is None else _observed(report.outline, layer, received)
            found.append(Member(HostId.parse(host_id), asset, layers, seen))
    return tuple(found)


def _having(layer: str) -> Iterator[ColumnElement[bool]]:
    """Yield what spares reading most of the hosts without `layer`; it lets some of them through."""
    yield Host.active.is_(True)
    if layer != ORGANISATION:
        yield Host.parts.contains(layer, autoescape=True)


def _layers_of(parts: str) -> frozenset[str]:
    return frozenset({ORGANISATION, *(readable_parts(parts) or ())})


def _authentic(reports: VerifiedReports, host_id: str, signed: bytes, spki: bytes) -> Report | None:
    try:
        return reports.read(host_id, signed, spki)
    except (Refused, IntegrityFailure):
        return None


def _observed(state: HostState, layer: str, received: datetime) -> Observation | None:
    """Return what a report says of a layer, None where it does not speak of it."""
    if layer == ORGANISATION:
        accepted, in_force = state.policy_accepted, state.policy_in_force
        guard = None if state.guard is None else state.guard.policy
    elif part := next((part for part in state.layers if part.layer == layer), None):
        accepted, in_force = part.accepted, part.in_force
        guard = None if state.guard is None else state.guard.in_force(layer)
    else:
        return None
    return Observation(
        received=received,
        accepted=accepted,
        in_force=in_force,
        failed=next((each.version for each in state.failed if each.layer == layer), 0),
        listening=state.listening,
        guard=guard,
        guard_error="" if guard is None or state.guard is None else state.guard.policy_error,
        isolated=state.isolated,
    )
