"""Writes the identity folder: whole and durable, or not at all."""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from edge_agent.files import sync_folder
from shared.errors import Refused, Unavailable


class AlreadyEnrolled(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} exists: this host is enrolled already; an identity is never overwritten")
        self.folder = folder


class IdentityNotStored(Unavailable):
    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"the identity cannot be written to {folder}: {why}")
        self.folder, self.why = folder, why


class IdentityUnreadable(Refused):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} cannot be used: {why}")
        self.file, self.why = file, why


def refuse_if_enrolled(folder: Path) -> None:
    """Raises AlreadyEnrolled."""
    if folder.exists():
        raise AlreadyEnrolled(folder)


def verify_storable(folder: Path, size_bytes: int) -> None:
    """Write as much where `folder` will be, and take it away again. Raises IdentityNotStored."""
    try:
        there = next(above for above in folder.parents if above.exists())
        draft = there / f".{folder.name}-{secrets.token_hex(4)}"
        draft.mkdir(mode=0o700)
        try:
            _write(draft / "tried", bytes(size_bytes))
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as exc:
        raise IdentityNotStored(folder, f"{exc.strerror or 'it failed'}; the code was not sent") from exc


def store(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` with these files, 0600 in 0700. Once this returns they survive a power cut.

    Raises AlreadyEnrolled, IdentityNotStored; nothing is left then.
    """
    refuse_if_enrolled(folder)
    draft = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700, parents=True)
        for name, content in files.items():
            _write(draft / name, content)
        sync_folder(draft)
        draft.rename(folder)
        sync_folder(folder.parent)
    except OSError as exc:
        shutil.rmtree(draft, ignore_errors=True)
        raise IdentityNotStored(folder, exc.strerror or "it failed") from exc


def replace(file: Path, content: bytes) -> None:
    """Put `content` in the place of one file of the identity, whole or not at all. Raises IdentityNotStored."""
    draft = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        _write(draft, content)
        draft.rename(file)
        sync_folder(file.parent)
    except OSError as exc:
        draft.unlink(missing_ok=True)
        raise IdentityNotStored(file, exc.strerror or "it failed") from exc


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
