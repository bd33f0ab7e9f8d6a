"""The bundles of layers that are at hand, and which of them goes with a head.

    hinted     what somebody gave last who can repeat, forge and delay: the broker
    pulled     what the centre itself gave last, over HTTPS
    accepted   what went with the head that was accepted last

Each is a place of its own for each layer, so whoever floods one fills no other: a head that the centre gave with its
layers finds them, and so does the next head over layers that were accepted.
"""

from collections.abc import Iterable, Iterator

from edge_agent.policy_sync.fetcher import is_of
from shared.policy.bundle import HeadBundle, LayerBundle


class Candidates:
    """At most three bundles of each layer. For one caller at a time."""

    def __init__(self) -> None:
        self._hinted: dict[str, LayerBundle] = {}
        self._pulled: dict[str, LayerBundle] = {}
        self._accepted: dict[str, LayerBundle] = {}

    def hint(self, bundle: LayerBundle, waits: HeadBundle | None) -> None:
        """Keep `bundle`, unless that displaces what goes with the verified head that waits for its layers."""
        there = self._hinted.get(bundle.layer)
        if waits is None or there is None or not is_of(waits, there):
            self._hinted[bundle.layer] = bundle

    def pull(self, bundle: LayerBundle) -> None:
        self._pulled[bundle.layer] = bundle

    def accept(self, bundles: Iterable[LayerBundle]) -> None:
        self._accepted = {bundle.layer: bundle for bundle in bundles}

    def fitting(self, head: HeadBundle) -> dict[str, LayerBundle]:
        """Return the bundle of each layer that goes with `head`, or, to say what is wrong, one that does not."""
        found: dict[str, LayerBundle] = {}
        for layer in (*self._hinted, *self._pulled, *self._accepted):
            at_hand = list(self._of(layer))
            found[layer] = next((bundle for bundle in at_hand if is_of(head, bundle)), at_hand[0])
        return found

    def _of(self, layer: str) -> Iterator[LayerBundle]:
        for place in (self._hinted, self._pulled, self._accepted):
            if layer in place:
                yield place[layer]
