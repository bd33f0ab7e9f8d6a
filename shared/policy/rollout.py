"""A roll-out: which hosts act by the newest version of a layer already, while the others stay with the one before.

    snapshot's member `rollouts` = {layer: {"hosts": [host id, ...], "layers": [layer, ...], "percent": 0 to 100}}

A layer that is not listed is rolled out to everybody; one with nothing in its lists and 0 percent to nobody. The people
who signed the newest version have named, and so signed, the one before too: the online key can choose between these
two and has no third. What is written grows with rings, never with hosts.  docs/formats/policy.md section 9
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256

from shared.canonical import Json
from shared.fields import Fields
from shared.identity import HostId
from shared.policy.layer import LAYER_PATTERN

ROLLOUTS = "rollouts"
MAX_ROLLOUTS = 100
MAX_HOSTS, MAX_LAYERS = 64, 16
EVERYBODY = 100


@dataclass(frozen=True)
class Rings:
    """The rings that are open: these hosts, the hosts of these layers, and a share of all that have the layer."""

    hosts: tuple[HostId, ...] = ()
    layers: tuple[str, ...] = ()
    percent: int = 0

    def holds(self, host: HostId, layers: Collection[str], *, layer: str, version: int) -> bool:
        """Return whether `host`, which has `layers`, acts by the newest `version` of `layer`."""
        return (
            host in self.hosts
            or any(each in layers for each in self.layers)
            or place(host, layer, version) < self.percent
        )

    def json(self) -> dict[str, Json]:
        return {"hosts": [str(host) for host in self.hosts], "layers": list(self.layers), "percent": self.percent}

    @classmethod
    def parse(cls, fields: Fields) -> "Rings":
        """Raises Malformed."""
        hosts, layers = fields.items("hosts", most=MAX_HOSTS), fields.items("layers", most=MAX_LAYERS)
        rings = cls(
            tuple(HostId.parse(Fields({"host": host}, "rings").text("host")) for host in hosts),
            tuple(Fields({"layer": layer}, "rings").text("layer", LAYER_PATTERN) for layer in layers),
            fields.integer("percent", most=EVERYBODY),
        )
        fields.done()
        return rings


def place(host: HostId, layer: str, version: int) -> int:
    """Return a host's place in a roll-out by percent, 0 to 99: another one for each version.

    The first four bytes of SHA-256 of `layer`, U+0020, `version` in decimal, U+0020 and the host id, big-endian, times
    100, without the lower 32 bits.
    """
    digest = sha256(f"{layer} {version} {host}".encode()).digest()
    return int.from_bytes(digest[:4], "big") * EVERYBODY >> 32


def parse_rollouts(value: Json) -> dict[str, Rings]:
    """Raises Malformed."""
    fields = Fields({ROLLOUTS: value}, "policy roll-outs")
    listed = fields.mapping(ROLLOUTS, most=MAX_ROLLOUTS)
    return {
        Fields({"layer": layer}, "policy roll-outs").text("layer", LAYER_PATTERN): Rings.parse(
            Fields(rings, f"roll-out of layer {layer[:32]}")
        )
        for layer, rings in listed.items()
    }


def rollouts_json(rollouts: Mapping[str, Rings]) -> dict[str, Json]:
    return {layer: rings.json() for layer, rings in rollouts.items()}
