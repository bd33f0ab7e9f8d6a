"""Decides whether layers can be together: what some host would refuse when it puts them together is not published.

A host has the organisation's layer, at most one of a site and at most one of a type of modality; the document of its
site may have an exception for it. docs/formats/policy.md section 8
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeAlias

from shared.errors import Malformed, Refused
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.policy.effective import effective
from shared.policy.layer import MODALITY, SITE, is_part
from shared.policy.part import PartDocument

LayerDocument: TypeAlias = PolicyDocument | PartDocument

# One takes 1 ms to 10 ms. Nobody else writes to the database meanwhile, and others wait ten seconds at the most.
MAX_COMBINATIONS = 2_000
_ANY_HOST = HostId(bytes(16))


class OrganisationFirst(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(
            f"layer {layer} adds to the organisation's policy, and that is not published yet; publish it first"
        )
        self.layer = layer


class LayersDisagree(Refused):
    """Each layer is valid, and together they are no policy that a host accepts."""

    def __init__(self, layers: Sequence[LayerDocument], host: HostId | None, why: str) -> None:
        named = " and ".join(f"{layer.layer} version {layer.version}" for layer in layers)
        whose = "a host that has them" if host is None else f"{host}, for which there is an exception,"
        super().__init__(f"{named} cannot be together, and {whose} would refuse them: {why}")
        self.layers, self.host = tuple(layer.layer for layer in layers), host


class TooManyCombinations(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(
            f"with layer {layer} there are more than {MAX_COMBINATIONS} ways in which a site, an exception for a host "
            "and a type of modality come together, more than are tried here; have fewer exceptions or layers"
        )
        self.layer = layer


@dataclass(frozen=True)
class _Combination:
    parts: tuple[PartDocument, ...]
    host: HostId | None = None  # None: one without an exception


def parse_document(layer: str, data: bytes) -> LayerDocument:
    """Return the document of a layer in the form that its name stands for. Raises Malformed."""
    return PartDocument.parse(data) if is_part(layer) else PolicyDocument.parse(data)


def verify_together(published: LayerDocument, others: Iterable[LayerDocument]) -> None:
    """Raise unless whatever hosts would put together of `published` and the other layers that are held is valid.

    A layer is among the others twice where a roll-out may be taken back: some hosts have the one, some the other.

    Raises OrganisationFirst, LayersDisagree, TooManyCombinations.
    """
    documents = [*others, published]
    organisations = [each for each in documents if isinstance(each, PolicyDocument)]
    if not organisations:
        raise OrganisationFirst(published.layer)
    parts = [each for each in documents if isinstance(each, PartDocument)]
    combinations = ((first, each) for each in _combinations(published, parts) for first in organisations)
    for number, (organisation, combination) in enumerate(islice(combinations, MAX_COMBINATIONS + 1)):
        if number == MAX_COMBINATIONS:
            raise TooManyCombinations(published.layer)
        try:
            effective(organisation, combination.parts, combination.host or _ANY_HOST)
        except Malformed as exc:
            raise LayersDisagree((organisation, *combination.parts), combination.host, str(exc)) from exc


def _combinations(published: LayerDocument, parts: Sequence[PartDocument]) -> Iterator[_Combination]:
    """Yield those in which `published` is; the fewest layers first, so that no more are named than it takes."""
    sites, types = ([part for part in parts if part.layer.startswith(kind)] for kind in (SITE, MODALITY))
    if isinstance(published, PolicyDocument):
        for part in (*types, *sites):
            yield from _at((part,))
        pairs = [(kind, site) for site in sites for kind in types]
    else:
        yield from _at((published,))
        is_site = published.layer.startswith(SITE)
        pairs = [(kind, published) for kind in types] if is_site else [(published, site) for site in sites]
    for pair in pairs:
        yield from _at(pair)


def _at(parts: tuple[PartDocument, ...]) -> Iterator[_Combination]:
    """Yield these parts for a host without an exception, and once for each exception that differs from the others."""
    yield _Combination(tuple(replace(part, hosts=()) for part in parts))
    tried = []
    for part in parts:
        for host, content in part.hosts:
            if content not in tried:
                tried.append(content)
                yield _Combination(parts, host)
