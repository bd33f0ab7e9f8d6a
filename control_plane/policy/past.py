"""The side of the person who looks back: an earlier version, believed only once people's own signatures hold."""

from control_plane.policy.authoring import Credential, root_fingerprints
from control_plane.policy.exchange import PolicyParts
from control_plane.policy.verify import read_stable, verify_layer, verify_roots, verify_targets
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure
from shared.fields import Fields
from shared.policy.bundle import MAX_LAYER_BYTES, LayerBundle
from shared.policy.document import MAX_BYTES, ORGANISATION, PolicyDocument


class OtherVersion(IntegrityFailure):
    def __init__(self, *, asked: int, given: int) -> None:
        super().__init__(f"version {asked} was asked for, and the centre gave one that says it is version {given}")
        self.asked, self.given = asked, given


def parse_bundle(value: Json) -> LayerBundle:
    """Read a version as the people's door gives it. Raises Malformed."""
    fields = Fields(value, "policy version")
    bundle = LayerBundle(
        fields.text("layer", ORGANISATION),
        fields.base64("metadata", max_bytes=MAX_LAYER_BYTES),
        fields.base64("policy", max_bytes=MAX_BYTES),
        fields.base64("stable", max_bytes=MAX_BYTES) if fields.has("stable") else b"",
    )
    fields.done()
    return bundle


def verify_version(
    bundle: LayerBundle, version: int, parts: PolicyParts, credential: Credential, clock: Clock
) -> PolicyDocument:
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
    hosts were left with. Raises what `verify_version` raises.
    """
    held = next((layer for layer in parts.layers if layer.layer == ORGANISATION), None)
    if held is None:
        return None
    document = verify_version(held, parts.next_version - 1, parts, credential, clock)
    return read_stable(held) if ORGANISATION in parts.taken_back and held.stable else document
