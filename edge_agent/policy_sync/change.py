"""Decides what a verified offer changes on this host: which layers, and whether it is to act by another set."""

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.policy_sync.choice import Choice
from edge_agent.policy_sync.layers import HostPolicy
from edge_agent.policy_sync.store import PolicySet
from edge_agent.policy_sync.verification import MetadataRollback
from shared.policy.accept import AcceptedPolicy


@dataclass(frozen=True)
class LayerChange:
    newest: AcceptedPolicy
    acts_by: AcceptedPolicy
    is_chosen_anew: bool  # of the same newest version another choice: its turn came, or it was taken back

    @property
    def is_by_rollout(self) -> bool:
        return self.is_chosen_anew or self.acts_by != self.newest


@dataclass(frozen=True)
class Change:
    versions: Mapping[str, int]  # by layer, what this host is to act by
    layers: tuple[LayerChange, ...]  # those with another newest version, or another one to act by
    choice: Choice
    confirms: int | None  # the set that is chosen already and stays so; None: it is another one
    is_later: bool  # the choice is later than the one that is kept of the set


def change(offered: HostPolicy, choice: Choice, held: Mapping[str, AcceptedPolicy], chosen: PolicySet | None) -> Change:
    """`held` are the accepted versions, `chosen` is the set that was chosen last.

    Raises MetadataRollback: a choice that was replaced comes again, which TUF sees only while it has its folder.
    """
    versions = {acts.layer: acts.version for acts in offered.acts_by}
    before = chosen.versions if chosen is not None else {}
    new = {newest for newest in offered.newest if held.get(newest.layer) != newest}
    layers = tuple(
        LayerChange(newest, acts, newest not in new)
        for newest, acts in zip(offered.newest, offered.acts_by, strict=True)
        if newest in new or before.get(acts.layer) != acts.version
    )
    if chosen is None:
        return Change(versions, layers, choice, None, is_later=True)
    is_other = before != versions
    if is_other and not new and choice.is_before(chosen.choice):
        raise MetadataRollback(
            f"snapshot {choice.snapshot} is from before {chosen.choice.snapshot}, which chose among the same versions"
        )
    return Change(
        versions, layers, choice, None if is_other else chosen.number, is_later=chosen.choice.is_before(choice)
    )


def every_layer(offered: HostPolicy) -> tuple[LayerChange, ...]:
    """Return all layers of an offer, where none of them changed."""
    return tuple(LayerChange(*pair, False) for pair in zip(offered.newest, offered.acts_by, strict=True))
