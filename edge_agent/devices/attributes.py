"""Attributes of a device in sysfs: read and written through its open folder, whole or not at all.

What is read through one open folder is of one attachment of a device: where it is pulled out, and another one comes to
the same port, the folder that is held open answers with an error and never with the other one's values.
"""

import errno
import os
import stat
from pathlib import Path
from types import TracebackType

from shared.errors import Refused, Unavailable

MAX_BYTES = 4096  # a page, which is all that a text attribute can have
# Not what it points at, never waiting for a writer, and nothing is made or cut where sysfs is not what we think.
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR)


class DeviceGone(Unavailable):
    """It was taken out, before or while it was looked at, or the kernel is only making it. An event tells which."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not there, or not whole")
        self.name = name


class DeviceUnreadable(Refused):
    """It is there and does not say what it is, so that no rule can be held against it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} cannot be read: {why}")
        self.name, self.why = name, why


class NotWritten(Unavailable):
    """The kernel did not take a value."""

    def __init__(self, name: str, attribute: str, why: str) -> None:
        super().__init__(f"{attribute} of {name} could not be written: {why}")
        self.name, self.attribute, self.why = name, attribute, why


class Folder:
    """`name` is what errors call it."""

    def __init__(self, path: Path | str, name: str, within: "Folder | None" = None) -> None:
        """Raises DeviceGone and DeviceUnreadable. `within` is the open folder that it has to be in."""
        self.name = name
        try:
            at = None if within is None else within._descriptor
            self._descriptor: int = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
        except OSError as exc:
            raise self._error(exc, "its folder") from exc

    def __enter__(self) -> "Folder":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _at: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def read(self, attribute: str, most_bytes: int = MAX_BYTES) -> bytes:
        """Return its bytes, one more than `most_bytes` where it has more. Raises DeviceGone and DeviceUnreadable."""
        try:
            return self._read(attribute, most_bytes)
        except OSError as exc:
            raise self._error(exc, attribute) from exc

    def find(self, attribute: str) -> bytes | None:
        """Return as `read` does, or None where a device has no such attribute. Raises DeviceGone, DeviceUnreadable."""
        try:
            return self._read(attribute, MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._error(exc, attribute) from exc

    def write(self, attribute: str, value: bytes) -> None:
        """Write at once and wait for what the kernel does upon it. Raises DeviceGone and NotWritten."""
        try:
            descriptor = os.open(attribute, os.O_WRONLY | _FLAGS, dir_fd=self._descriptor)
            try:
                written = os.write(descriptor, value)
            finally:
                os.close(descriptor)
        except OSError as exc:
            if exc.errno in _GONE:
                raise DeviceGone(self.name) from exc
            raise NotWritten(self.name, attribute, os.strerror(exc.errno or 0)) from exc
        if written != len(value):
            raise NotWritten(self.name, attribute, f"{written} of {len(value)} bytes")

    def link(self, name: str) -> str:
        """Return the last name of what a link points at, empty where there is none."""
        try:
            return os.readlink(name, dir_fd=self._descriptor).rpartition("/")[2]
        except OSError:
            return ""

    def names(self) -> list[str]:
        """Raises DeviceGone and DeviceUnreadable."""
        try:
            return sorted(os.listdir(self._descriptor))  # noqa: PTH208  of the open folder, whatever its path means by now
        except OSError as exc:
            raise self._error(exc, "its folder") from exc

    @property
    def inode(self) -> int:
        return os.fstat(self._descriptor).st_ino

    def _read(self, attribute: str, most_bytes: int) -> bytes:
        descriptor = os.open(attribute, os.O_RDONLY | _FLAGS, dir_fd=self._descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DeviceUnreadable(self.name, f"{attribute} is no file")
            data = b""
            while (wanted := min(most_bytes + 1 - len(data), MAX_BYTES)) > 0:
                part = os.read(descriptor, wanted)
                data += part
                if len(part) < wanted:  # sysfs gives a page at a time, and less of the last one only
                    break
            return data
        finally:
            os.close(descriptor)

    def _error(self, exc: OSError, what: str) -> DeviceGone | DeviceUnreadable:
        if exc.errno in _GONE:
            return DeviceGone(self.name)
        return DeviceUnreadable(self.name, f"{what}: {os.strerror(exc.errno or 0)}")
