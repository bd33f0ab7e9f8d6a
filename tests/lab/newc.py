"""A cpio archive in the form that the kernel unpacks into its first root: "newc", one after another.

    entry = "070701" || 13 numbers of 8 hexadecimal digits || name NUL, padded to 4 || content, padded to 4
    last  = an entry named TRAILER!!!

Documentation/driver-api/early-userspace/buffer-format.rst of the kernel: several archives may follow each other, and a
later entry replaces an earlier one of the same name. Replaces what is in it, though: where several names are one file,
as busybox's are, all of them would change. So a link comes before each file, because for something of another kind the
kernel removes the name first.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    target: str


Entry = File | Link


def archive(entries: Mapping[str, Entry]) -> bytes:
    """Return `entries`, by their absolute paths, with the folders that they are in."""
    folders = {str(parent) for path in entries for parent in PurePosixPath(path).parents} - {"/"}
    parts = [_entry(folder, stat.S_IFDIR | 0o755, b"", number) for number, folder in enumerate(sorted(folders), 1)]
    for number, (path, entry) in enumerate(sorted(entries.items()), len(parts) + 1):
        target = entry.target if isinstance(entry, Link) else "replaced"
        parts.append(_entry(path, stat.S_IFLNK | 0o777, target.encode(), number))
        if isinstance(entry, File):
            parts.append(_entry(path, stat.S_IFREG | entry.mode, entry.content, number))
    parts.append(_entry("/TRAILER!!!", 0, b"", 0))
    return _padded(b"".join(parts), 512)


def _entry(path: str, mode: int, content: bytes, inode: int) -> bytes:
    name = path.lstrip("/").encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers) + name
    return _padded(header, 4) + _padded(content, 4)


def _padded(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)
