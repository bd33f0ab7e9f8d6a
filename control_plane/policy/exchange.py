"""What the centre and the machine of the person who publishes say to each other, as JSON within the people's API v1."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.canonical import Json
from shared.fields import Fields, decode_base64, encode_base64
from shared.policy.bundle import MAX_HEAD_BYTES, MAX_LAYER_BYTES, LayerBundle
from shared.policy.document import MAX_BYTES, MAX_KEYS, SealingKey
from shared.policy.layer import LAYER_PATTERN
from shared.signing import EvidencePublicKey

_MAX_ROOTS = 64
MAX_LAYERS = 100


@dataclass(frozen=True)
class PolicyParts:
    """What a policy is written on top of: everything the centre holds that a publisher does not.

    Nothing here is believed as it stands: `authoring.author` holds it against the person's credential. `taken_back` are
    the layers whose newest version was rolled back, so that hosts go by its `stable`; people have signed both. Of those
    that are `rolled_out` hosts go by either.
    """

    roots: tuple[bytes, ...]
    targets: bytes
    layers: tuple[LayerBundle, ...]
    keys: tuple[SealingKey, ...]
    receipt_key: EvidencePublicKey
    next_version: int
    taken_back: tuple[str, ...] = ()
    rolled_out: tuple[str, ...] = ()

    def json(self) -> dict[str, Json]:
        where = {"taken_back": self.taken_back, "rolled_out": self.rolled_out}
        return {
            **{name: list(layers) for name, layers in where.items() if layers},
            "roots": [encode_base64(root) for root in self.roots],
            "targets": encode_base64(self.targets),
            "layers": layers_json(self.layers),
            "keys": [key.json() for key in self.keys],
            "receipt_key": encode_base64(self.receipt_key.spki),
            "next_version": self.next_version,
        }

    @classmethod
    def parse(cls, value: Json) -> "PolicyParts":
        """Raises Malformed."""
        fields = Fields(value, "policy parts")
        roots = fields.items("roots", most=_MAX_ROOTS)
        layers = fields.mapping("layers", most=MAX_LAYERS)
        parts = cls(
            roots=tuple(decode_base64(root, "policy parts root", MAX_HEAD_BYTES) for root in roots),
            targets=fields.base64("targets", max_bytes=MAX_HEAD_BYTES),
            layers=parse_layers(layers),
            keys=tuple(SealingKey.parse(key) for key in fields.items("keys", most=MAX_KEYS)),
            receipt_key=EvidencePublicKey.parse(fields.base64("receipt_key", max_bytes=1024)),
            next_version=fields.integer("next_version", least=1),
            taken_back=_layer_names(fields, "taken_back"),
            rolled_out=_layer_names(fields, "rolled_out"),
        )
        fields.done()
        return parts


@dataclass(frozen=True)
class Publication:
    """One signed policy on its way to the centre. With `stable`, what all hosts have now, it can be rolled out."""

    layer: str
    metadata: bytes
    policy: bytes
    stable: bytes = b""

    @property
    def bundle(self) -> LayerBundle:
        return LayerBundle(self.layer, self.metadata, self.policy, self.stable)

    @classmethod
    def of(cls, bundle: LayerBundle) -> "Publication":
        return cls(bundle.layer, bundle.metadata, bundle.policy, bundle.stable)

    def json(self) -> dict[str, Json]:
        return {
            "layer": self.layer,
            "metadata": encode_base64(self.metadata),
            "policy": encode_base64(self.policy),
            **_stable_json(self.stable),
        }

    @classmethod
    def parse(cls, value: Json) -> "Publication":
        """Raises Malformed."""
        fields = Fields(value, "publication")
        publication = cls(
            layer=fields.text("layer", LAYER_PATTERN),
            metadata=fields.base64("metadata", max_bytes=MAX_LAYER_BYTES),
            policy=fields.base64("policy", max_bytes=MAX_BYTES),
            stable=fields.base64("stable", max_bytes=MAX_BYTES) if fields.has("stable") else b"",
        )
        fields.done()
        return publication


@dataclass(frozen=True)
class RootChange:
    """A new root on its way to the centre, with all that has to be signed anew under it."""

    root: bytes
    targets: bytes
    layers: tuple[LayerBundle, ...]

    def json(self) -> dict[str, Json]:
        return {
            "root": encode_base64(self.root),
            "targets": encode_base64(self.targets),
            "layers": layers_json(self.layers),
        }

    @classmethod
    def parse(cls, value: Json) -> "RootChange":
        """Raises Malformed."""
        fields = Fields(value, "root change")
        change = cls(
            root=fields.base64("root", max_bytes=MAX_HEAD_BYTES),
            targets=fields.base64("targets", max_bytes=MAX_HEAD_BYTES),
            layers=parse_layers(fields.mapping("layers", most=MAX_LAYERS)),
        )
        fields.done()
        return change


@dataclass(frozen=True)
class LayerAddition:
    """Targets that delegate more layers, on their way to the centre."""

    targets: bytes

    def json(self) -> dict[str, Json]:
        return {"targets": encode_base64(self.targets)}

    @classmethod
    def parse(cls, value: Json) -> "LayerAddition":
        """Raises Malformed."""
        fields = Fields(value, "layers added")
        addition = cls(fields.base64("targets", max_bytes=MAX_HEAD_BYTES))
        fields.done()
        return addition


def layers_json(layers: Iterable[LayerBundle]) -> dict[str, Json]:
    return {
        held.layer: {
            "metadata": encode_base64(held.metadata),
            "policy": encode_base64(held.policy),
            **_stable_json(held.stable),
        }
        for held in layers
    }


def parse_layers(layers: Mapping[str, Json]) -> tuple[LayerBundle, ...]:
    """Raises Malformed."""
    return tuple(_layer(name, layer) for name, layer in sorted(layers.items()))


def _layer(name: str, value: Json) -> LayerBundle:
    layer = Fields({"layer": name}, "policy parts").text("layer", LAYER_PATTERN)
    fields = Fields(value, f"policy parts layer {layer}")
    bundle = LayerBundle(
        layer,
        fields.base64("metadata", max_bytes=MAX_LAYER_BYTES),
        fields.base64("policy", max_bytes=MAX_BYTES),
        fields.base64("stable", max_bytes=MAX_BYTES) if fields.has("stable") else b"",
    )
    fields.done()
    return bundle


def _stable_json(stable: bytes) -> dict[str, Json]:
    return {"stable": encode_base64(stable)} if stable else {}


def _layer_names(fields: Fields, name: str) -> tuple[str, ...]:
    if not fields.has(name):
        return ()
    listed = fields.items(name, most=MAX_LAYERS)
    return tuple(Fields({"layer": layer}, "policy parts").text("layer", LAYER_PATTERN) for layer in listed)
