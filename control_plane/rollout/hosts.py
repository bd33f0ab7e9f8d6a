"""What hosts reported last of a layer, from the rows of the database and by their own signatures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from control_plane.db.models import Host
from control_plane.enrolment.codes import parts_of
from control_plane.rollout.gate import Member, Observation
from shared.errors import IntegrityFailure, Refused
from shared.fleet.state import HostState, LayerState, verify_state
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from shared.signing import EvidencePublicKey

_STREAMED = {"yield_per": 500}
_MOST_KEPT = 20_000


class _Row(NamedTuple):
    host_id: str
    asset: str
    evidence_spki: bytes
    state: bytes | None
    state_received: datetime | None
    layers: frozenset[str]


@dataclass(frozen=True)
class _Looked:
    """What a report says, layer by layer, and the digest of all that was looked at for it."""

    digest: bytes
    received: datetime
    seen: Mapping[str, Observation]


class LastReports:
    """Safe to ask from any thread. A report that was verified already, byte for byte, is not verified again."""

    def __init__(self, most_kept: int = _MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._looked: dict[str, _Looked] = {}

    def members(self, session: Session, layer: str) -> tuple[Member, ...]:
        """Return every active host that has `layer`, by its last report; one that is not authentic says nothing."""
        return tuple(
            Member(HostId.parse(row.host_id), row.asset, row.layers, self._seen(row).get(layer))
            for row in _rows(session, layer)
        )

    def _seen(self, row: _Row) -> Mapping[str, Observation]:
        if row.state is None or row.state_received is None:
            return {}
        digest = sha256(sha256(row.evidence_spki).digest() + row.state).digest()
        looked = self._looked.get(row.host_id)
        if looked is None or (looked.digest, looked.received) != (digest, row.state_received):
            looked = _Looked(digest, row.state_received, _told(row.state, row.evidence_spki, row.state_received))
            if len(self._looked) >= self._most_kept:
                self._looked.clear()
            self._looked[row.host_id] = looked
        return looked.seen


def layers_of_hosts(session: Session, layer: str) -> dict[HostId, frozenset[str]]:
    """Return the layers of every active host that has `layer`, whatever it reported."""
    rows = session.execute(select(Host.host_id, Host.parts).where(*_having(layer)))
    layers_of = lru_cache(maxsize=None)(_layers_of)
    found = {HostId.parse(host_id): layers_of(parts) for host_id, parts in rows}
    return {host: layers for host, layers in found.items() if layer in layers}


def _rows(session: Session, layer: str) -> Iterator[_Row]:
    columns = (Host.host_id, Host.asset, Host.evidence_spki, Host.state, Host.state_received, Host.parts)
    query = select(*columns).where(*_having(layer)).order_by(Host.enrolled, Host.host_id)
    layers_of = lru_cache(maxsize=None)(_layers_of)
    for host_id, asset, spki, state, received, parts in session.execute(query, execution_options=_STREAMED):
        layers = layers_of(parts)
        if layer in layers:
            yield _Row(host_id, asset, spki, state, received, layers)


def _having(layer: str) -> Iterator[ColumnElement[bool]]:
    """Yield what spares reading most of the hosts without `layer`; it lets some of them through."""
    yield Host.active.is_(True)
    if layer != ORGANISATION:
        yield Host.parts.contains(layer, autoescape=True)


def _layers_of(parts: str) -> frozenset[str]:
    return frozenset({ORGANISATION, *parts_of(parts)})


def _told(signed: bytes, spki: bytes, received: datetime) -> Mapping[str, Observation]:
    """Return what a report says of each layer; nothing where it is not authentic."""
    try:
        state = verify_state(signed, EvidencePublicKey.parse(spki))
    except (Refused, IntegrityFailure):
        return {}
    parts = {part.layer: _observed(state, part, received) for part in state.layers}
    return {ORGANISATION: _observed(state, None, received), **parts}


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
