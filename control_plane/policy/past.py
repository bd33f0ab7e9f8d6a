"""The side of the person who looks back: an earlier version, believed only once people's own signatures hold."""

from collections.abc import Iterable

from control_plane.policy.authoring import Credential, root_fingerprints
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.file.authored import Authored, AuthoredPolicy
from control_plane.policy.file.change import Change
from control_plane.policy.file.differences import differences
from control_plane.policy.file.part_differences import differences_beside
from control_plane.policy.together import LayerDocument, verify_together
from control_plane.policy.verify import (
    Held,
    layer_version,
    organisation_of,
    read_stable,
    verify_layer,
    verify_roots,
    verify_targets,
)
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure
from shared.fields import Fields
from shared.policy.bundle import MAX_LAYER_BYTES, LayerBundle
from shared.policy.document import MAX_BYTES, ORGANISATION, PolicyDocument
from shared.policy.part import PartDocument


class OtherVersion(IntegrityFailure):
    def __init__(self, *, asked: int, given: int) -> None:
        super().__init__(f"version {asked} was asked for, and the centre gave one that says it is version {given}")
        self.asked, self.given = asked, given


def parse_bundle(value: Json, layer: str = ORGANISATION) -> LayerBundle:
    """Read a version of `layer` as the people's door gives it. Raises Malformed, also for one of another layer."""
    fields = Fields(value, "policy version")
    bundle = LayerBundle(
        fields.text("layer", layer),
        fields.base64("metadata", max_bytes=MAX_LAYER_BYTES),
        fields.base64("policy", max_bytes=MAX_BYTES),
        fields.base64("stable", max_bytes=MAX_BYTES) if fields.has("stable") else b"",
    )
    fields.done()
    return bundle


def verify_version_of(
    bundle: LayerBundle, version: int, parts: PolicyParts, credential: Credential, clock: Clock
) -> LayerDocument:
    """Return what `version` said, once it is signed as today's roles demand it, under a root of this credential's key.

    Raises ForeignRoot, OtherVersion, and what `verify_layer` raises: also for what only keys that are gone had signed.
    """
    root_fingerprints(parts, credential)
    now = clock.now()
    targets = verify_targets(verify_roots(parts.roots, now), parts.targets, now)
    document = verify_layer(targets, bundle)
    if document.version != version:
        raise OtherVersion(asked=version, given=document.version)
    return document


def newest(parts: PolicyParts, credential: Credential, clock: Clock) -> PolicyDocument | None:
    """Return what the next version follows, None where nothing is published: after a roll-out that was taken back, what
    hosts were left with. Raises what `verify_version_of` raises.
    """
    held = next((layer for layer in parts.layers if layer.layer == ORGANISATION), None)
    return None if held is None else organisation_of(_followed(held, parts.next_version - 1, parts, credential, clock))


def newest_of(layer: str, parts: PolicyParts, credential: Credential, clock: Clock) -> LayerDocument | None:
    """Return of any layer what `newest` does of the organisation's. Raises what `verify_version_of` raises."""
    held = next((each for each in parts.layers if each.layer == layer), None)
    version = layer_version(parts.layers, layer)
    return None if held is None else _followed(held, version, parts, credential, clock)


def _followed(
    held: LayerBundle, version: int, parts: PolicyParts, credential: Credential, clock: Clock
) -> LayerDocument:
    document = verify_version_of(held, version, parts, credential, clock)
    return read_stable(held) if held.layer in parts.taken_back and held.stable else document


def on_hosts(parts: PolicyParts, credential: Credential, clock: Clock) -> tuple[LayerDocument, ...]:
    """Return what hosts have of each layer: both documents of one that is rolled out.

    Raises what `verify_version_of` raises.
    """
    for held in parts.layers:
        verify_version_of(held, layer_version(parts.layers, held.layer), parts, credential, clock)
    return tuple(Held.of(parts).on_hosts())


def changes(authored: Authored, held: LayerDocument | None, published: Iterable[LayerDocument]) -> tuple[Change, ...]:
    """Return what publishing `authored` would change against `held`, a version of its layer; None: there is none.

    `published` is what hosts have of each layer. Raises, of a part, what `verify_together` raises.
    """
    if isinstance(authored, AuthoredPolicy):
        return differences(AuthoredPolicy.of(held) if isinstance(held, PolicyDocument) else None, authored)
    others = [document for document in published if document.layer != authored.layer]
    before = held if isinstance(held, PartDocument) else None
    after = authored.document(1 if before is None else before.version + 1)
    verify_together(after, others)
    organisations = [document for document in others if isinstance(document, PolicyDocument)]
    return differences_beside(organisations, before, after, [part for part in others if isinstance(part, PartDocument)])
