"""A folder of backups: each in a folder of its own, and the bodies of all of them once.

FOLDER/objects/ab/OBJECT.body        never changed; a later backup does not copy what is here
FOLDER/LABEL/manifest, database, bodies, test-object
FOLDER/LABEL.incomplete/             one that was interrupted; the next backup removes it
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BufferedWriter
from pathlib import Path
from typing import IO

from control_plane.backup.lines import RootKeyInside
from control_plane.backup.manifest import LABEL_PATTERN, MAX_BYTES, Part
from control_plane.durable import sync_folder, write_new
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.sealing.chunked import Readable

MANIFEST = "manifest"
_INCOMPLETE = ".incomplete"
_READ_BYTES = 1 << 20


class NoBackup(Refused):
    def __init__(self, folder: Path, why: str = "holds no finished backup") -> None:
        super().__init__(f"{folder} {why}")
        self.folder = folder


class FolderInUse(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"another backup is being written to {folder}; one at a time")
        self.folder = folder


class NoPlaceForBackups(Refused):
    """Making it would put the backup on the disk that happens to be there."""

    def __init__(self, folder: Path, missing: Path) -> None:
        super().__init__(
            f"{missing} is not there, so no backup is written to {folder}: is the name right, and the disk mounted? "
            f"If it is to be a new folder, make {folder.parent} first"
        )
        self.folder, self.missing = folder, missing


class BackupDamaged(IntegrityFailure):
    def __init__(self, what: Path, why: str) -> None:
        super().__init__(f"backup: {what} {why}")
        self.what, self.why = what, why


class BackupFolder:
    def __init__(self, path: Path) -> None:
        self.path, self.objects = path, path / "objects"

    @contextmanager
    def sole_use(self) -> Iterator[None]:
        """Keep other writers out; the folder is made where the one that it is to be in is there.

        Raises FolderInUse, NoPlaceForBackups.
        """
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError as exc:
            missing = [folder for folder in self.path.absolute().parents if not folder.exists()]
            raise NoPlaceForBackups(self.path, missing[-1]) from exc
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as exc:
            raise FolderInUse(self.path) from exc
        finally:
            os.close(descriptor)

    def begin(self, label: str) -> Path:
        """Return the folder of a backup that is not finished; what others left unfinished is removed."""
        for left in self.path.glob(f"*{_INCOMPLETE}"):
            shutil.rmtree(left)
        folder = self.path / f"{label}{_INCOMPLETE}"
        folder.mkdir(mode=0o700)
        return folder

    def finish(self, label: str) -> Path:
        """Give a backup its name, durably. From now on it counts."""
        folder = self.path / label
        sync_folder(self.path / f"{label}{_INCOMPLETE}")
        (self.path / f"{label}{_INCOMPLETE}").rename(folder)
        sync_folder(self.path)
        return folder

    def labels(self) -> list[str]:
        """Return the finished ones, oldest first."""
        names = [path.parent.name for path in self.path.glob(f"*/{MANIFEST}")]
        return sorted(name for name in names if re.fullmatch(LABEL_PATTERN, name))


def chosen(path: Path, label: str | None = None) -> tuple[BackupFolder, Path]:
    """Return the folder of backups at `path` and that one in it: `label`, the newest, or `path` itself.

    Raises NoBackup.
    """
    if label is None and (path / MANIFEST).is_file() and not path.name.endswith(_INCOMPLETE):
        return BackupFolder(path.resolve().parent), path
    folder = BackupFolder(path)
    labels = folder.labels()
    if label is not None and label not in labels:
        raise NoBackup(path, f"holds no finished backup {label}")
    if not labels:
        raise NoBackup(path)
    return folder, path / (label or labels[-1])


class PartWriter:
    """Writes one file, and never the bytes of `never` where there are any."""

    def __init__(self, name: str, file: BufferedWriter, never: bytes) -> None:
        self._name, self._file, self._never, self._tail = name, file, never, b""
        self._digest, self._size_bytes = sha256(), 0

    def write(self, data: bytes) -> None:
        """Raises RootKeyInside."""
        if self._never:
            seen = self._tail + data
            if self._never in seen:
                raise RootKeyInside(self._name)
            self._tail = seen[1 - len(self._never) :]
        self._digest.update(data)
        self._size_bytes += len(data)
        self._file.write(data)

    def part(self) -> Part:
        return Part(self._size_bytes, self._digest.digest())


@contextmanager
def part_writer(path: Path, never: bytes = b"") -> Iterator[PartWriter]:
    """Yield a writer of a file that did not exist; once the block ends it survives a power cut."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield PartWriter(path.name, file, never)
        file.flush()
        os.fsync(file.fileno())


def copy(source: Readable, writer: PartWriter) -> None:
    buffer = memoryview(bytearray(_READ_BYTES))
    while count := source.readinto(buffer):
        writer.write(bytes(buffer[:count]))


def digest_of(path: Path) -> Part:
    """Read a file from the disk and not from memory, as far as the system lets us. Raises BackupDamaged."""
    digest, size_bytes = sha256(), 0
    try:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
                size_bytes += len(piece)
    except FileNotFoundError as exc:
        raise BackupDamaged(path, "is missing") from exc
    return Part(size_bytes, digest.digest())


def verify_part(path: Path, expected: Part) -> None:
    """Raises BackupDamaged: missing, cut, or other bytes."""
    found = digest_of(path)
    if found.size_bytes != expected.size_bytes:
        raise BackupDamaged(path, f"has {found.size_bytes} bytes, and {expected.size_bytes} were written")
    if found != expected:
        raise BackupDamaged(path, "holds other bytes than were written")


def load_manifest(folder: Path) -> bytes:
    """Raises Malformed: far too large to be one."""
    with (folder / MANIFEST).open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Malformed("backup manifest", f"larger than {MAX_BYTES} bytes")
    return data


def store_manifest(folder: Path, signed: bytes) -> None:
    write_new(folder / MANIFEST, signed)


def open_part(folder: Path, name: str) -> IO[bytes]:
    """Raises BackupDamaged."""
    try:
        return (folder / name).open("rb")
    except FileNotFoundError as exc:
        raise BackupDamaged(folder / name, "is missing") from exc
