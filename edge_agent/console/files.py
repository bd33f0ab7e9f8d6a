"""Writes planned files so that each is there whole, before and after a power cut, and only where it changed."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from edge_agent.console.plan import Wanted
from edge_agent.files import sync_folder
from shared.errors import Unavailable


class CannotWrite(Unavailable):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be written: {why}")
        self.path, self.why = path, why


def apply(wanted: Wanted, root: Path = Path("/")) -> bool:
    """Make the file below `root` what it has to be; return whether it was not. Raises CannotWrite."""
    path = root / wanted.path.lstrip("/")
    try:
        if wanted.data is None:
            return _remove(path)
        if _is(path, wanted.data, wanted.mode):
            return False
        _make_folder(path.parent)
        _replace(path, wanted.data, wanted.mode)
    except OSError as exc:
        raise CannotWrite(path, exc.strerror or type(exc).__name__) from exc
    return True


def _is(path: Path, data: bytes, mode: int) -> bool:
    try:
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == mode and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _make_folder(folder: Path) -> None:
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o755)
        sync_folder(one.parent)


def _replace(path: Path, data: bytes, mode: int) -> None:
    # udev reads names in `.rules` and initramfs-tools no hidden ones: what a power cut leaves is taken for neither.
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    sync_folder(path.parent)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    sync_folder(path.parent)
    return True
