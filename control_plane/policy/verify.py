"""Decides whether policy metadata holds, by the rules of the client that every host runs (TUF 1.0 section 5).

The centre checks what a person sends before anyone sees it, and its own signing before anyone fetches it: what hosts
would refuse never leaves the building.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from control_plane.policy.exchange import PolicyParts, Publication
from control_plane.policy.roles import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    AnyRole,
    delegated_layers,
    held_keys,
    parse_role,
    policy_path,
    rollouts_of,
    stable_path,
)
from control_plane.policy.together import LayerDocument, parse_document, verify_together
from shared import clock
from shared.errors import Malformed, Refused
from shared.policy.accept import WrongLayer
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument, SealingKey
from shared.signing import EvidencePublicKey


class SignaturesMissing(Refused):
    def __init__(self, role: str, *, valid: int, needed: int) -> None:
        super().__init__(f"policy role {role} carries {valid} valid signatures of its own keys and needs {needed}")
        self.role, self.valid, self.needed = role, valid, needed


class PolicyExpired(Refused):
    def __init__(self, role: str, *, expires: datetime, now: datetime) -> None:
        super().__init__(f"policy role {role} expired at {clock.text(expires)}, it is {clock.text(now)}")
        self.role, self.expires, self.now = role, expires, now


class PolicyVersionTaken(Refused):
    """Someone else published first."""

    def __init__(self, role: str, *, offered: int, held: int) -> None:
        super().__init__(
            f"version {offered} of policy role {role} was offered and version {held} is published already; "
            f"read what it says, then publish version {held + 1}"
        )
        self.role, self.offered, self.held = role, offered, held


class PolicyVersionSkipped(Refused):
    def __init__(self, role: str, *, offered: int, held: int) -> None:
        super().__init__(f"version {offered} of policy role {role} was offered; after {held} comes {held + 1}")
        self.role, self.offered, self.held = role, offered, held


class PolicyVersionsDiffer(Refused):
    def __init__(self, layer: str, *, document: int, metadata: int) -> None:
        super().__init__(f"policy of layer {layer} says version {document}, its signed metadata {metadata}")
        self.layer, self.document, self.metadata = layer, document, metadata


class MetadataMismatch(Refused):
    """A file is not the one that the signed metadata above it describes."""

    def __init__(self, what: str, *, described_by: str) -> None:
        super().__init__(f"{what} is not the file whose version, length and digest the {described_by} metadata names")
        self.what, self.described_by = what, described_by


class LayerNotDelegated(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(f"the targets metadata does not delegate layer {layer} by the path {layer}/*")
        self.layer = layer


class SignersDiffer(Refused):
    """Whoever signs targets gives the layers away, so fewer or others there would be who signs policy in the end."""

    def __init__(self, layer: str) -> None:
        super().__init__(
            f"the root has targets signed by other keys, or by another number of them, than layer {layer} is; whoever "
            "signs targets can give the layer to anybody, so both have to be the same; sign nothing of this, and ask "
            "who made it"
        )
        self.layer = layer


class ForeignSealingKey(Refused):
    def __init__(self, key: SealingKey) -> None:
        super().__init__(
            f"policy seals to {key.purpose.value} key {key.key.key_id}, which this centre does not hold as such; "
            "what hosts seal to it could never be opened"
        )
        self.key_id = key.key.key_id


class ForeignReceiptKey(Refused):
    def __init__(self, *, offered: EvidencePublicKey, held: EvidencePublicKey) -> None:
        super().__init__(
            f"policy names receipt key {offered.key_id}, this centre signs receipts with {held.key_id}; "
            "no host could believe that its images have arrived"
        )
        self.offered, self.held = offered.key_id, held.key_id


class WrongOnlineKey(Refused):
    def __init__(self, role: str, online_key_id: str) -> None:
        super().__init__(
            f"root metadata gives role {role} to key {online_key_id[:16]}, which is not this centre's online key"
        )
        self.role, self.online_key_id = role, online_key_id


class StableDiffers(Refused):
    """Hosts that a roll-out has not reached would go by something else than what they have."""

    def __init__(self, layer: str) -> None:
        super().__init__(
            f"the policy of layer {layer} is signed to be rolled out, and what it leaves the other hosts with is not "
            "what every host has now; have it signed anew on top of what is published"
        )
        self.layer = layer


class NothingStable(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(
            f"layer {layer} cannot be rolled out in rings: there is no policy signed for hosts that a roll-out has not "
            "reached; the first one of a layer is for everybody at once"
        )
        self.layer = layer


@dataclass(frozen=True)
class Held:
    """What is published, which every new version is measured against.

    Of `taken_back` layers hosts have `stable`; of `rolled_out` ones some hosts have, or may be given again, `stable`.
    """

    roots: tuple[bytes, ...]
    targets: bytes
    layers: tuple[LayerBundle, ...]
    taken_back: Collection[str] = ()
    rolled_out: Collection[str] = ()

    @classmethod
    def of(cls, parts: PolicyParts) -> "Held":
        """Return what the centre says is published, which is still to be verified."""
        return cls(parts.roots, parts.targets, parts.layers, parts.taken_back, parts.rolled_out)

    def in_force(self, layer: str) -> bytes:
        """Return the policy that every host of `layer` has, where none is being rolled out; empty: there is none."""
        held = next((held for held in self.layers if held.layer == layer), None)
        if held is None:
            return b""
        return held.stable if layer in self.taken_back else held.policy

    def on_hosts(self) -> Iterator[LayerDocument]:
        """Yield what hosts have of each layer: both documents of one that is rolled out. Raises Malformed."""
        for layer in self.layers:
            yield parse_document(layer.layer, self.in_force(layer.layer))
            if layer.layer in self.rolled_out and layer.stable:
                yield parse_document(layer.layer, layer.stable)


@dataclass(frozen=True)
class CentreKeys:
    """What this centre can open and what it signs receipts with."""

    sealing: tuple[SealingKey, ...]
    receipts: EvidencePublicKey


class Verifier(Protocol):
    def __call__(self, offered: Publication, held: Held, keys: CentreKeys, now: datetime) -> LayerDocument:
        """Return the policy that `offered` publishes once everything about it holds, or raise."""


def verify_publication(offered: Publication, held: Held, keys: CentreKeys, now: datetime) -> LayerDocument:
    """Return the policy that `offered` publishes, once it holds under the root, follows what is held, and seals to us.

    What hosts put together of it and the layers that are held has to be valid too.

    Raises Malformed, SignaturesMissing, PolicyExpired, PolicyVersionTaken, PolicyVersionSkipped, PolicyVersionsDiffer,
    MetadataMismatch, LayerNotDelegated, SignersDiffer, WrongLayer, StableDiffers, ForeignSealingKey, ForeignReceiptKey,
    OrganisationFirst, LayersDisagree, TooManyCombinations.
    """
    root = verify_roots(held.roots, now)
    targets = verify_targets(root, held.targets, now)
    verify_signers_agree(root, targets)
    document = verify_layer(targets, offered.bundle)
    verify_time(offered.layer, parse_role(Targets, offered.metadata).signed, now)
    verify_next(offered.layer, document.version, layer_version(held.layers, offered.layer))
    verify_stable(offered.bundle, held)
    if isinstance(document, PolicyDocument):
        verify_ours(document, keys)
    verify_together(document, others_of(offered.layer, held.layers))
    return document


def verify_stable(offered: LayerBundle, held: Held) -> None:
    """Raise StableDiffers unless `offered` leaves hosts that a roll-out does not reach with what they have."""
    if offered.stable and offered.stable != held.in_force(offered.layer):
        raise StableDiffers(offered.layer)


def others_of(offered: str, held: Iterable[LayerBundle]) -> Iterator[LayerDocument]:
    """Yield what hosts may have of the other layers: their newest, and what their newest may be taken back to."""
    for layer in held:
        if layer.layer != offered:
            yield from (parse_document(layer.layer, data) for data in (layer.policy, layer.stable) if data)


def verify_head(head: HeadBundle, layers: Iterable[LayerBundle], now: datetime) -> None:
    """Walk the whole chain as a host does that knows nothing but the first root.

    A layer may have expired by itself: hosts keep the last they accepted, and the other layers go on.

    Raises Malformed, SignaturesMissing, PolicyExpired, PolicyVersionsDiffer, MetadataMismatch, LayerNotDelegated,
    SignersDiffer, WrongLayer, NothingStable.
    """
    root = verify_roots(head.roots, now)
    timestamp = _verify_role(root, Timestamp, TIMESTAMP, head.timestamp, now)
    snapshot = _verify_role(root, Snapshot, SNAPSHOT, head.snapshot, now)
    _verify_described(head.snapshot, snapshot, timestamp.snapshot_meta, what=SNAPSHOT, described_by=TIMESTAMP)
    targets = verify_targets(root, head.targets, now)
    verify_signers_agree(root, targets)
    _verify_described(head.targets, targets, snapshot.meta.get("targets.json"), what=TARGETS, described_by=SNAPSHOT)
    published = tuple(layers)
    for name in rollouts_of(snapshot):
        if not any(layer.layer == name and layer.stable for layer in published):
            raise NothingStable(name)
    for layer in published:
        verify_layer(targets, layer)
        signed = parse_role(Targets, layer.metadata).signed
        described = snapshot.meta.get(f"{layer.layer}.json")
        _verify_described(layer.metadata, signed, described, what=layer.layer, described_by=SNAPSHOT)


def verify_roots(roots: Sequence[bytes], now: datetime) -> Root:
    """Return the newest root: the first signs itself, and each later one is signed by the one before and by itself."""
    trusted: Root | None = None
    for data in roots:
        metadata = parse_role(Root, data)
        offered = metadata.signed
        if trusted is not None:
            _verify_signatures(trusted, ROOT, metadata)
            verify_next(ROOT, offered.version, trusted.version)
        _verify_signatures(offered, ROOT, metadata)
        verify_consistent(offered)
        trusted = offered
    if trusted is None:
        raise Malformed("policy roots", "there is none")
    verify_time(ROOT, trusted, now)
    return trusted


def verify_consistent(root: Root) -> None:
    if root.consistent_snapshot is not True:
        raise Malformed("TUF root metadata", "consistent_snapshot is not true")


def verify_targets(root: Root, data: bytes, now: datetime) -> Targets:
    _verify_role(root, Targets, TARGETS, data, now)
    return read_unsigned_targets(data)


def read_unsigned_targets(data: bytes) -> Targets:
    targets = parse_role(Targets, data).signed
    if targets.targets:
        raise Malformed("TUF targets metadata", "lists a target itself; policies belong to layers")
    return targets


def verify_signers_agree(root: Root, targets: Targets) -> None:
    """Raise SignersDiffer unless the very keys and threshold of targets are those of each layer, names included."""
    for layer in delegated_layers(targets):
        if not held_keys(root, TARGETS).same_as(held_keys(targets, layer)):
            raise SignersDiffer(layer)


def verify_layer(targets: Targets, layer: LayerBundle) -> LayerDocument:
    """Return the policy document of `layer`, once its role is signed and describes it, and `stable` where there is one.

    Whether it has expired is not asked: what is held and past its time is still what the next version follows.
    """
    _verify_delegated(targets, layer.layer)
    _verify_signatures(targets, layer.layer, parse_role(Targets, layer.metadata))
    return _read_layer(layer)


def read_unsigned_layer(targets: Targets, layer: LayerBundle) -> LayerDocument:
    """Return what `verify_layer` would, but for the signatures, which people are still to give."""
    _verify_delegated(targets, layer.layer)
    return _read_layer(layer)


def _verify_delegated(targets: Targets, layer: str) -> None:
    path = policy_path(layer)
    responsible = [] if targets.delegations is None else list(targets.delegations.get_roles_for_target(path))
    # Clients ask the first role that a path is delegated to, and no other one where that delegation terminates.
    if responsible[:1] != [(layer, True)]:
        raise LayerNotDelegated(layer)


def _read_layer(layer: LayerBundle) -> LayerDocument:
    path, signed = policy_path(layer.layer), parse_role(Targets, layer.metadata).signed
    described = {path: layer.policy} | ({stable_path(layer.layer): layer.stable} if layer.stable else {})
    if signed.delegations is not None or sorted(signed.targets) != sorted(described):
        raise Malformed(
            f"TUF metadata of layer {layer.layer}",
            f"its targets are {' and '.join(described)} by what comes with it, and it delegates nothing",
        )
    for name, data in described.items():
        _verify_target(layer.layer, data, signed.targets[name])
    document = _read_document(layer.layer, layer.policy)
    if document.version != signed.version:
        raise PolicyVersionsDiffer(layer.layer, document=document.version, metadata=signed.version)
    if layer.stable and read_stable(layer).version >= document.version:
        raise Malformed(f"stable policy of layer {layer.layer}", "it is not older than the one that is rolled out")
    return document


def read_stable(layer: LayerBundle) -> LayerDocument:
    """Return the policy of hosts that a roll-out of `layer`, which was verified and has one, does not reach."""
    return _read_document(layer.layer, layer.stable)


def organisation_of(document: LayerDocument) -> PolicyDocument:
    """Raises WrongLayer."""
    if not isinstance(document, PolicyDocument):
        raise WrongLayer(offered=document.layer, expected=ORGANISATION)
    return document


def _read_document(layer: str, data: bytes) -> LayerDocument:
    document = parse_document(layer, data)
    if document.layer != layer:
        raise WrongLayer(offered=document.layer, expected=layer)
    return document


def online_key_id(root: Root) -> str:
    """Return the id of the one key that snapshot and timestamp belong to. Raises WrongOnlineKey: there is no such."""
    held = root.roles[TIMESTAMP]
    for role in (SNAPSHOT, TIMESTAMP):
        if (root.roles[role].keyids, root.roles[role].threshold) != (held.keyids[:1], 1):
            raise WrongOnlineKey(role, *held.keyids[:1] or [""])
    return held.keyids[0]


def verify_online_key(root: Root, held: Collection[str]) -> None:
    """Raise WrongOnlineKey unless snapshot and timestamp belong to one key alone, which is among those held."""
    named = online_key_id(root)
    if named not in held:
        raise WrongOnlineKey(TIMESTAMP, named)


def layer_version(layers: Iterable[LayerBundle], layer: str) -> int:
    """Return the version that is held of `layer`, 0 where it was never published."""
    return max((parse_role(Targets, held.metadata).signed.version for held in layers if held.layer == layer), default=0)


def verify_ours(document: PolicyDocument, keys: CentreKeys) -> None:
    for key in document.keys:
        if key not in keys.sealing:
            raise ForeignSealingKey(key)
    if document.receipt_key.spki != keys.receipts.spki:
        raise ForeignReceiptKey(offered=document.receipt_key, held=keys.receipts)


def _verify_role(delegator: Root | Targets, kind: type[AnyRole], role: str, data: bytes, now: datetime) -> AnyRole:
    metadata = parse_role(kind, data)
    _verify_signatures(delegator, role, metadata)
    verify_time(role, metadata.signed, now)
    return metadata.signed


def _verify_signatures(delegator: Root | Targets, role: str, metadata: Metadata[AnyRole]) -> None:
    result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    if not result.verified:
        raise SignaturesMissing(role, valid=len(result.signed), needed=result.threshold)


def verify_time(role: str, signed: Signed, now: datetime) -> None:
    if signed.is_expired(now):
        raise PolicyExpired(role, expires=signed.expires, now=now)


def verify_next(role: str, offered: int, held: int) -> None:
    if offered <= held:
        raise PolicyVersionTaken(role, offered=offered, held=held)
    if offered != held + 1:
        raise PolicyVersionSkipped(role, offered=offered, held=held)


def _verify_described(data: bytes, signed: Signed, described: MetaFile | None, *, what: str, described_by: str) -> None:
    mismatch = MetadataMismatch(f"{what} metadata", described_by=described_by)
    if described is None or described.version != signed.version or list(described.hashes or ()) != ["sha256"]:
        raise mismatch
    try:
        described.verify_length_and_hashes(data)
    except LengthOrHashMismatchError as exc:
        raise mismatch from exc


def _verify_target(layer: str, document: bytes, target: TargetFile) -> None:
    mismatch = MetadataMismatch(f"policy of layer {layer}", described_by=layer)
    if list(target.hashes) != ["sha256"]:
        raise mismatch
    try:
        target.verify_length_and_hashes(document)
    except LengthOrHashMismatchError as exc:
        raise mismatch from exc
