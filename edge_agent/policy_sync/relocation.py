"""Moves this host to other layers: fetched and verified before anything changes, and changed by one file.

The order: the present layers brought up to date; head and new layers fetched, verified as any offer is, put together
and tried; the documents kept, with a set that holds the old layers and the new ones; `host.json` exchanged. That file
alone says which layers count, and whichever it says, all of them are there: a start after a cut acts by the old ones
or by the new ones, and never by the organisation's alone. Once it is exchanged nothing is taken for the old ones.
"""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from edge_agent.config import AgentFolder, load_config
from edge_agent.database import Database
from edge_agent.enrol.store import replace
from edge_agent.https import HttpsDoor, accepted
from edge_agent.policy_sync.choice import Choice
from edge_agent.policy_sync.layers import HostPolicy, read_layers
from edge_agent.policy_sync.store import PolicyStore
from edge_agent.policy_sync.updater import PolicyUpdater
from edge_agent.policy_sync.verification import PolicyVerification, TrustCacheUnavailable
from shared.errors import Refused
from shared.policy.accept import WrongLayer, accept
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import PolicyDocument

_NOT_FOUND = 404
_MOVED = "this host moves to other layers"


class LayerNotPublished(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(f"the centre has published nothing of layer {layer}; this host stays with the layers it has")
        self.layer = layer


class OrganisationDiffers(Refused):
    """A roll-out by layers reaches it there and not here, or what it should act by is not in force."""

    def __init__(self, *, there: int, here: int) -> None:
        super().__init__(
            f"with its new layers this host would act by version {there} of the organisation's policy, and version "
            f"{here} is in force; end the roll-out first, or see why that version is not in force"
        )
        self.there, self.here = there, here


class LayerMove:
    """For the thread that does commands. `undisturbed` keeps others from writing `host.json` meanwhile.

    `refresh` brings the layers of now up to what the centre has published.
    """

    def __init__(
        self,
        folder: AgentFolder,
        door: HttpsDoor,
        *,
        updater: PolicyUpdater,
        store: PolicyStore,
        database: Database,
        self_check: Callable[[PolicyDocument], None],
        refresh: Callable[[], None],
        undisturbed: AbstractContextManager[object],
    ) -> None:
        self._folder, self._door, self._updater, self._store = folder, door, updater, store
        self._database, self._self_check, self._refresh = database, self_check, refresh
        self._undisturbed = undisturbed

    def to(self, parts: Sequence[str]) -> bool:
        """Return whether this host had other layers: then it has these from its next start on.

        Raises what the fetching, the verification and the self-check raise, LayerNotPublished, OrganisationDiffers,
        IdentityUnreadable, IdentityNotStored: the host stays with the layers that it has.
        """
        organisation, *before = self._store.layers
        if sorted(parts) == sorted(before):
            return False
        self._refresh()
        bundles = {layer: self._fetch(layer) for layer in (organisation, *parts)}
        head = HeadBundle.parse(self._get("/api/v1/policy/head", organisation))
        with self._undisturbed, self._updater.held_still() as end:
            offered, choice = self._verified(head, bundles)
            self._self_check(offered.effective.policy)
            self._keep(offered, choice)
            config = load_config(self._folder)
            replace(self._folder.config, dataclasses.replace(config, parts=tuple(parts)).encode())
            end()
        return True

    def _fetch(self, layer: str) -> LayerBundle:
        bundle = LayerBundle.parse(self._get(f"/api/v1/policy/layers/{layer}", layer))
        if bundle.layer != layer:
            raise WrongLayer(offered=bundle.layer, expected=layer)
        return bundle

    def _get(self, path: str, layer: str) -> bytes:
        answer = self._door.get(path)
        if answer.status == _NOT_FOUND:
            raise LayerNotPublished(layer)
        return accepted(self._door.name, answer).body

    def _verified(self, head: HeadBundle, bundles: Mapping[str, LayerBundle]) -> tuple[HostPolicy, Choice]:
        """Verify beside the trusted metadata, in a copy of it: until the host has moved, that is of the old layers."""
        held = self._store.held(tuple(bundles))
        config = load_config(self._folder)
        with _copied(self._folder.trust) as trust:
            verification = PolicyVerification(
                layers=tuple(bundles), host=config.host_id, folder=trust, root=config.policy_root
            )
            verified = verification.verify(head, bundles, held)
            choice = verification.choice()
        for layer in bundles:
            if layer not in [each.layer for each in verified]:
                raise LayerNotPublished(layer)
        offered = read_layers(verified, config.host_id)
        for newest in offered.newest:
            accept(newest, held.get(newest.layer))
        for each in offered.documents:
            accept(each, self._store.accepted(each.layer, each.version))
        return offered, choice

    def _keep(self, offered: HostPolicy, choice: Choice) -> None:
        """Keep the new layers, and a set from which an agent that starts has the old ones or the new ones."""
        present = self._store.in_force_versions()
        versions = {each.layer: each.version for each in offered.acts_by}
        organisation = self._store.layers[0]
        if versions[organisation] != present.get(organisation):
            raise OrganisationDiffers(there=versions[organisation], here=present.get(organisation, 0))
        with self._database.transaction():
            for each, document in offered.documents.items():
                if not self._store.has(each):
                    self._store.keep(each, document)
            self._store.passed(self._store.begin_trial({**present, **versions}, choice, _MOVED))


@contextmanager
def _copied(folder: Path) -> Iterator[Path]:
    """Yield a copy that is gone afterwards, or before the next one. Raises TrustCacheUnavailable."""
    copy = folder.with_name(f"{folder.name}-of-a-move")
    try:
        if copy.exists():
            shutil.rmtree(copy)
        if folder.is_dir():
            shutil.copytree(folder, copy, symlinks=True)
    except (OSError, shutil.Error) as exc:
        raise TrustCacheUnavailable(f"it cannot be copied to {copy}") from exc
    try:
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)
