"""Serves python-tuf's client from bundles in memory; what they do not hold is not found."""

import json
from collections.abc import Collection, Iterator
from hashlib import sha256

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from shared.policy.bundle import HeadBundle, LayerBundle

METADATA_URL = "bundle://metadata/"
_NOT_FOUND = 404


class BundleFetcher(FetcherInterface):
    """Names each part of the bundles as a TUF repository with consistent snapshots would.

    The version in a name is what the part says of itself; ngclient then verifies the part and that claim.
    `missing` is the layer, and which version of its role, that was asked for and not there, if any.
    """

    def __init__(self, head: HeadBundle, layers: Collection[LayerBundle]) -> None:
        self._files = {"timestamp.json": head.timestamp}
        parts = [("root", root) for root in head.roots] + [("snapshot", head.snapshot), ("targets", head.targets)]
        parts += [(layer.layer, layer.metadata) for layer in layers]
        for role, data in parts:
            self._files[f"{claimed_version(data)}.{role}.json"] = data
        self.missing: tuple[str, int] | None = None

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return the part, without the temporary file of the interface's own implementation."""
        data = b"".join(self.fetch(url))
        if len(data) > max_length:
            raise DownloadHTTPError(f"{url} is larger than {max_length} bytes", 413)
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(METADATA_URL)
        data = self._files.get(name)
        if data is None:
            version, _, role = name.partition(".")
            if version.isdecimal() and role not in ("root.json", "snapshot.json", "targets.json"):
                self.missing = role.removesuffix(".json"), int(version)
            raise DownloadHTTPError(f"{name} is not in the bundle", _NOT_FOUND)
        yield data


def claimed_version(metadata: bytes) -> int:
    """Return the version that TUF metadata claims, 0 where it claims none. Nothing is verified."""
    try:
        version = json.loads(metadata)["signed"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return version if isinstance(version, int) else 0


def is_of(head: HeadBundle, bundle: LayerBundle) -> bool:
    """Return whether a layer's bundle is, by what head and bundle claim, the one that the head names.

    Nothing is verified; but what is not so cannot be verified.
    """
    try:
        named = json.loads(head.snapshot)["signed"]["meta"][f"{bundle.layer}.json"]["hashes"]
        targets = json.loads(bundle.metadata)["signed"]["targets"]
        parts = [(named, bundle.metadata), (targets[f"{bundle.layer}/policy.json"]["hashes"], bundle.policy)]
        if stable := targets.get(f"{bundle.layer}/stable.json"):
            parts.append((stable["hashes"], bundle.stable))
        return all(sha256(data).hexdigest() == hashes["sha256"] for hashes, data in parts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def claimed_layer_version(snapshot: bytes, layer: str) -> int:
    """Return which version of `layer` a snapshot claims is current, 0 where it claims none. Nothing is verified."""
    try:
        version = json.loads(snapshot)["signed"]["meta"][f"{layer}.json"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return version if isinstance(version, int) else 0
