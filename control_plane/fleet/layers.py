"""Which layers a host has besides the organisation's: those people gave it, and what its report says of them.

People give them with the enrolment code, or later with a signed command to move.
"""

from collections.abc import Iterator, Mapping

from control_plane.db.models import Host
from control_plane.enrolment import codes
from shared.canonical import Json
from shared.fleet.devices import GuardReport
from shared.fleet.state import HostState, LayerState


class LayersOf:
    """`expected` says, by layer, which version the host should have by now; `published`, which one is the newest for
    whoever has the layer.
    """

    def __init__(self, host: Host, expected: Mapping[str, int], published: Mapping[str, int]) -> None:
        self._asset, self._expected, self._published = host.asset, expected, published
        enrolled = codes.readable_parts(host.parts)
        self._is_readable, self.enrolled = enrolled is not None, enrolled or ()

    def json(self, state: HostState | None = None) -> list[Json]:
        """Return the layers that people gave it, then what an authentic report names besides."""
        reported, guard = _reported(state), None if state is None else state.guard
        besides = [layer for layer in reported if layer not in self.enrolled]
        return [self._facts(layer, reported.get(layer), guard) for layer in (*self.enrolled, *besides)]

    def unreadable(self) -> Iterator[str]:
        """Say so where nobody can tell any more what people gave the host."""
        if not self._is_readable:
            yield (
                f"{self._asset}: somebody changed its policy layers in the database, so which it should have is "
                "unknown; enrol it again with a code for the right ones"
            )

    def gaps(self, state: HostState) -> Iterator[str]:
        """Say where the host goes by other layers than people gave it, or by fewer than are published."""
        if not self._is_readable:
            return
        reported = _reported(state)
        if sorted(reported) != sorted(self.enrolled):
            yield (
                f"{self._asset}: it reports the policy layers {_named(reported)} besides the organisation's, and has "
                f"been given {_named(self.enrolled)}; `leadglass-server host move` gives it the right ones"
            )
        for layer in self.enrolled:
            if not self._published.get(layer):
                yield f"{self._asset}: nothing is published of its policy layer {layer}; it goes by its others"
            elif layer in reported and reported[layer].in_force != self._expected.get(layer, 0):
                yield (
                    f"{self._asset}: policy {self._expected.get(layer, 0)} of layer {layer} not in force "
                    f"(it reports {reported[layer].in_force})"
                )

    def _facts(self, layer: str, reported: LayerState | None, guard: GuardReport | None) -> Json:
        return {
            "layer": layer,
            "enrolled": layer in self.enrolled,
            "newest": self._expected.get(layer, 0),
            "published": self._published.get(layer, 0),
            "accepted": None if reported is None else reported.accepted,
            "in_force": None if reported is None else reported.in_force,
            "guard_in_force": None if guard is None else guard.in_force(layer),
        }


def _reported(state: HostState | None) -> dict[str, LayerState]:
    return {} if state is None else {layer.layer: layer for layer in state.layers}


def _named(layers: Mapping[str, LayerState] | tuple[str, ...]) -> str:
    return " and ".join(layers) or "none"
