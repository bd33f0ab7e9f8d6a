"""Changes in folders, as Linux tells them (inotify(7)).

event = i32 watch || u32 mask || u32 cookie || u32 length || name, padded with zeros to `length`
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from edge_agent.export_folder import libc
from shared.errors import Unavailable

CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE = 0x8, 0x40, 0x80, 0x100
DELETE_SELF, MOVE_SELF = 0x400, 0x800
UNMOUNT, OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
IS_FOLDER = 0x40000000
_ONLYDIR = 0x01000000
# Not IN_MODIFY: each write of a file of 4 GiB would be an event, and its close says all we need.
_MASK = CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE_SELF | MOVE_SELF | _ONLYDIR
_EVENT = Struct("=iIII")
_READ_BYTES = 64 << 10


class CannotWatch(Unavailable):
    """The system has no watch left, or the file system cannot be watched; the rescan has to find everything."""

    def __init__(self, why: str) -> None:
        super().__init__(f"a folder cannot be watched: {why}")
        self.why = why


@dataclass(frozen=True)
class Change:
    watch: int
    mask: int
    name: bytes


class Inotify:
    def __init__(self) -> None:
        """Raises CannotWatch."""
        try:
            self._descriptor = libc.inotify_init()
        except OSError as exc:
            raise CannotWatch(os.strerror(exc.errno or 0)) from exc

    def fileno(self) -> int:
        return self._descriptor

    def add(self, folder: int) -> int:
        """Watch an open folder and return the watch; the same folder gives the same one. Raises CannotWatch."""
        try:
            # By descriptor: the name could have come to mean another folder.
            return libc.inotify_add_watch(self._descriptor, b"/proc/self/fd/%d" % folder, _MASK)
        except OSError as exc:
            raise CannotWatch(os.strerror(exc.errno or 0)) from exc

    def remove(self, watch: int) -> None:
        # It is gone already where its folder is.
        with contextlib.suppress(OSError):
            libc.inotify_rm_watch(self._descriptor, watch)

    def changes(self) -> Iterator[Change]:
        """Yield some of what happened since the last call, a few thousand changes at the most; does not block.

        Bounded, because whoever writes without a pause makes more as fast as they are read. While there are more the
        descriptor stays readable.
        """
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        yield from parse(data)

    def close(self) -> None:
        os.close(self._descriptor)


def parse(data: bytes) -> Iterator[Change]:
    position = 0
    while position < len(data):
        watch, mask, _cookie, length = _EVENT.unpack_from(data, position)
        position += _EVENT.size
        yield Change(watch, mask, data[position : position + length].rstrip(b"\x00"))
        position += length
