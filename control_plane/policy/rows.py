"""How published policy metadata lies in the database, and what of it is current."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session
from tuf.api.metadata import Signed, Snapshot, Timestamp

from control_plane.db.models import Fact, PolicyMetadata
from control_plane.policy import sql
from control_plane.policy.roles import SNAPSHOT, TARGETS, TIMESTAMP, parse_role, rollouts_of
from control_plane.policy.verify import Held
from shared.errors import IntegrityFailure, Refused
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.rollout import Rings


class NotEstablished(Refused):
    def __init__(self) -> None:
        super().__init__("no policy root has been established here; initialise the control plane first")


class PolicyRowMissing(IntegrityFailure):
    def __init__(self, role: str, version: int) -> None:
        super().__init__(f"the database no longer holds version {version} of policy role {role}, which was published")
        self.role, self.version = role, version


@dataclass(frozen=True)
class Current:
    """What the newest timestamp names."""

    timestamp_version: int
    snapshot_version: int
    expires: datetime  # the earlier of snapshot and timestamp
    head: HeadBundle
    layers: tuple[LayerBundle, ...]
    rollouts: Mapping[str, Rings]


def held_of(session: Session, current: Current | None) -> Held:
    """Return what a new version is measured against, also before anything is published. Raises NotEstablished."""
    if current is not None:
        taken_back = sorted(layer for layer, rings in current.rollouts.items() if rings == Rings())
        rolled_out = sorted(current.rollouts.keys() - set(taken_back))
        return Held(current.head.roots, current.head.targets, current.layers, taken_back, rolled_out)
    roots = sql.roots(session)
    if not roots:
        raise NotEstablished
    return Held(roots, metadata_of(session, TARGETS, sql.newest_version(session, TARGETS)), ())


def load(session: Session, timestamp_version: int) -> Current:
    """Return what that timestamp names. Raises PolicyRowMissing, Malformed."""
    timestamp_bytes = metadata_of(session, TIMESTAMP, timestamp_version)
    timestamp = parse_role(Timestamp, timestamp_bytes).signed
    snapshot_bytes = metadata_of(session, SNAPSHOT, timestamp.snapshot_meta.version)
    snapshot = parse_role(Snapshot, snapshot_bytes).signed
    versions = {file.removesuffix(".json"): described.version for file, described in snapshot.meta.items()}
    targets = metadata_of(session, TARGETS, versions.pop(TARGETS))
    layers = []
    for layer, version in sorted(versions.items()):
        row = sql.row(session, layer, version)
        if row is None or row.policy is None:
            raise PolicyRowMissing(layer, version)
        layers.append(LayerBundle(layer, row.metadata_bytes, row.policy, row.stable or b""))
    head = HeadBundle(sql.roots(session), timestamp_bytes, snapshot_bytes, targets)
    expires = min(timestamp.expires, snapshot.expires)
    return Current(timestamp.version, snapshot.version, expires, head, tuple(layers), rollouts_of(snapshot))


def metadata_of(session: Session, role: str, version: int) -> bytes:
    row = sql.row(session, role, version)
    if row is None:
        raise PolicyRowMissing(role, version)
    return row.metadata_bytes


def role_row(role: str, signed: Signed, data: bytes, now: datetime, person: str) -> PolicyMetadata:
    return PolicyMetadata(
        role=role, version=signed.version, metadata_bytes=data, policy=None, published=now, person=person
    )


def layer_row(layer: LayerBundle, version: int, now: datetime, person: str, remark: str = "") -> PolicyMetadata:
    return PolicyMetadata(
        role=layer.layer,
        version=version,
        metadata_bytes=layer.metadata,
        policy=layer.policy,
        published=now,
        person=person,
        stable=layer.stable or None,
        remark=remark,
    )


def _fact(layer: str) -> str:
    return f"policy.recorded.{layer}"


def recorded_version(session: Session, layer: str) -> int:
    fact = session.get(Fact, _fact(layer))
    return 0 if fact is None else int(fact.value)


def mark_recorded(session: Session, row: PolicyMetadata) -> None:
    session.merge(Fact(name=_fact(row.role), value=str(row.version)))
