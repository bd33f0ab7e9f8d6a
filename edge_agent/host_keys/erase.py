"""Takes a key's file away so that its blocks do not keep it, as far as a file system lets a program do that."""

import os
from pathlib import Path

from edge_agent.files import sync_folder

# Flash writes elsewhere what is written over, and so do file systems that copy on write; neither can be kept from it.
MAY_REMAIN = (
    "on flash, on a file system that copies on write, in a snapshot or in a backup an older copy may remain: have "
    "fresh keys made (`leadglass-agent enrol` into a new folder), or have the disk wiped, where that must not be"
)


def erase(file: Path) -> None:
    """Write over the content, durably, then take the name away, durably.

    What has another name too, or only a link here, is somebody else's: then the name goes and the content stays.
    Raises OSError.
    """
    if not file.is_symlink() and file.stat().st_nlink == 1:
        _write_over(file)
    file.unlink()
    sync_folder(file.parent)


def _write_over(file: Path) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb", buffering=0) as opened:
        opened.write(bytes(os.fstat(opened.fileno()).st_size))
        os.fsync(opened.fileno())
