"""Reads the verified layers of a host into what it would act by.

Every document has to be valid, and so has whatever a roll-out can put together of them: a host that has accepted a
version must be able to wait for it, to act by it and to go back from it.
The agent and the guard's child both do this, each with what it verified itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import NamedTuple, TypeAlias

from edge_agent.policy_sync.verification import VerifiedLayer
from shared.errors import Malformed
from shared.identity import HostId
from shared.policy.accept import AcceptedPolicy, WrongLayer
from shared.policy.document import PolicyDocument
from shared.policy.effective import Effective, effective
from shared.policy.layer import is_part
from shared.policy.part import PartDocument

Document: TypeAlias = PolicyDocument | PartDocument


@dataclass(frozen=True)
class HostPolicy:
    """`newest` is what is accepted of each layer, `acts_by` what of it is to be in force; both in the layers' order.

    `documents` has the bytes of all that may be acted by. `effective` is what those of `acts_by` come to on this host.
    """

    newest: tuple[AcceptedPolicy, ...]
    acts_by: tuple[AcceptedPolicy, ...]
    documents: Mapping[AcceptedPolicy, bytes]
    effective: Effective


class _Read(NamedTuple):
    accepted: AcceptedPolicy
    document: Document
    data: bytes


def read_layers(verified: Sequence[VerifiedLayer], host: HostId) -> HostPolicy:
    """Raises Malformed, WrongLayer: then nothing of any layer is used."""
    choices = [_choices(layer) for layer in verified]
    together = {
        tuple(each.accepted for each in chosen): _combined([each.document for each in chosen], host)
        for chosen in product(*choices)
    }
    acts_by = tuple(
        next(each.accepted for each in of_layer if each.data == layer.acts_by)
        for layer, of_layer in zip(verified, choices, strict=True)
    )
    documents = {each.accepted: each.data for of_layer in choices for each in of_layer}
    return HostPolicy(tuple(newest.accepted for newest, *_ in choices), acts_by, documents, together[acts_by])


def combine(documents: Sequence[Document], host: HostId) -> Effective:
    """Return what these come to on `host`, of which the first is the organisation's. Raises Malformed."""
    first, *parts = documents
    if not isinstance(first, PolicyDocument):
        raise Malformed("policy", "the first of a host's layers is the organisation's")
    return effective(first, [part for part in parts if isinstance(part, PartDocument)], host)


def parse_document(layer: str, data: bytes) -> Document:
    """Return the document of a layer, which says its own name. Raises Malformed, WrongLayer."""
    try:
        document: Document = PartDocument.parse(data) if is_part(layer) else PolicyDocument.parse(data)
    except Malformed as exc:
        raise Malformed(f"{exc.what} (layer {layer})", exc.why) from exc
    if document.layer != layer:
        raise WrongLayer(offered=document.layer, expected=layer)
    return document


def _combined(documents: Sequence[Document], host: HostId) -> Effective:
    try:
        return combine(documents, host)
    except Malformed as exc:
        together = " and ".join(f"{each.layer} {each.version}" for each in documents)
        raise Malformed(f"{exc.what} (of {together} together)", exc.why) from exc


def _choices(layer: VerifiedLayer) -> list[_Read]:
    """Return the newest document of a layer and, where there is one, what a roll-out leaves hosts with."""
    newest = _read(layer.layer, layer.newest)
    if not layer.stable:
        return [newest]
    stable = _read(layer.layer, layer.stable)
    if stable.accepted.version >= newest.accepted.version:
        raise Malformed(
            f"policy of layer {layer.layer}",
            f"what a roll-out leaves hosts with, version {stable.accepted.version}, is not older",
        )
    return [newest, stable]


def _read(layer: str, data: bytes) -> _Read:
    document = parse_document(layer, data)
    return _Read(AcceptedPolicy(layer, document.version, sha256(data).digest()), document, data)
