"""The TUF roles of a Leadglass policy: who signs what, and for how long it holds.

    root       people's keys     names the keys and thresholds of all roles                       1 year
    targets    people's keys     delegates one role per layer, by the path `<layer>/*`            1 year
    <layer>    people's keys     one target: `<layer>/policy.json`, its length and SHA-256        1 year
    snapshot   the online key    version, length and SHA-256 of targets and of every layer        14 days
    timestamp  the online key    version, length and SHA-256 of the snapshot                      14 days

TUF specification 1.0 sections 4.2 to 4.6, consistent snapshots, ECDSA P-256 signatures. The online key lies at the
centre: whoever steals it can withhold a policy for as long as it lies there, and can neither write nor alter one.
docs/formats/policy.md section 1
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError, SerializationError

from shared import clock
from shared.errors import Malformed
from shared.policy.bundle import MAX_HEAD_BYTES, LayerBundle

PEOPLE_HOLD_FOR = timedelta(days=365)
ONLINE_HOLDS_FOR = timedelta(days=14)

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = Root.type, Targets.type, Snapshot.type, Timestamp.type

_HASHES = ["sha256"]

AnyRole = TypeVar("AnyRole", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True)
class RoleKeys:
    """Whose signatures a role needs, and how many of them."""

    keys: tuple[Key, ...]
    threshold: int = 1

    @property
    def key_ids(self) -> list[str]:
        return [key.keyid for key in self.keys]


def signer_of(key: ec.EllipticCurvePrivateKey) -> CryptoSigner:
    return CryptoSigner(key)


def key_of(public: ec.EllipticCurvePublicKey) -> SSlibKey:
    return SSlibKey.from_crypto(public)


def policy_path(layer: str) -> str:
    """Return the TUF target path of a layer's policy document."""
    return f"{layer}/policy.json"


def build_root(*, root: RoleKeys, targets: RoleKeys, online: RoleKeys, version: int, now: datetime) -> Root:
    holders = {ROOT: root, TARGETS: targets, SNAPSHOT: online, TIMESTAMP: online}
    return Root(
        version=version,
        expires=_after(now, PEOPLE_HOLD_FOR),
        keys=_by_id(holders.values()),
        roles={name: Role(held.key_ids, held.threshold) for name, held in holders.items()},
        consistent_snapshot=True,
    )


def build_targets(layers: Mapping[str, RoleKeys], *, version: int, now: datetime) -> Targets:
    """Return the role that delegates every layer and lists no target of its own."""
    roles = {
        layer: DelegatedRole(layer, held.key_ids, held.threshold, terminating=True, paths=[f"{layer}/*"])
        for layer, held in layers.items()
    }
    return Targets(
        version=version,
        expires=_after(now, PEOPLE_HOLD_FOR),
        delegations=Delegations(_by_id(layers.values()), roles),
    )


def build_layer(layer: str, policy: bytes, *, version: int, now: datetime) -> Targets:
    path = policy_path(layer)
    return Targets(
        version=version,
        expires=_after(now, PEOPLE_HOLD_FOR),
        targets={path: TargetFile.from_data(path, policy, _HASHES)},
    )


def build_snapshot(targets: bytes, layers: Iterable[LayerBundle], *, version: int, now: datetime) -> Snapshot:
    files = {f"{TARGETS}.json": _file(parse_role(Targets, targets).signed, targets)}
    for layer in layers:
        files[f"{layer.layer}.json"] = _file(parse_role(Targets, layer.metadata).signed, layer.metadata)
    return Snapshot(version=version, expires=_after(now, ONLINE_HOLDS_FOR), meta=files)


def build_timestamp(snapshot: bytes, *, version: int, now: datetime) -> Timestamp:
    described = _file(parse_role(Snapshot, snapshot).signed, snapshot)
    return Timestamp(
        version=version,
        expires=_after(now, ONLINE_HOLDS_FOR),
        snapshot_meta=described,
        # By this a host's device guard notices a clock that was set back; other readers of TUF pass over it.
        unrecognized_fields={"signed_at": clock.text(now)},
    )


def sign_role(signed: AnyRole, signers: Sequence[CryptoSigner]) -> bytes:
    """Return the metadata bytes of `signed` with one signature by each signer. These exact bytes are kept and sent."""
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def parse_role(kind: type[AnyRole], data: bytes) -> Metadata[AnyRole]:
    """Read metadata without believing it: in the one encoding that `sign_role` writes, and nothing beside it.

    Raises Malformed.
    """
    what = f"TUF {kind.type} metadata"
    if len(data) > MAX_HEAD_BYTES:
        raise Malformed(what, f"larger than {MAX_HEAD_BYTES} bytes")
    try:
        metadata = Metadata[AnyRole].from_bytes(data)
        printed = metadata.to_bytes()
    except (DeserializationError, SerializationError) as exc:
        raise Malformed(what, "not TUF metadata of specification 1.0") from exc
    if not isinstance(metadata.signed, kind):
        raise Malformed(what, f"it is {metadata.signed.type} metadata")
    # What lies outside `signed` is covered by no signature, so nothing but signatures may lie there.
    if printed != data or metadata.unrecognized_fields:
        raise Malformed(what, "not in the form in which it is signed")
    return metadata


def _after(now: datetime, lifetime: timedelta) -> datetime:
    return (now.astimezone(UTC) + lifetime).replace(microsecond=0)


def _by_id(held: Iterable[RoleKeys]) -> dict[str, Key]:
    return {key.keyid: key for role in held for key in role.keys}


def _file(signed: Signed, data: bytes) -> MetaFile:
    return MetaFile.from_data(signed.version, data, _HASHES)
