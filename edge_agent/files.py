"""Files that survive a power cut."""

import os
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Have a folder for its owner alone, whose name survives a power cut like what will lie in it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` as durable as the files they name. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
