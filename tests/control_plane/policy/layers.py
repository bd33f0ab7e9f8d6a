"""Parts of an organisation with policies of their own, as tests give them to a centre and to a host."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from control_plane.policy.exchange import LayerAddition, Publication
from control_plane.policy.proposing import propose_layers
from control_plane.policy.roles import build_layer, sign_role
from edge_agent.policy_sync.layers import HostPolicy, read_layers
from edge_agent.policy_sync.verification import PolicyVerification
from shared.identity import HostId
from shared.policy.accept import AcceptedPolicy
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, Modality
from shared.policy.part import PartContent, PartDocument
from tests.control_plane.policy.centre import Centre
from tests.control_plane.policy.people import Person, signed_by

NORTH, SOUTH, CT = "site-north", "site-south", "modality-ct"
HOST = HostId(bytes(range(16)))


def part(layer: str, version: int, *titles: str, hosts: Mapping[HostId, str] | None = None) -> PartDocument:
    """Return a part that adds modalities of these AE titles, and one to each of `hosts`."""
    exceptions = tuple((host, saying(title)) for host, title in sorted((hosts or {}).items(), key=str))
    return PartDocument(layer, version, saying(*titles), exceptions)


def saying(*titles: str) -> PartContent:
    return PartContent(modalities=tuple(Modality(title, "") for title in titles))


def added(centre: Centre, names: Sequence[str], proposer: Person, *others: Person) -> LayerAddition:
    draft = propose_layers(names, centre.publisher.parts(), proposer.signatory, centre.clock)
    addition = signed_by(draft, *others).addition
    assert addition is not None
    return addition


def add_layers(centre: Centre, names: Sequence[str], proposer: Person, *others: Person) -> int:
    return centre.publisher.add_layers(added(centre, names, proposer, *others), proposer.name)


def signed(centre: Centre, document: PartDocument, *people: Person) -> Publication:
    policy = document.encode()
    role = build_layer(document.layer, policy, version=document.version, now=centre.clock.now())
    return Publication(document.layer, sign_role(role, [person.signatory.signer for person in people]), policy)


def publish_part(centre: Centre, document: PartDocument, *people: Person) -> int:
    return centre.publisher.publish(signed(centre, document, *people), people[0].name)


class HostOf:
    """What a host verifies and reads of the layers that it was enrolled with."""

    def __init__(self, folder: Path, root: bytes, *parts: str) -> None:
        layers = (ORGANISATION, *parts)
        self._verification = PolicyVerification(layers=layers, host=HOST, folder=folder, root=root)
        self.held: dict[str, AcceptedPolicy] = {}

    def take(self, head: HeadBundle, layers: Sequence[LayerBundle]) -> HostPolicy:
        """Return what it acts by from now on. Raises what verifying and reading raise; then nothing has changed."""
        verified = self._verification.verify(head, {layer.layer: layer for layer in layers}, self.held)
        policy = read_layers(verified, HOST)
        self.held = {accepted.layer: accepted for accepted in policy.newest}
        return policy

    def take_published(self, centre: Centre) -> HostPolicy:
        head, layers, _ = centre.publisher.published()
        assert head is not None
        return self.take(HeadBundle.parse(head.encode()), layers)


def titles(policy: HostPolicy) -> list[str]:
    return [modality.ae_title for modality in policy.effective.policy.modalities]
