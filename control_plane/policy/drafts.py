"""Drafts: what several people have to sign, in a file that travels from one to the next.

    draft = canonical JSON {"kind": "draft", "layers", "parts", "root", "targets", "v": 1}

    a policy       one layer, `root` and `targets` null
    more layers    `targets` that delegate them too, no layer, `root` null
    a new root     `root`, `targets`, and every published layer once more

`parts` is what was published when the draft was made. Whoever signs needs nothing else, least of all the centre: the
roots in it lead to one that carries their own signature, and everything else is verified from there. A signature is
added to the TUF metadata itself; the draft has none of its own.  docs/formats/policy.md section 10
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Targets

from control_plane.policy.authoring import Credential, NotASigner, verify_pinned, verify_roots_lead_to
from control_plane.policy.dangers import dangers
from control_plane.policy.exchange import MAX_LAYERS, LayerAddition, PolicyParts, RootChange, layers_json, parse_layers
from control_plane.policy.layers_added import read_layers_added
from control_plane.policy.roles import (
    ROOT,
    TARGETS,
    TIMESTAMP,
    AnyRole,
    RoleKeys,
    delegated_layers,
    held_keys,
    is_signed_with,
    name_of,
    parse_role,
    signed_by,
    with_signatures,
)
from control_plane.policy.root_change import (
    WHENEVER,
    Need,
    needs,
    new_keys,
    read_root_change,
    root_needs,
)
from control_plane.policy.together import LayerDocument, parse_document, verify_together
from control_plane.policy.verify import (
    Held,
    layer_version,
    others_of,
    read_stable,
    read_unsigned_layer,
    read_unsigned_targets,
    verify_layer,
    verify_next,
    verify_roots,
    verify_signers_agree,
    verify_stable,
    verify_targets,
)
from shared import canonical
from shared.errors import Malformed, Refused
from shared.fields import Fields, encode_base64
from shared.policy.bundle import MAX_HEAD_BYTES, LayerBundle
from shared.policy.document import PolicyDocument

MAX_DRAFT_BYTES = 16 << 20
_FIRST_BYTES = b'{"kind":"draft",'


class SignaturesNeeded(Refused):
    """Nothing is wrong with the draft; not everybody has signed it."""

    def __init__(self, missing: Sequence[Need]) -> None:
        super().__init__("signatures are missing: " + "; ".join(need.text for need in missing))
        self.missing = tuple(missing)


class KeyNotPublished(Refused):
    def __init__(self, what: str) -> None:
        super().__init__(
            f"the draft names {what}, which the published policy does not; a key without a credential pins no keys, "
            "so sign this draft with --as CREDENTIAL"
        )


class DangersDiffer(Refused):
    """A draft says itself what was published, and that is not signed: what was left out would hide what changes."""

    def __init__(self, layer: str) -> None:
        super().__init__(
            f"what may do harm in this change of layer {layer} is not what its author signed that it is: the draft "
            "does not say truly what is published, or was written by another version of this software; sign nothing of "
            "it, and have the change proposed anew"
        )
        self.layer = layer


class RootNotCompared(Refused):
    """Nothing in the draft shows whose it is, and a signature for strangers may count among one's own people."""

    def __init__(self, *, given: str) -> None:
        what = f"{given[:16]}... is not the root that it follows" if given else "whose root it follows cannot be known"
        super().__init__(
            f"the draft makes you a signer, and {what}; have one of those who signed before read you the fingerprint "
            "that `policy root` shows them, and give it with --root"
        )
        self.given = given


@dataclass(frozen=True)
class Signatory:
    """Who signs. Without a credential, a policy is signed only if it seals to the keys of the published one.

    `root_sha256` is of the root that a draft follows, as whoever is new was told by somebody who signed it.
    """

    signer: Signer
    credential: Credential | None = None
    root_sha256: str = ""

    @property
    def key_id(self) -> str:
        return self.signer.public_key.keyid


@dataclass(frozen=True)
class Draft:
    parts: PolicyParts
    layers: tuple[LayerBundle, ...]
    root: bytes = b""  # empty: a policy, or more layers, and no new root
    targets: bytes = b""  # empty: a policy

    @property
    def change(self) -> RootChange | None:
        return RootChange(self.root, self.targets, self.layers) if self.root else None

    @property
    def addition(self) -> LayerAddition | None:
        return LayerAddition(self.targets) if self.targets and not self.root else None

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "kind": "draft",
                "parts": self.parts.json(),
                "root": encode_base64(self.root) if self.root else None,
                "targets": encode_base64(self.targets) if self.targets else None,
                "layers": layers_json(self.layers),
            }
        )

    @classmethod
    def is_one(cls, data: bytes) -> bool:
        """Return whether a file is meant as a draft and not as a policy that a person wrote."""
        return data.startswith(_FIRST_BYTES)

    @classmethod
    def parse(cls, data: bytes) -> "Draft":
        """Raises Malformed."""
        if len(data) > MAX_DRAFT_BYTES:
            raise Malformed("draft", f"larger than {MAX_DRAFT_BYTES} bytes")
        fields = Fields(canonical.parse(data, "draft"), "draft")
        fields.version()
        fields.choice("kind", ["draft"])
        parts = PolicyParts.parse(fields.mapping("parts", most=100))
        is_root, has_targets = not fields.is_null("root"), not fields.is_null("targets")
        root = fields.base64("root", max_bytes=MAX_HEAD_BYTES) if is_root else b""
        targets = fields.base64("targets", max_bytes=MAX_HEAD_BYTES) if has_targets else b""
        layers = parse_layers(fields.mapping("layers", most=MAX_LAYERS))
        fields.done()
        if (is_root and not (root and targets)) or (has_targets and not targets):
            raise Malformed("draft field 'root'", "it is empty, or the targets are")
        if not is_root and len(layers) != (0 if has_targets else 1):
            raise Malformed("draft field 'layers'", "a policy is one layer, and targets without a root come alone")
        return cls(parts, layers, root, targets)


def sign(draft: Draft, signatory: Signatory) -> Draft:
    """Return the draft with one more signature wherever the signatory's counts, once the draft holds.

    Raises NotASigner, ForeignRoot, UnpinnedKey, KeyNotPublished, and what verifying raises; what the signer raises.
    """
    verify_draft(draft)
    _verify_mine(draft, signatory)
    mine, signer = signatory.key_id, signatory.signer
    change, targets = draft.change, _targets_of(draft)
    layers = tuple(
        replace(layer, metadata=_signed(parse_role(Targets, layer.metadata), signer))
        if mine in held_keys(targets, layer.layer).key_ids
        else layer
        for layer in draft.layers
    )
    signed = replace(draft, layers=layers)
    if change is not None:
        old, new = parse_role(Root, draft.parts.roots[-1]).signed, parse_role(Root, change.root)
        asked = {*old.roles[ROOT].keyids, *new.signed.roles[ROOT].keyids}
        asked.update(key.keyid for key in new_keys(new.signed, targets, old))
        if mine in asked:
            signed = replace(signed, root=_signed(new, signer))
        if mine in new.signed.roles[TARGETS].keyids:
            signed = replace(signed, targets=_signed(parse_role(Targets, change.targets), signer))
    addition = draft.addition
    if addition is not None and mine in parse_role(Root, draft.parts.roots[-1]).signed.roles[TARGETS].keyids:
        signed = replace(signed, targets=_signed(parse_role(Targets, addition.targets), signer))
    if signed == draft:
        raise NotASigner(", ".join(layer.layer for layer in draft.layers) or (ROOT if change else TARGETS), mine)
    return signed


def verify_draft(draft: Draft) -> None:
    """Raise unless the draft follows what was published when it was made, by whatever people did that.

    A policy has to fit the other layers too, as they were then, and to be signed with the dangers that are found here.
    """
    parts = draft.parts
    root = verify_roots(parts.roots, WHENEVER)
    targets = verify_targets(root, parts.targets, WHENEVER)
    for held in parts.layers:
        verify_layer(targets, held)
    change, addition, published = draft.change, draft.addition, Held.of(parts)
    if change is not None:
        read_root_change(change, published)
        return
    if addition is not None:
        read_layers_added(addition, published)
        return
    verify_signers_agree(root, targets)
    layer = draft.layers[0]
    document = read_unsigned_layer(targets, layer)
    verify_next(layer.layer, document.version, layer_version(parts.layers, layer.layer))
    verify_stable(layer, published)
    verify_together(document, others_of(layer.layer, parts.layers))
    if not is_signed_with(parse_role(Targets, layer.metadata).signed, dangers(layer, published)):
        raise DangersDiffer(layer.layer)


def harm(draft: Draft) -> tuple[str, ...]:
    """Return what of the change that a verified draft makes may do harm, so that a second person has to sign it."""
    return () if draft.targets else dangers(draft.layers[0], Held.of(draft.parts))


def _verify_mine(draft: Draft, signatory: Signatory) -> None:
    """Raise unless those people are this signatory's own, and images are sealed to keys that these know."""
    change, parts = draft.change, draft.parts
    if change is None:
        verify_roots_lead_to(parts.roots, signatory.signer.public_key)
        for layer in draft.layers:
            published = [parse_document(held.layer, held.policy) for held in parts.layers if held.layer == layer.layer]
            _verify_sealing(parse_document(layer.layer, layer.policy), published, signatory.credential)
        return
    before, root = parse_role(Root, parts.roots[-1]).signed, parse_role(Root, change.root).signed
    if signatory.key_id not in [key.keyid for key in new_keys(root, _targets_of(draft), before)]:
        verify_roots_lead_to(parts.roots, signatory.signer.public_key)
    elif signatory.root_sha256 != sha256(parts.roots[-1]).hexdigest():
        raise RootNotCompared(given=signatory.root_sha256)


def missing(draft: Draft) -> tuple[Need, ...]:
    """Return what a draft that was verified has still to be signed by."""
    return tuple(_missing(draft))


def tell(draft: Draft) -> Iterator[str]:
    """Say what a draft that was verified changes about who signs; what a policy means is told by `file.meaning`."""
    root, targets = parse_role(Root, draft.parts.roots[-1]).signed, parse_role(Targets, draft.parts.targets).signed
    yield f"it follows policy root {root.version}, SHA-256 {sha256(draft.parts.roots[-1]).hexdigest()}"
    change = draft.change
    if change is not None:
        new, delegating = parse_role(Root, change.root).signed, read_unsigned_targets(change.targets)
        yield f"it makes policy root {new.version}, valid until {new.expires:%Y-%m-%d}"
        yield from _told(held_keys(root, ROOT), held_keys(new, ROOT), "the root")
        layers = delegated_layers(delegating)
        before, after = held_keys(root, TARGETS), held_keys(new, TARGETS)
        if not all(
            before.same_as(held_keys(targets, name)) and after.same_as(held_keys(delegating, name)) for name in layers
        ):
            yield from _told(before, after, "targets, which say who signs the policies")
        for name in layers:
            yield from _told(held_keys(targets, name), held_keys(delegating, name), f"policies of layer {name}")
        if held_keys(new, TIMESTAMP).key_ids != held_keys(root, TIMESTAMP).key_ids:
            yield "the centre's online key is replaced"
    if draft.addition is not None:
        _, added = read_layers_added(draft.addition, Held.of(draft.parts))
        yield f"it adds the layers {', '.join(added)}, whose policies are signed by whoever signs the others"
    for layer in draft.layers:
        version = parse_role(Targets, layer.metadata).signed.version
        if layer.stable:
            yield (
                "it may be rolled out in rings, and be taken back to what hosts have now, "
                f"version {read_stable(layer).version}"
            )
        again = f", {_anew(layer.layer, draft.parts)}, signed anew" if change is not None else ""
        yield f"it makes version {version} of layer {layer.layer}{again}"


def _anew(layer: str, parts: PolicyParts) -> str:
    if layer not in parts.taken_back:
        return "the same policy as before"
    held, version = Held.of(parts), layer_version(parts.layers, layer)
    left_with = parse_document(layer, held.in_force(layer)).version
    return f"the policy of version {left_with}, which hosts were left with when version {version} was taken back"


def _told(before: RoleKeys, after: RoleKeys, what: str) -> Iterator[str]:
    count = len(after.keys)
    yield f"{what}: {after.threshold} of {count} have to sign (before: {before.threshold} of {len(before.keys)})"
    old, new = {key.keyid: key for key in before.keys}, {key.keyid: key for key in after.keys}
    for key_id in new.keys() - old.keys():
        yield f"  new signer: {name_of(new[key_id])}, key {key_id}"
    for key_id in old.keys() - new.keys():
        yield f"  no longer: {name_of(old[key_id])}, key {key_id}"
    for key_id in new.keys() & old.keys():
        if name_of(new[key_id]) != name_of(old[key_id]):
            yield f"  {name_of(old[key_id])} is called {name_of(new[key_id])} now, key {key_id}"


def _missing(draft: Draft) -> Iterator[Need]:
    change, targets = draft.change, _targets_of(draft)
    if change is not None:
        yield from root_needs(change.root, draft.parts.roots[-1], targets)
        root = parse_role(Root, change.root).signed
        yield from needs(root, TARGETS, parse_role(Targets, change.targets), TARGETS)
    if draft.addition is not None:
        before = parse_role(Root, draft.parts.roots[-1]).signed
        yield from needs(before, TARGETS, parse_role(Targets, draft.addition.targets), TARGETS)
    for layer in draft.layers:
        metadata, what = parse_role(Targets, layer.metadata), f"layer {layer.layer}"
        lacking = tuple(needs(targets, layer.layer, metadata, what))
        yield from lacking or _second_person(draft, metadata)


def _second_person(draft: Draft, metadata: Metadata[Targets]) -> Iterator[Need]:
    """Tell who else may sign a change that may do harm and that one person alone has signed, if anybody may."""
    layer = draft.layers[0].layer
    keys = held_keys(_targets_of(draft), layer).keys
    mine = signed_by(keys, metadata)
    others = tuple(key for key in keys if key.keyid not in mine)
    if others and len(mine) < 2 and harm(draft):
        yield Need(f"layer {layer}, by a second person, because it may do harm", 1, others)


def _targets_of(draft: Draft) -> Targets:
    return read_unsigned_targets(draft.targets or draft.parts.targets)


def _signed(metadata: Metadata[AnyRole], signer: Signer) -> bytes:
    return with_signatures(metadata, [signer])


def _verify_sealing(document: LayerDocument, published: Sequence[LayerDocument], credential: Credential | None) -> None:
    """Raise unless images will be sealed to keys that whoever signs knows to be the centre's; parts name no keys."""
    if not isinstance(document, PolicyDocument):
        return
    if credential is not None:
        verify_pinned(document.keys, document.receipt_key, credential)
        return
    before = [held for held in published if isinstance(held, PolicyDocument)]
    for key in document.keys:
        if not any(key in held.keys for held in before):
            raise KeyNotPublished(f"{key.purpose.value} key {key.key.key_id}")
    if not any(document.receipt_key.spki == held.receipt_key.spki for held in before):
        raise KeyNotPublished(f"receipt key {document.receipt_key.key_id}")
