"""Decides whether a new policy root may follow the published one, and who has still to sign it.

    root       version + 1; signed by the threshold of the old root, by its own, and by every key that is new in it
    targets    version + 1; delegates the very layers that were delegated
    each layer that is published, once more: version + 1, and in everything else the policy it was;
               where a roll-out was taken back, the policy that hosts were left with

A key that is new has to sign too, so that nobody becomes a signer by a typing error, and whoever signs has a root with
their own signature to begin from. Layers are signed anew so that the old signers' word is nowhere relied on, and the
year of all three begins together.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Key, Metadata, Root, Targets

from control_plane.policy.exchange import RootChange
from control_plane.policy.roles import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    AnyRole,
    RoleKeys,
    begins_with,
    delegated_layers,
    held_keys,
    is_named,
    is_plain,
    key_of,
    name_of,
    parse_role,
    signed_by,
)
from control_plane.policy.together import LayerDocument, parse_document
from control_plane.policy.verify import (
    CentreKeys,
    Held,
    SignaturesMissing,
    layer_version,
    online_key_id,
    read_unsigned_layer,
    read_unsigned_targets,
    verify_consistent,
    verify_layer,
    verify_next,
    verify_online_key,
    verify_ours,
    verify_roots,
    verify_signers_agree,
    verify_targets,
    verify_time,
)
from shared import clock
from shared.errors import Malformed, Refused
from shared.policy.document import PolicyDocument

# What has not begun yet cannot have expired: an expired root is what a new one is for.
WHENEVER = clock.parse("1970-01-01T00:00:00Z")


class RootUnusable(Refused):
    """Signed or not, it would leave nobody able to sign, or count one person twice."""


class PolicyChanged(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(f"a new root takes along every policy that hosts have as it is; that of layer {layer} differs")
        self.layer = layer


class LayersDiffer(Refused):
    def __init__(self, *, offered: Sequence[str], held: Sequence[str]) -> None:
        super().__init__(f"a new root signs the layers {', '.join(held)} anew; this one has {', '.join(offered)}")
        self.offered, self.held = tuple(offered), tuple(held)


@dataclass(frozen=True)
class Need:
    """Signatures that a draft has not got: `lacking` more, each by another one of `of`."""

    what: str
    lacking: int
    of: tuple[Key, ...]

    @property
    def text(self) -> str:
        names = ", ".join(name_of(key) for key in self.of) or "nobody, for no such key is left"
        return f"{self.what}: {self.lacking} more, of {names}"


def read_root_change(offered: RootChange, held: Held) -> tuple[Root, Targets, tuple[LayerDocument, ...]]:
    """Return what `offered` says, once it follows what is held and can be lived with, whoever has signed it.

    Raises Malformed, PolicyVersionTaken, PolicyVersionSkipped, RootUnusable, SignersDiffer, WrongOnlineKey,
    LayersDiffer, PolicyChanged, and what `verify_roots` raises for the roots that are held.
    """
    before = verify_roots(held.roots, WHENEVER)
    root, targets = parse_role(Root, offered.root).signed, read_unsigned_targets(offered.targets)
    verify_next(ROOT, root.version, before.version)
    verify_consistent(root)
    published = parse_role(Targets, held.targets).signed
    verify_next(TARGETS, targets.version, published.version)
    _verify_usable(root, targets)
    verify_signers_agree(root, targets)
    online_key_id(root)
    if delegated_layers(targets) != delegated_layers(published):
        raise LayersDiffer(offered=delegated_layers(targets), held=delegated_layers(published))
    if [layer.layer for layer in offered.layers] != sorted(layer.layer for layer in held.layers):
        raise LayersDiffer(offered=[at.layer for at in offered.layers], held=sorted(at.layer for at in held.layers))
    return root, targets, tuple(_same_policies(targets, offered, held))


def verify_root_change(
    offered: RootChange, held: Held, keys: CentreKeys, online: Collection[str], now: datetime
) -> tuple[Root, Targets, tuple[LayerDocument, ...]]:
    """Return what `offered` says, once everybody who has to has signed it and this centre can work under it.

    Raises what `read_root_change` raises, and SignaturesMissing, PolicyExpired, ForeignSealingKey, ForeignReceiptKey.
    """
    root, targets, documents = read_root_change(offered, held)
    verify_roots((*held.roots, offered.root), now)
    for need in root_needs(offered.root, held.roots[-1], targets):
        raise SignaturesMissing(need.what, valid=0, needed=need.lacking)
    verify_online_key(root, online)
    verify_targets(root, offered.targets, now)
    for layer, document in zip(offered.layers, documents, strict=True):
        verify_layer(targets, layer)
        verify_time(layer.layer, parse_role(Targets, layer.metadata).signed, now)
        if isinstance(document, PolicyDocument):
            verify_ours(document, keys)
    return root, targets, documents


def root_needs(offered: bytes, before: bytes, targets: Targets) -> Iterator[Need]:
    """Tell what the new root `offered`, which follows `before`, has still to be signed by."""
    metadata, old = parse_role(Root, offered), parse_role(Root, before).signed
    yield from needs(old, ROOT, metadata, "root, by those who signed the last one")
    yield from needs(metadata.signed, ROOT, metadata, "root, by those it names")
    new = new_keys(metadata.signed, targets, old)
    proved = signed_by(new, metadata)
    new = [key for key in new if key.keyid not in proved]
    if new:
        yield Need("root, by each key that is new", len(new), tuple(new))


def needs(delegator: Root | Targets, role: str, metadata: Metadata[AnyRole], what: str) -> Iterator[Need]:
    found = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    if not found.verified:
        yield Need(what, found.threshold - len(found.signed), tuple(found.unsigned.values()))


def people_of(root: Root, targets: Targets) -> dict[str, Key]:
    """Return, by id, every key that belongs to people."""
    keys: dict[str, Key] = {}
    for held in _people_roles(root, targets):
        keys.update({key.keyid: key for key in held.keys})
    return keys


def new_keys(root: Root, targets: Targets, before: Root) -> list[Key]:
    """Return the keys of people that the root before did not have for its people either."""
    known = {*before.roles[ROOT].keyids, *before.roles[TARGETS].keyids}
    return [key for key_id, key in people_of(root, targets).items() if key_id not in known]


def _people_roles(root: Root, targets: Targets) -> Iterator[RoleKeys]:
    yield held_keys(root, ROOT)
    yield held_keys(root, TARGETS)
    for layer in delegated_layers(targets):
        yield held_keys(targets, layer)


def _verify_usable(root: Root, targets: Targets) -> None:
    for held in _people_roles(root, targets):
        if not 1 <= held.threshold <= len(held.keys):
            raise RootUnusable(f"{held.threshold} signatures would be needed where {len(held.keys)} keys may sign")
        # In root and in targets each: one id can stand for another key in either.
        for key in held.keys:
            _verify_key(key)
    people, online = people_of(root, targets), {*root.roles[SNAPSHOT].keyids, *root.roles[TIMESTAMP].keyids}
    if online & people.keys():
        raise RootUnusable("a person's key would be the centre's online key")
    names = [name_of(key) for key in people.values() if is_named(key)]
    for name in names:
        if names.count(name) > 1:
            raise RootUnusable(f"two keys carry the name {name}; whoever is asked to sign could not tell them apart")


def _verify_key(key: Key) -> None:
    # An id is only a word to TUF: one key under two of them would be two signers.
    if not isinstance(key, SSlibKey) or (key.keytype, key.scheme) != ("ecdsa", "ecdsa-sha2-nistp256"):
        raise RootUnusable(f"key {key.keyid[:16]} is not an ECDSA P-256 key")
    if not is_plain(key):
        raise RootUnusable(f"key {key.keyid[:16]} has something beside it that is no name")
    try:
        public = load_pem_public_key(str(key.keyval.get("public")).encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise Malformed("TUF root metadata", f"key {key.keyid[:16]} cannot be read") from exc
    if not isinstance(public, ec.EllipticCurvePublicKey) or key_of(public).keyid != key.keyid:
        raise RootUnusable(f"key {key.keyid[:16]} stands under an id that is not its own")


def _same_policies(targets: Targets, offered: RootChange, held: Held) -> Iterator[LayerDocument]:
    published = {layer.layer: parse_document(layer.layer, held.in_force(layer.layer)) for layer in held.layers}
    for layer in offered.layers:
        document = read_unsigned_layer(targets, layer)
        verify_next(layer.layer, document.version, layer_version(held.layers, layer.layer))
        if layer.stable or replace(document, version=published[layer.layer].version) != published[layer.layer]:
            raise PolicyChanged(layer.layer)
        if begins_with(targets, layer.layer) != document.version:
            raise Malformed("TUF targets metadata", f"it does not begin with version {document.version}")
        yield document
