"""A host with several layers, the people who sign them and a centre that rolls them out."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from edge_agent.policy_sync.updater import PolicyUpdater
from shared.errors import Refused
from shared.policy.document import ORGANISATION, Modality, PolicyDocument
from shared.policy.layer import is_part
from shared.policy.part import PartContent, PartDocument
from shared.policy.rollout import Rings
from tests.fakes.host import Host
from tests.fakes.layer_signers import LayerSigners
from tests.fakes.signers import document

SITE, TYPE, ELSEWHERE = "site-north", "modality-ct", "site-south"
LAYERS = (ORGANISATION, TYPE, SITE)
NOBODY, EVERYBODY = Rings(), None
State: TypeAlias = tuple[dict[str, int], dict[str, int], list[str]]


class Publisher(LayerSigners):
    """Heads over whichever of the layers it is to publish, and how far each is rolled out."""

    def __init__(self, layers: Sequence[str] = (*LAYERS, ELSEWHERE)) -> None:
        super().__init__(layers)
        self.rollouts: dict[str, Rings] = {}

    def sign(
        self, layer: str, version: int, policy: bytes, stable: bytes = b"", rings: Rings | None = EVERYBODY
    ) -> None:
        """Sign the newest version of a layer, and roll it out to `rings`."""
        self.sign_layer(layer, version, policy, stable)
        self.roll_out(layer, rings)

    def roll_out(self, layer: str, rings: Rings | None) -> None:
        self.rollouts.pop(layer, None)
        if rings is not None:
            self.rollouts[layer] = rings

    def head(self, without: str = "") -> bytes:
        """Return the next head, over every layer that was signed but the one `without` which it is to be."""
        named = [bundle for layer, bundle in self.bundles.items() if layer != without]
        return self.head_over(named, self.rollouts).encode()


class Lacking(Refused):
    pass


class LayeredBench:
    """A host of three layers. It lacks what it needs for a policy that has a modality named BAD…"""

    def __init__(self, folder: Path, publisher: Publisher | None = None, layers: Sequence[str] = LAYERS) -> None:
        self.publisher = publisher or Publisher()
        self.host = Host(folder, layers=tuple(layers))
        self.missing = 0
        self.current: list[tuple[bytes, Mapping[str, bytes]]] = []
        self.start()

    def start(self) -> None:
        self.updater = PolicyUpdater(
            trust_folder=self.host.folder / "policy",
            policy_root=self.publisher.root,
            host_id=self.host.host_id,
            store=self.host.store,
            journal=self.host.journal,
            database=self.host.database,
            log=self.host.log,
            on_layer_missing=self.count_missing,
            on_current=lambda head, layers: self.current.append((head, layers)),
            self_check=self.check,
        )

    def check(self, policy: PolicyDocument) -> None:
        if any(modality.ae_title.startswith("BAD") for modality in policy.modalities):
            raise Lacking("the disk has no room for it")

    def count_missing(self) -> None:
        self.missing += 1

    def restart(self) -> None:
        self.host.restart()
        self.start()

    def lose_cache(self) -> None:
        """Lose what TUF keeps on this host; what was accepted is kept elsewhere."""
        shutil.rmtree(self.host.folder / "policy", ignore_errors=True)
        self.restart()

    def policy(self, layer: str, version: int, ae_title: str = "") -> bytes:
        """Return a version of a layer whose one modality tells of it."""
        title = ae_title or f"{layer[:10].upper()} {version}"
        if is_part(layer):
            return PartDocument(layer, version, PartContent((Modality(title, "a modality"),))).encode()
        return replace(
            document(version, self.host.keys, self.host.receipts.public), modalities=(Modality(title, "a modality"),)
        ).encode()

    def sign(self, layer: str, version: int, *, rings: Rings | None = EVERYBODY, ae_title: str = "") -> None:
        """Sign a version as people do: with rings they name the one before it too."""
        stable = self.policy(layer, version - 1) if rings is not None else b""
        self.publisher.sign(layer, version, self.policy(layer, version, ae_title), stable, rings)

    def begin(self, *layers: str) -> None:
        """Have the first version of these layers, or of all, in force."""
        for layer in layers or self.host.layers:
            self.sign(layer, 1)
        self.pull()
        assert self.updater.error == ""

    def pull(self, head: bytes = b"") -> None:
        """Offer what is published, as the pull does; `head` for another one than the next."""
        published = [self.publisher.bundles[layer] for layer in self.host.layers if layer in self.publisher.bundles]
        self.updater.offer(head or self.publisher.head(), [bundle.encode() for bundle in published])

    def roll_out(self, layer: str, rings: Rings | None) -> None:
        """Have the host hear of other rings, and of nothing else."""
        self.publisher.roll_out(layer, rings)
        self.updater.offer_head(self.publisher.head())

    @property
    def here(self) -> Rings:
        return Rings(hosts=(self.host.host_id,))

    def held(self) -> dict[str, int]:
        return {layer: accepted.version for layer, accepted in self.host.store.held().items()}

    def acts_by(self) -> dict[str, int]:
        return dict(self.host.store.in_force_versions())

    def ae_titles(self) -> list[str]:
        policy = self.host.store.in_force()
        return [modality.ae_title for modality in policy.modalities] if policy is not None else []

    def state(self) -> State:
        """Return what is held and what is acted by, and what that allows to send."""
        return self.held(), self.acts_by(), self.ae_titles()
