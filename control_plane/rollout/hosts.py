"""What hosts reported last of a layer, from the rows of the database and by their own signatures."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import Host
from control_plane.enrolment.codes import readable_parts
from control_plane.rollout.gate import Member, Observation
from shared.errors import IntegrityFailure, Refused
from shared.fleet.state import HostState, LayerState, verify_state
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from shared.signing import EvidencePublicKey


def members(session: Session, layer: str) -> tuple[Member, ...]:
    """Return every active host that has `layer`, by its last report; one that is not authentic says nothing."""
    hosts = session.scalars(select(Host).where(Host.active).order_by(Host.enrolled, Host.host_id))
    return tuple(_members(hosts, layer))


def _members(hosts: Iterator[Host], layer: str) -> Iterator[Member]:
    for host in hosts:
        state = _state(host)
        parts = {} if state is None else {part.layer: part for part in state.layers}
        layers = frozenset({ORGANISATION, *(readable_parts(host.parts) or ())})
        if layer in layers:
            seen = None
            is_told = layer == ORGANISATION or layer in parts
            if state is not None and host.state_received is not None and is_told:
                seen = _observed(state, parts.get(layer), host.state_received)
            yield Member(HostId.parse(host.host_id), host.asset, layers, seen)


def _state(host: Host) -> HostState | None:
    if host.state is None:
        return None
    try:
        return verify_state(host.state, EvidencePublicKey.parse(host.evidence_spki))
    except (Refused, IntegrityFailure):
        return None


def _observed(state: HostState, part: LayerState | None, received: datetime) -> Observation:
    guard = state.guard if part is None else None  # a guard reports the organisation's version alone
    return Observation(
        received=received,
        accepted=state.policy_accepted if part is None else part.accepted,
        in_force=state.policy_in_force if part is None else part.in_force,
        error=state.policy_error,
        listening=state.listening,
        guard=None if guard is None else guard.policy,
        guard_error="" if guard is None else guard.policy_error,
        isolated=state.isolated,
    )
