"""What a host keeps of bundles, and its packages as dpkg knows them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_agent.files import make_folder, write_over
from provisioning.bundle.manifest import parse_pem, pem
from provisioning.layout import OWN_FOLDER
from shared.errors import Unavailable
from shared.signing import EvidencePublicKey

_END = b"-----END PUBLIC KEY-----\n"
_NOT_HERE = ("", "not-installed", "config-files")


class DpkgFailed(Unavailable):
    def __init__(self, what: str, said: str) -> None:
        super().__init__(f"dpkg did not {what}: {said.strip()[-600:]}")


def field(package: Path, name: str) -> str:
    """Return a field of a package file. Raises DpkgFailed."""
    return _said(["dpkg-deb", "--field", str(package), name], f"read {package.name}").strip()


def is_older(version: str, than: str) -> bool:
    command = ["dpkg", "--compare-versions", version, "lt", than]
    return subprocess.run(command, check=False).returncode == 0


class Host:
    """One host's files below `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.folder = root / OWN_FOLDER.relative_to("/") / "bundle"
        self._keys = self.folder / "release-keys.pem"

    def keys(self) -> tuple[EvidencePublicKey, ...]:
        """Return by which release keys this host judges a bundle; none before the first. Raises Malformed, OSError."""
        try:
            data = self._keys.read_bytes()
        except FileNotFoundError:
            return ()
        return tuple(parse_pem(part + _END) for part in data.split(_END) if part)

    def pin(self, keys: Sequence[EvidencePublicKey]) -> None:
        """Judge the next bundle by these, and by no others. Raises OSError."""
        self._have_folder()
        write_over(self._keys, b"".join(map(pem, keys)))

    @contextmanager
    def unpacking(self) -> Iterator[Callable[[str], Callable[[bytes], object]]]:
        """Yield what takes the members of a bundle: on the disk at the end, and gone where it ends in an error."""
        self._have_folder()
        shutil.rmtree(self._new, ignore_errors=True)
        self._new.mkdir()
        with ExitStack() as opened:
            opened.push(self._drop_unless_whole)

            def sink(name: str) -> Callable[[bytes], object]:
                place = self._new / name
                place.parent.mkdir(exist_ok=True)
                file = opened.enter_context(place.open("xb"))
                opened.callback(_sync, file)
                return file.write

            yield sink

    def _have_folder(self) -> None:
        # The visit's records lie in the same one, and the names of people in them.
        for folder in (self.folder.parent, self.folder):
            make_folder(folder)
            folder.chmod(0o700)

    def _drop_unless_whole(self, kind: object, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self._new, ignore_errors=True)

    def keep(self, version: str) -> Path:
        """Return where what was unpacked lies from now on; that of other versions is gone."""
        place = self.folder / version
        for other in self.folder.iterdir():
            if other.is_dir() and other != self._new:
                shutil.rmtree(other)
        self._new.rename(place)
        return place

    @property
    def _new(self) -> Path:
        return self.folder / "new"

    def installed(self, package: str) -> str | None:
        """Return which version of a package is installed, whole."""
        status, version = self._stands(package)
        return version if status == "installed" else None

    def begun(self, package: str) -> str | None:
        """Return which version of a package is here, whole or as far as dpkg came with it."""
        status, version = self._stands(package)
        return version if version and status not in _NOT_HERE else None

    def _stands(self, package: str) -> tuple[str, str]:
        asked = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package]
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        status, _, version = said.partition(" ")
        return status, version

    def install(self, packages: Sequence[Path]) -> None:
        """Raises DpkgFailed: what it said is on the terminal."""
        done = subprocess.run(["dpkg", "--install", *map(str, packages)], check=False)
        if done.returncode != 0:
            raise DpkgFailed("install", "what it said stands above; put it right and run the same command again")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _said(command: Sequence[str], what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DpkgFailed(what, done.stderr)
    return done.stdout
