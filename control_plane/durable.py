"""Files and folders that survive a power cut."""

import os
import secrets
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Return once the names in `folder` are on the disk; a file that is synced may still be nameless after a cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that did not exist, for its owner only, durably. Raises FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def replace_whole(path: Path, data: bytes) -> None:
    """Write a file anew for its owner only, durably: after a cut it holds what it held, or all of `data`."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_new(beside, data)
    beside.replace(path)
    sync_folder(path.parent)
