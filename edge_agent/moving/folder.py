"""The folder that is carried: made once and never written over, read as what somebody else may have prepared.

manifest               written last: a folder without it is no export
certificates.pem       of each host whose signatures are in it
part-00001/list        what lies in this part
part-00001/...         sealed object files and audit batches
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

from edge_agent.files import sync_folder
from shared.errors import Refused, Unavailable

MANIFEST, CERTIFICATES, LIST = "manifest", "certificates.pem", "list"


class ExportExists(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} exists; an export is never written over another, so name a folder that is not there"
        )
        self.folder = folder


class ExportUnwritable(Unavailable):
    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"the export cannot be written to {folder}: {why}; nothing of it was left there")
        self.folder, self.why = folder, why


class FileUnreadable(Refused):
    """A file of an export that is not there, is none, or is larger than it may be."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} cannot be read: {why}")
        self.name, self.why = name, why


def part_folder(number: int) -> str:
    return f"part-{number:05}"


class NewExport:
    """An export being written, for its owner only. Each file is durable once its method has returned.

    Every method raises ExportUnwritable; whoever gets one calls `abandon`.
    """

    def __init__(self, path: Path) -> None:
        """Raises ExportExists, ExportUnwritable."""
        self._path = path
        try:
            path.mkdir(mode=0o700)
        except FileExistsError as exc:
            raise ExportExists(path) from exc
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def make_folder(self, name: str) -> None:
        """Make a folder inside it, where there is none yet."""
        try:
            (self._path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a new file from `pieces`; leave nothing of it where they raise."""
        path = self._path / name
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as exc:
            raise self._unwritable(exc) from exc
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for piece in pieces:
                    self._put(file.fileno(), piece)
                self._sync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def finish(self, manifest: bytes) -> None:
        """Make the folder an export: every name durable, and the manifest last."""
        try:
            for folder in (*(p for p in sorted(self._path.iterdir()) if p.is_dir()), self._path):
                sync_folder(folder)
            self.write(MANIFEST, [manifest])
            sync_folder(self._path)
            sync_folder(self._path.parent)
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def abandon(self) -> None:
        """Take away what was written, all of which this object made."""
        shutil.rmtree(self._path, ignore_errors=True)

    def _put(self, descriptor: int, piece: bytes) -> None:
        left = memoryview(piece)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def _sync(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def _unwritable(self, exc: OSError) -> ExportUnwritable:
        return ExportUnwritable(self._path, os.strerror(exc.errno or errno.EIO))


class NoSuchExport(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"there is no folder {folder}; name the one that `leadglass-agent spool export` made")
        self.folder = folder


class GivenExport:
    """An export as it was brought. Nothing of it is believed here. Every method raises FileUnreadable."""

    def __init__(self, path: Path) -> None:
        """Raises NoSuchExport."""
        if not path.is_dir():
            raise NoSuchExport(path)
        self._path = path

    def read(self, name: str, most: int) -> bytes:
        """Return a small file whole."""
        with self.open(name) as file:
            try:
                data = file.read(most + 1)
            except OSError as exc:
                raise _unreadable(name, exc) from exc
        if len(data) > most:
            raise FileUnreadable(name, f"larger than {most} bytes")
        return data

    def open(self, name: str) -> BufferedReader:
        """Open a regular file, and nothing that waits or is elsewhere, whatever its folder says."""
        try:
            descriptor = self._descriptor(name)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise FileUnreadable(name, "it is not a file")
        except OSError as exc:
            raise _unreadable(name, exc) from exc
        return os.fdopen(descriptor, "rb")

    def _descriptor(self, name: str) -> int:
        *folders, file = name.split("/")
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for inner in folders:
                outer, folder = folder, os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(outer)
            return os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)


def _unreadable(name: str, exc: OSError) -> FileUnreadable:
    return FileUnreadable(name, os.strerror(exc.errno or errno.EIO))
