"""Decides whether new targets may follow the published ones under the same root: they add layers, and nothing else.

    targets    version + 1; delegates every layer that was delegated as it was, and new ones to the same people,
               terminating, each by the one path `<layer>/*`; `since` as it was; valid for another year

So a new site takes one signature by each of those who sign its policy anyway, and no new root.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import datetime

from tuf.api.metadata import DelegatedRole, Targets

from control_plane.policy.exchange import MAX_LAYERS, LayerAddition
from control_plane.policy.roles import TARGETS, delegated_layers, held_keys, parse_role
from control_plane.policy.root_change import WHENEVER
from control_plane.policy.verify import (
    Held,
    read_unsigned_targets,
    verify_next,
    verify_roots,
    verify_signers_agree,
    verify_targets,
)
from shared.errors import Malformed, Refused
from shared.fields import Fields
from shared.policy.layer import PART_PATTERN


class LayerExists(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(f"layer {layer} is delegated already; publish its policy")
        self.layer = layer


class LayerTakenAway(Refused):
    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__(
            f"the targets no longer delegate {', '.join(layers)}; a layer that hosts have is never taken away"
        )
        self.layers = tuple(layers)


class NoLayerAdded(Refused):
    def __init__(self) -> None:
        super().__init__("the targets delegate no layer that was not delegated before")


class TooManyLayers(Refused):
    def __init__(self, count: int) -> None:
        super().__init__(f"there would be {count} layers, and there are at most {MAX_LAYERS}")
        self.count = count


class TargetsChanged(Refused):
    def __init__(self) -> None:
        super().__init__(
            "the targets differ from the published ones in more than the layers that they add; only a new root changes "
            "the rest, so sign nothing of this, and ask who made it"
        )


def build_added(published: Targets, names: Iterable[str], *, version: int, expires: datetime) -> Targets:
    """Return the targets that follow `published` and delegate `names` too. Raises Malformed, LayerExists."""
    following = deepcopy(published)
    following.version, following.expires = version, expires
    known = delegated_layers(published)
    if following.delegations is None or following.delegations.roles is None or not known:
        raise Malformed("TUF targets metadata", "it delegates no layer")
    signers = held_keys(published, known[0])
    for name in names:
        layer = Fields({"layer": name}, "layers added").text("layer", PART_PATTERN)
        if layer in following.delegations.roles:
            raise LayerExists(layer)
        following.delegations.roles[layer] = DelegatedRole(
            layer, signers.key_ids, signers.threshold, terminating=True, paths=[f"{layer}/*"]
        )
    return following


def read_layers_added(offered: LayerAddition, held: Held) -> tuple[Targets, tuple[str, ...]]:
    """Return the targets and the names that they add, once they follow what is held, whoever has signed them.

    Raises Malformed, PolicyVersionTaken, PolicyVersionSkipped, SignersDiffer, LayerTakenAway, NoLayerAdded,
    TooManyLayers, TargetsChanged, and what `verify_roots` raises for the roots that are held.
    """
    root = verify_roots(held.roots, WHENEVER)
    targets, published = read_unsigned_targets(offered.targets), parse_role(Targets, held.targets).signed
    verify_next(TARGETS, targets.version, published.version)
    verify_signers_agree(root, targets)
    before, after = delegated_layers(published), delegated_layers(targets)
    if taken := [layer for layer in before if layer not in after]:
        raise LayerTakenAway(taken)
    added = tuple(layer for layer in after if layer not in before)
    if not added:
        raise NoLayerAdded
    if len(after) > MAX_LAYERS:
        raise TooManyLayers(len(after))
    expected = build_added(published, added, version=targets.version, expires=targets.expires)
    if _members(targets) != _members(expected):
        raise TargetsChanged
    return targets, added


def verify_layers_added(offered: LayerAddition, held: Held, now: datetime) -> Targets:
    """Return the targets once enough people signed them.

    Raises what `read_layers_added` raises, and SignaturesMissing, PolicyExpired.
    """
    targets, _ = read_layers_added(offered, held)
    verify_targets(verify_roots(held.roots, now), offered.targets, now)
    return targets


def _members(targets: Targets) -> dict[str, object]:
    """Return what metadata says, whatever order its delegations stand in; no two of their paths overlap."""
    members = targets.to_dict()
    members["delegations"]["roles"].sort(key=lambda role: role["name"])
    for role in members["delegations"]["roles"]:
        role["keyids"].sort()
    return members
