"""Verifies offered bundles as TUF metadata, by python-tuf's client workflow. The agent and the guard's child use this.

The folder of trusted metadata only saves work: what is accepted is judged against what its caller holds, and the trust
anchor is the root metadata the caller was given.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api import exceptions as tuf
from tuf.api.metadata import Key, Metadata, Role, Root, Signed, TargetFile, Targets
from tuf.ngclient.updater import Updater

from edge_agent.log import why
from edge_agent.policy_sync.choice import Choice
from edge_agent.policy_sync.fetcher import METADATA_URL, BundleFetcher, claimed_layer_version
from shared import clock
from shared.errors import Malformed, Refused, Unavailable
from shared.identity import HostId
from shared.policy.accept import AcceptedPolicy, PolicyRollback
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.rollout import ROLLOUTS, Rings, parse_rollouts

_CHAIN = ("root", "timestamp", "snapshot", "targets")


class PolicyExpired(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the offered policy metadata has expired: {why}")
        self.why = why


class PolicyNotSigned(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the offered policy metadata is not signed by enough of those who may: {why}")
        self.why = why


class MetadataRollback(Refused):
    """Same or newer policy, older metadata around it: a replay that would hide later changes."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the offered policy metadata is older than what is trusted here: {why}")
        self.why = why


class MetadataInvalid(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the offered policy metadata does not hold together: {why}")
        self.why = why


class LayerNotHere(Unavailable):
    def __init__(self, layer: str) -> None:
        super().__init__(f"the head names a version of layer {layer} that has not arrived")
        self.layer = layer


class TrustCacheUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the folder of trusted policy metadata cannot be used: {why}")
        self.why = why


@dataclass(frozen=True)
class Chain:
    """What the metadata that was verified last says of time."""

    expires: datetime  # the earliest of all its roles
    signed_at: datetime | None  # when the timestamp was signed; None: its signer does not say
    root_version: int


@dataclass(frozen=True)
class VerifiedLayer:
    """What people signed of one layer, and which of it this host goes by: `newest`, or `stable`."""

    layer: str
    newest: bytes
    acts_by: bytes
    stable: bytes = b""  # what a roll-out can leave this host with, or bring it back to; empty: nothing


class PolicyVerification:
    """The metadata of one host's layers as trusted in a folder of the caller's, for one caller at a time."""

    def __init__(
        self,
        *,
        layers: Sequence[str],
        host: HostId,
        folder: Path,
        root: bytes,
        on_discarded: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        """`layers` are the host's, of which the first has to be published before anything holds.

        `on_discarded` is told why the folder was emptied and filled anew.
        """
        self._layers, self._host, self._folder, self._root = tuple(layers), host, folder, root
        self._on_discarded = on_discarded

    def verify(
        self, head: HeadBundle, bundles: Mapping[str, LayerBundle], held: Mapping[str, AcceptedPolicy]
    ) -> tuple[VerifiedLayer, ...]:
        """Return, of each layer that is published, what `head` and `bundles` make current, each part verified.

        Both mappings are by layer. Raises PolicyRollback, MetadataRollback, PolicyExpired, PolicyNotSigned,
        MetadataInvalid; LayerNotHere: a layer is missing or another version; TrustCacheUnavailable.
        """
        try:
            return self._run_tuf(head, bundles, held)
        except OSError as exc:
            self._on_discarded(exc)
            self._discard_folder()
        try:
            return self._run_tuf(head, bundles, held)
        except OSError as exc:
            raise TrustCacheUnavailable(why(exc)) from exc

    def chain(self) -> Chain:
        """Return what `verify` relied on, after it has returned. Raises MetadataInvalid, TrustCacheUnavailable."""
        signed = dict(self._trusted())
        told = signed["timestamp"].unrecognized_fields.get("signed_at")
        try:
            signed_at = clock.parse(told) if isinstance(told, str) else None
        except Refused as exc:
            raise MetadataInvalid(str(exc)) from exc
        return Chain(min(role.expires for role in signed.values()), signed_at, signed["root"].version)

    def choice(self) -> Choice:
        """Return which snapshot `verify` relied on. Raises TrustCacheUnavailable."""
        root = self._read("root")
        (key,) = root.roles["snapshot"].keyids[:1] or [""]
        return Choice(key, root.version, self._read("snapshot").version)

    def _trusted(self) -> Iterator[tuple[str, Signed]]:
        # The offered parts may be other encodings of a version that was trusted already: the folder has what counts.
        for role in (*_CHAIN, *self._published()):
            yield role, self._read(role)

    def _published(self) -> list[str]:
        """Return those of the layers that the trusted snapshot has; the others say nothing yet."""
        published = self._read("snapshot").meta
        return [layer for layer in self._layers if layer == self._layers[0] or f"{layer}.json" in published]

    def _read(self, role: str) -> Any:
        try:
            return Metadata[Any].from_file(str(self._folder / f"{role}.json")).signed
        except (tuf.StorageError, tuf.RepositoryError) as exc:
            raise TrustCacheUnavailable(f"{role} of what was verified: {why(exc)}") from exc

    def _run_tuf(
        self, head: HeadBundle, bundles: Mapping[str, LayerBundle], held: Mapping[str, AcceptedPolicy]
    ) -> tuple[VerifiedLayer, ...]:
        fetcher = BundleFetcher(head, bundles.values())
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            client = Updater(str(self._folder), METADATA_URL, fetcher=fetcher, bootstrap=self._root)
            client.refresh()
            published = self._published()
            targets = {layer: _targets_of(client, layer) for layer in published}
        except tuf.BadVersionNumberError as exc:
            _verify_not_older(head, held)
            raise MetadataRollback(str(exc)) from exc
        except tuf.ExpiredMetadataError as exc:
            raise PolicyExpired(str(exc)) from exc
        except tuf.UnsignedMetadataError as exc:
            raise PolicyNotSigned(str(exc)) from exc
        except tuf.DownloadHTTPError as exc:
            if fetcher.missing is None:
                raise MetadataInvalid(str(exc)) from exc
            layer, version = fetcher.missing
            if layer in held and version < held[layer].version:
                raise PolicyRollback(offered=version, held=held[layer].version, layer=layer) from exc
            raise LayerNotHere(layer) from exc
        except (tuf.RepositoryError, tuf.DownloadError) as exc:
            raise MetadataInvalid(str(exc)) from exc
        # A layer's metadata, signed by people who may sign targets too, would pass for those.
        if self._read("targets").targets:
            raise MetadataInvalid("the targets metadata lists a target itself; policies belong to layers")
        verify_signers_agree(self._read("root"), self._read("targets"))
        for layer in held:
            if layer in self._layers and layer not in published:  # whoever lost TUF's folder would not notice
                raise PolicyRollback(offered=0, held=held[layer].version, layer=layer)
        return tuple(self._documents(layer, bundles.get(layer), *targets[layer]) for layer in published)

    def _documents(
        self, layer: str, bundle: LayerBundle | None, newest: TargetFile | None, stable: TargetFile | None
    ) -> VerifiedLayer:
        if newest is None:
            raise MetadataInvalid(f"{layer}/policy.json is not among the targets")
        if bundle is None:
            raise LayerNotHere(layer)
        try:
            newest.verify_length_and_hashes(bundle.policy)
            if stable is not None:
                stable.verify_length_and_hashes(bundle.stable)
        except tuf.LengthOrHashMismatchError as exc:
            raise LayerNotHere(layer) from exc
        rings = self._rings(layer)
        if rings is not None and stable is None:
            raise MetadataInvalid(f"a roll-out of layer {layer} is named, and nobody signed what it rolls out from")
        version = self._read(layer).version
        is_reached = rings is None or rings.holds(self._host, self._layers, layer=layer, version=version)
        # A bundle may bring a stable document that nobody signed.
        signed = bundle.stable if stable is not None else b""
        return VerifiedLayer(layer, bundle.policy, bundle.policy if is_reached else signed, signed)

    def _rings(self, layer: str) -> Rings | None:
        try:
            return parse_rollouts(self._read("snapshot").unrecognized_fields.get(ROLLOUTS, {})).get(layer)
        except Malformed as exc:
            raise MetadataInvalid(str(exc)) from exc

    def _discard_folder(self) -> None:
        try:
            if self._folder.is_dir() and not self._folder.is_symlink():
                shutil.rmtree(self._folder)
            else:
                self._folder.unlink(missing_ok=True)
        except OSError as exc:
            raise TrustCacheUnavailable(why(exc)) from exc


def _targets_of(client: Updater, layer: str) -> tuple[TargetFile | None, TargetFile | None]:
    return client.get_targetinfo(f"{layer}/policy.json"), client.get_targetinfo(f"{layer}/stable.json")


def _verify_not_older(head: HeadBundle, held: Mapping[str, AcceptedPolicy]) -> None:
    """Raises PolicyRollback: by what the snapshot claims, somebody is to go back to an older policy."""
    for layer, accepted in held.items():
        claimed = claimed_layer_version(head.snapshot, layer)
        if claimed < accepted.version:
            raise PolicyRollback(offered=claimed, held=accepted.version, layer=layer)


def verify_signers_agree(root: Root, targets: Targets) -> None:
    """Raise MetadataInvalid unless each layer has the keys and threshold that the root gives to targets.

    People read who signs a policy from the layers. Fewer could otherwise give a layer away, to one of them alone.
    """
    held = _signers(root.keys, root.roles[Targets.type])
    delegations = targets.delegations
    if delegations is None:
        return
    for name, role in (delegations.roles or {}).items():
        if _signers(delegations.keys, role) != held:
            raise MetadataInvalid(f"layer {name} is signed by others, or by fewer or more, than the targets metadata")


def _signers(keys: Mapping[str, Key], role: Role) -> tuple[int, dict[str, tuple[str, str, Any]]]:
    # An id is only a word to TUF. Whose name stands beside a key is nothing that a host goes by.
    found = {key_id: keys[key_id] for key_id in role.keyids if key_id in keys}
    return role.threshold, {key_id: (key.keytype, key.scheme, key.keyval) for key_id, key in found.items()}
