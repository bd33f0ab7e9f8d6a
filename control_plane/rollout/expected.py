"""Which version of each layer a host should act by, by what is published and how far it is rolled out. Decides only."""

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.policy.publisher import Published
from control_plane.policy.together import parse_document
from shared.identity import HostId
from shared.policy.bundle import LayerBundle
from shared.policy.document import ORGANISATION
from shared.policy.rollout import Rings


class ExpectedVersions:
    def __init__(self, published: Published) -> None:
        """Raises Malformed."""
        self._layers = {layer.layer: _read(layer, published.rollouts.get(layer.layer)) for layer in published.layers}

    def of(self, host: HostId, parts: Sequence[str]) -> dict[str, int]:
        """Return it by layer for a host with these parts, without the layers of which nothing is published."""
        layers = (ORGANISATION, *parts)
        return {layer: self._layers[layer].reaching(host, layers) for layer in layers if layer in self._layers}


@dataclass(frozen=True)
class _Layer:
    name: str
    newest: int
    before: int
    rings: Rings | None

    def reaching(self, host: HostId, layers: Sequence[str]) -> int:
        is_reached = self.rings is None or self.rings.holds(host, layers, layer=self.name, version=self.newest)
        return self.newest if is_reached else self.before


def _read(layer: LayerBundle, rings: Rings | None) -> _Layer:
    newest = parse_document(layer.layer, layer.policy).version
    before = newest if rings is None else parse_document(layer.layer, layer.stable).version
    return _Layer(layer.layer, newest, before, rings)
