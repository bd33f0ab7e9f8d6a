"""A host below a folder: accounts, some folders of Debian's, and what else lies there."""

import hashlib
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from provisioning.files import system_files
from provisioning.install.addresses import Peer
from provisioning.install.installer import Installer, program_data
from tests.fakes.centre import Centre

_ACCOUNTS = {"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/.pwd.lock"}

_OF_SQLITE = ("-wal", "-shm")  # come and go with whoever reads


def tree(root: Path) -> dict[str, tuple[str, str]]:
    """Return what lies there: kind and rights, and content. Of accounts, which names there are."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.rstrip("-") in _ACCOUNTS or name.endswith(_OF_SQLITE):
            continue
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = (f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}", content)
    return found


def accounts(root: Path) -> set[str]:
    return {line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()}


def make_root(root: Path) -> Path:
    for folder in ("etc/systemd/system", "etc/udev/rules.d", "etc/default", "var/lib", "sys"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/resolv.conf").write_text("nameserver 10.0.0.53\noptions edns0\nnameserver 127.0.0.53\n")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


def resolving(peers: Sequence[Peer]) -> dict[str, tuple[str, ...]]:
    return {peer.address: ("10.3.0.9", "10.3.0.7") for peer in peers if peer.is_name}


def installer(root: Path, *programs: str) -> Installer:
    """Return an installer for a machine that has these programs, and nothing on the USB."""
    return Installer(
        program_data(system_files()), root, resolve=resolving, find=lambda name: name in programs, sys=root / "sys"
    )


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    folder = tmp_path / "centre"
    folder.mkdir()
    centre = Centre(folder)
    centre.start()
    yield centre
    centre.stop()
