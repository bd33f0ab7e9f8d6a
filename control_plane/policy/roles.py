"""The TUF roles of a Leadglass policy: who signs what, and for how long it holds.

    root       people's keys     names the keys and thresholds of all roles, and whose they are   1 year
    targets    people's keys     delegates one role per layer, by the path `<layer>/*`            1 year
    <layer>    people's keys     the target `<layer>/policy.json`, its length and SHA-256; while  1 year
                                 it may be rolled out, `<layer>/stable.json` too
    snapshot   the online key    version, length and SHA-256 of targets and of every layer, and   14 days
                                 which hosts a roll-out has reached
    timestamp  the online key    version, length and SHA-256 of the snapshot                      14 days

TUF specification 1.0 sections 4.2 to 4.6, consistent snapshots, ECDSA P-256 signatures. The online key lies at the
centre: whoever steals it can withhold a policy for as long as it lies there, and can neither write nor alter one.
docs/formats/policy.md section 1
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey
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

from control_plane.people.name import PERSON_PATTERN
from shared import canonical, clock
from shared.errors import Malformed
from shared.policy.bundle import MAX_HEAD_BYTES, LayerBundle
from shared.policy.rollout import ROLLOUTS, Rings, parse_rollouts, rollouts_json

PEOPLE_HOLD_FOR = timedelta(days=365)
ONLINE_HOLDS_FOR = timedelta(days=14)

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = Root.type, Targets.type, Snapshot.type, Timestamp.type

_HASHES = ["sha256"]
_NAME, _SINCE, _DANGERS = "name", "since", "dangers"

AnyRole = TypeVar("AnyRole", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True)
class RoleKeys:
    """Whose signatures a role needs, and how many of them."""

    keys: tuple[Key, ...]
    threshold: int = 1

    @property
    def key_ids(self) -> list[str]:
        return [key.keyid for key in self.keys]

    def same_as(self, other: "RoleKeys") -> bool:
        """Return whether it makes no difference to anybody which of the two is asked, in whatever order they stand."""
        return (self.threshold, _by_id([self])) == (other.threshold, _by_id([other]))


def signer_of(key: ec.EllipticCurvePrivateKey) -> CryptoSigner:
    return CryptoSigner(key)


def key_of(public: ec.EllipticCurvePublicKey, name: str = "") -> SSlibKey:
    """Return the key as root and targets list it; `name` says whose it is and is covered by their signatures."""
    key = SSlibKey.from_crypto(public)
    if name:
        key.unrecognized_fields[_NAME] = name
    return key


def named(key: Key, name: str) -> Key:
    """Return the same key with a name."""
    return Key.from_dict(key.keyid, {**key.to_dict(), _NAME: name})


def name_of(key: Key) -> str:
    """Return whose key it is, as people signed it, or the beginning of its id where it was never said."""
    return str(key.unrecognized_fields[_NAME]) if is_named(key) else f"unnamed {key.keyid[:16]!r}"


def is_named(key: Key) -> bool:
    """Return whether the key has a name that can be shown; of metadata that nobody proved, it may hold anything."""
    name = key.unrecognized_fields.get(_NAME)
    return isinstance(name, str) and re.fullmatch(PERSON_PATTERN, name) is not None


def is_plain(key: Key) -> bool:
    """Return whether nothing but a name, at the most, stands beside the key."""
    return not key.unrecognized_fields or (is_named(key) and len(key.unrecognized_fields) == 1)


def held_keys(delegator: Root | Targets, role: str) -> RoleKeys:
    """Return who may sign `role`, and how many have to. Raises Malformed."""
    try:
        found = delegator.get_delegated_role(role)
        keys = tuple(delegator.get_key(key_id) for key_id in found.keyids)
    except ValueError as exc:
        raise Malformed(f"TUF {delegator.type} metadata", f"it does not say who signs {role[:64]}") from exc
    return RoleKeys(keys, found.threshold)


def delegated_layers(targets: Targets) -> tuple[str, ...]:
    return tuple(sorted((targets.delegations.roles or {}) if targets.delegations is not None else {}))


def begins_with(targets: Targets, layer: str) -> int:
    """Return the first version of `layer` that these delegations are for; earlier ones were signed under earlier ones.

    Raises Malformed.
    """
    since = targets.unrecognized_fields.get(_SINCE, {})
    first = since.get(layer, 1) if isinstance(since, dict) else None
    if not isinstance(first, int) or isinstance(first, bool) or first < 1:
        raise Malformed("TUF targets metadata", f"{_SINCE!r} names no versions")
    return first


def policy_path(layer: str) -> str:
    """Return the TUF target path of a layer's policy document."""
    return f"{layer}/policy.json"


def stable_path(layer: str) -> str:
    """Return the TUF target path of the policy that hosts go by which a roll-out has not reached."""
    return f"{layer}/stable.json"


def build_root(*, root: RoleKeys, targets: RoleKeys, online: RoleKeys, version: int, now: datetime) -> Root:
    holders = {ROOT: root, TARGETS: targets, SNAPSHOT: online, TIMESTAMP: online}
    return Root(
        version=version,
        expires=_after(now, PEOPLE_HOLD_FOR),
        keys=_by_id(holders.values()),
        roles={name: Role(held.key_ids, held.threshold) for name, held in holders.items()},
        consistent_snapshot=True,
    )


def build_targets(
    layers: Mapping[str, RoleKeys], *, version: int, now: datetime, since: Mapping[str, int] | None = None
) -> Targets:
    """Return the role that delegates every layer and lists no target of its own.

    `since` gives, for each layer, the first version that these people sign: by it the centre still judges an earlier
    version by those who signed then, and no one who has left can write a later one. Other readers of TUF pass over it.
    """
    roles = {
        layer: DelegatedRole(layer, held.key_ids, held.threshold, terminating=True, paths=[f"{layer}/*"])
        for layer, held in layers.items()
    }
    return Targets(
        version=version,
        expires=_after(now, PEOPLE_HOLD_FOR),
        delegations=Delegations(_by_id(layers.values()), roles),
        unrecognized_fields={_SINCE: dict(since)} if since else {},
    )


def build_layer(
    layer: str, policy: bytes, *, version: int, now: datetime, stable: bytes = b"", dangers: Sequence[str] = ()
) -> Targets:
    """Return the role of a layer. With `stable` the online key may choose which of the two a host goes by.

    `dangers` are what of the change may do harm: whoever signs it signs that this is what they were shown. Other
    readers of TUF pass over their digest.
    """
    documents = {policy_path(layer): policy} | ({stable_path(layer): stable} if stable else {})
    return Targets(
        version=version,
        expires=_after(now, PEOPLE_HOLD_FOR),
        targets={path: TargetFile.from_data(path, document, _HASHES) for path, document in documents.items()},
        unrecognized_fields={_DANGERS: _dangers_digest(dangers)} if dangers else {},
    )


def is_signed_with(layer: Targets, dangers: Sequence[str]) -> bool:
    """Return whether whoever made this role of a layer was shown these very dangers, in whatever order."""
    return layer.unrecognized_fields.get(_DANGERS) == (_dangers_digest(dangers) if dangers else None)


def _dangers_digest(dangers: Sequence[str]) -> str:
    return sha256(canonical.encode([*sorted(dangers)])).hexdigest()


def build_snapshot(
    targets: bytes,
    layers: Iterable[LayerBundle],
    *,
    version: int,
    now: datetime,
    rollouts: Mapping[str, Rings] | None = None,
) -> Snapshot:
    """Return the role that says what is current, and how far each of `rollouts` is; without one, everybody."""
    files = {f"{TARGETS}.json": _file(parse_role(Targets, targets).signed, targets)}
    for layer in layers:
        files[f"{layer.layer}.json"] = _file(parse_role(Targets, layer.metadata).signed, layer.metadata)
    told = {ROLLOUTS: rollouts_json(rollouts)} if rollouts else {}
    return Snapshot(version=version, expires=_after(now, ONLINE_HOLDS_FOR), meta=files, unrecognized_fields=told)


def rollouts_of(snapshot: Snapshot) -> dict[str, Rings]:
    """Return how far each roll-out is that this snapshot names. Raises Malformed."""
    return parse_rollouts(snapshot.unrecognized_fields.get(ROLLOUTS, {}))


def build_timestamp(snapshot: bytes, *, version: int, now: datetime) -> Timestamp:
    described = _file(parse_role(Snapshot, snapshot).signed, snapshot)
    return Timestamp(
        version=version,
        expires=_after(now, ONLINE_HOLDS_FOR),
        snapshot_meta=described,
        # By this a host's device guard notices a clock that was set back; other readers of TUF pass over it.
        unrecognized_fields={"signed_at": clock.text(now)},
    )


def sign_role(signed: AnyRole, signers: Sequence[Signer]) -> bytes:
    """Return the metadata bytes of `signed` with one signature by each signer. These exact bytes are kept and sent."""
    return with_signatures(Metadata(signed), signers)


def with_signatures(metadata: Metadata[AnyRole], signers: Sequence[Signer]) -> bytes:
    """Return the metadata bytes with one more signature by each signer. Raises what a signer raises."""
    for signer in signers:
        metadata.signatures[signer.public_key.keyid] = signer.sign(metadata.signed_bytes)
    return metadata.to_bytes()


def signed_by(keys: Iterable[Key], metadata: Metadata[AnyRole]) -> frozenset[str]:
    """Return the ids of those of `keys` whose signature the metadata carries, whatever role they have in it."""
    found = set()
    for key in keys:
        signature = metadata.signatures.get(key.keyid)
        with suppress(UnverifiedSignatureError):
            if signature is not None:
                key.verify_signature(signature, metadata.signed_bytes)
                found.add(key.keyid)
    return frozenset(found)


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
