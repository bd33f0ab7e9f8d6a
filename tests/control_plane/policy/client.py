"""The client of a host: python-tuf's own, served from bundles in memory as the agent serves it."""

from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from control_plane.policy.roles import policy_path
from shared.policy.bundle import HeadBundle, LayerBundle


class MemoryFetcher(FetcherInterface):
    """Answers any metadata name with what the bundles hold for that role: the client alone decides what it is worth."""

    def __init__(self, head: HeadBundle, layer: LayerBundle) -> None:
        self._files = {f"{n}.root.json": root for n, root in enumerate(head.roots, 1)}
        self._files["timestamp.json"] = head.timestamp
        self._roles = {"snapshot": head.snapshot, "targets": head.targets, layer.layer: layer.metadata}
        self._policy = layer.policy

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix("memory://metadata/")
        if url.startswith("memory://targets/"):
            data = self._policy
        elif name in self._files:
            data = self._files[name]
        else:
            role = name.split(".")[1]
            if role not in self._roles:
                raise DownloadHTTPError(f"no {name}", 404)
            data = self._roles[role]
        for start in range(0, len(data), 4096):
            yield data[start : start + 4096]


class Host:
    """Keeps trusted metadata in a folder between updates, as an agent does."""

    def __init__(self, folder: Path, root: bytes) -> None:
        self._folder, self._root = folder, root

    def accept(self, head: HeadBundle, layer: LayerBundle) -> bytes:
        """Return the policy document that the bundles carry, or raise what python-tuf raises."""
        metadata, targets = self._folder / "metadata", self._folder / "targets"
        metadata.mkdir(parents=True, exist_ok=True)
        targets.mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(metadata),
            "memory://metadata/",
            str(targets),
            "memory://targets/",
            fetcher=MemoryFetcher(head, layer),
            bootstrap=self._root,
        )
        target = updater.get_targetinfo(policy_path(layer.layer))
        assert target is not None
        return Path(updater.download_target(target)).read_bytes()
