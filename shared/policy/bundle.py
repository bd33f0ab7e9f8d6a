"""Policy bundles: TUF metadata as it travels, in retained MQTT messages and over HTTPS alike.

    head  = canonical JSON {"v", "kind": "head", "root": [base64, oldest first], "timestamp", "snapshot", "targets"}
    layer = canonical JSON {"v", "kind": "layer", "layer", "metadata": base64, "policy": base64, "stable": base64}

`stable` is there while a roll-out may still be taken back: the policy that hosts go by which it has not reached.

A bundle proves nothing by itself; everything in it is verified as TUF metadata by whoever unpacks it. The head grows
with layers and never with hosts.  docs/formats/policy.md section 3
"""

import re
from dataclasses import dataclass

from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields, decode_base64, encode_base64
from shared.policy.layer import LAYER_PATTERN

MAX_HEAD_BYTES = 256 * 1024
MAX_LAYER_BYTES = 512 * 1024
_MAX_ROOTS = 64
# Members stand in the order of their names, so whose policy a layer bundle is can be told by how it begins.
_BEGINS = re.compile(rf'{{"kind":"layer","layer":"({LAYER_PATTERN})",'.encode())

HEAD_TOPIC = "leadglass/v1/policy/head"
LAYER_TOPIC_PREFIX = "leadglass/v1/policy/layer/"
HOST_TOPIC_PREFIX = "leadglass/v1/hosts/"


def layer_topic(layer: str) -> str:
    return LAYER_TOPIC_PREFIX + layer


def state_topic(host: str) -> str:
    return f"{HOST_TOPIC_PREFIX}{host}/state"


def command_topic(host: str) -> str:
    """Return where a host hears that there is a command for it; the command itself is fetched over HTTPS."""
    return f"{HOST_TOPIC_PREFIX}{host}/commands"


@dataclass(frozen=True)
class HeadBundle:
    """`roots` are root metadata in rising version, from the first one a host may have been born with."""

    roots: tuple[bytes, ...]
    timestamp: bytes
    snapshot: bytes
    targets: bytes

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "kind": "head",
                "root": [encode_base64(root) for root in self.roots],
                "timestamp": encode_base64(self.timestamp),
                "snapshot": encode_base64(self.snapshot),
                "targets": encode_base64(self.targets),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "HeadBundle":
        """Raises Malformed."""
        fields = _fields(data, "policy head bundle", MAX_HEAD_BYTES, "head")
        roots = fields.items("root", most=_MAX_ROOTS)
        head = cls(
            tuple(decode_base64(root, "policy head bundle root", MAX_HEAD_BYTES) for root in roots),
            fields.base64("timestamp", max_bytes=MAX_HEAD_BYTES),
            fields.base64("snapshot", max_bytes=MAX_HEAD_BYTES),
            fields.base64("targets", max_bytes=MAX_HEAD_BYTES),
        )
        fields.done()
        return head


@dataclass(frozen=True)
class LayerBundle:
    """The delegated role of one layer and the policy documents it signs; `stable` is empty where there is but one."""

    layer: str
    metadata: bytes
    policy: bytes
    stable: bytes = b""

    def encode(self) -> bytes:
        stable: dict[str, Json] = {"stable": encode_base64(self.stable)} if self.stable else {}
        return canonical.encode(
            {
                **stable,
                "v": 1,
                "kind": "layer",
                "layer": self.layer,
                "metadata": encode_base64(self.metadata),
                "policy": encode_base64(self.policy),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "LayerBundle":
        """Raises Malformed."""
        fields = _fields(data, "policy layer bundle", MAX_LAYER_BYTES, "layer")
        layer = cls(
            fields.text("layer", LAYER_PATTERN),
            fields.base64("metadata", max_bytes=MAX_LAYER_BYTES),
            fields.base64("policy", max_bytes=MAX_LAYER_BYTES),
            fields.base64("stable", max_bytes=MAX_LAYER_BYTES) if fields.has("stable") else b"",
        )
        fields.done()
        if layer.encode() != data:
            raise Malformed("policy layer bundle", "its stable policy is written and empty")
        return layer


def claimed_layer(data: bytes) -> str:
    """Return which layer a bundle is for, by its first bytes alone. Raises Malformed: no layer bundle begins so."""
    begins = _BEGINS.match(data)
    if begins is None:
        raise Malformed("policy layer bundle", "it does not begin as one")
    return begins[1].decode()


def _fields(data: bytes, what: str, most: int, kind: str) -> Fields:
    if len(data) > most:
        raise Malformed(what, f"larger than {most} bytes")
    fields = Fields(canonical.parse(data, what), what)
    fields.version()
    fields.choice("kind", [kind])
    return fields
