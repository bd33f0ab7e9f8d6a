"""An export folder on the disk, reached by names that its modality chooses.

Names are bytes, relative to the folder. No symbolic link inside it is followed: every step of a name is opened by
itself, so a link that takes a folder's place meanwhile leads nowhere. Nothing is held open between two calls, so that
the folder can be unmounted; only a walk holds what it stands in.

A file that is let go of first gets a name of ours, `name.leadglass-0123456789abcdef`, by which no writer reaches it,
and is looked at there. A walk gives its name back to what a power cut left under such a name.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from edge_agent.export_folder import libc
from edge_agent.export_folder.classify import Stamp
from shared.errors import Unavailable
from shared.identity import RandomBytes

DELIVERED = b"leadglass-delivered"  # where files go that policy has moved; it is not read
_MAX_DEPTH = 32
_MAX_SAME_NAMES = 1000
_ASIDE = re.compile(rb"(.+)\.leadglass-[0-9a-f]{16}", re.DOTALL)
# So much of a file's own name fits before the rest; what is beyond is missing where a power cut had it given back.
_ASIDE_NAME_BYTES = 228
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not blocking: a pipe that has taken a file's place would wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}


class FolderMissing(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the export folder is not there: {why}")
        self.why = why


class FileGone(Unavailable):
    """No regular file has this name any more."""

    def __init__(self) -> None:
        super().__init__("the file is gone")


class FileUnreadable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the file cannot be read: {why}")
        self.why = why


class CannotRelease(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the file can be neither moved nor deleted: {why}")
        self.why = why


class NotThatFile(Unavailable):
    """What has the name by now is not the file that was meant. It stays."""

    def __init__(self) -> None:
        super().__init__("the file changed just before it was let go of")


@dataclass(frozen=True)
class File:
    path: bytes
    stamp: Stamp


class Tree:
    def __init__(self, root: bytes, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self.root, self._random = root, random_bytes

    def identity(self) -> tuple[int, int]:
        """Return device and inode of the folder itself. Raises FolderMissing."""
        with self._root() as root:
            status = os.fstat(root)
        return status.st_dev, status.st_ino

    def is_empty(self) -> bool:
        """Raises FolderMissing."""
        with self._root() as root, os.scandir(root) as entries:
            return next(entries, None) is None

    def walk(self, start: bytes = b"", enter: Callable[[bytes, int], None] = lambda _path, _folder: None) -> "Walk":
        """Return every regular file below `start`; `enter` is called with each folder, open, before it is listed."""
        return Walk(self, start, enter)

    def stamp(self, path: bytes) -> Stamp:
        """Raises FileGone, FileUnreadable."""
        with _translated(), self.parent(path) as (folder, name):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise FileGone
        return stamp_of(status)

    def is_linked(self, path: bytes) -> bool:
        """Whether the file has several names. Raises FileGone, FileUnreadable."""
        with _translated(), self.parent(path) as (folder, name):
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_nlink > 1

    @contextmanager
    def open(self, path: bytes) -> Iterator[int]:
        """Return a descriptor of a regular file. Raises FileGone, FileUnreadable."""
        with _translated(), self.parent(path) as (folder, name):
            descriptor = os.open(name, _FILE, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileGone
            yield descriptor
        finally:
            os.close(descriptor)

    def delete(self, file: File) -> None:
        """Delete a file that still is as `file` says, durably. Raises CannotRelease, NotThatFile, FolderMissing."""
        with _releasing(), self.parent(file.path) as (folder, name):
            with self._aside(name, folder, file.stamp) as aside:
                os.unlink(aside, dir_fd=folder)
            os.fsync(folder)

    def put_away(self, file: File) -> None:
        """Move a file that still is as `file` says, durably, to its name below `DELIVERED`; one that is there stays.

        Raises CannotRelease, NotThatFile, FolderMissing.
        """
        with _releasing(), self._root() as root, self.parent(file.path) as (folder, name):
            with _made(root, [DELIVERED, *file.path.split(b"/")[:-1]]) as target:
                with self._aside(name, folder, file.stamp) as aside:
                    _rename_beside(aside, folder, name, target)
                os.fsync(target)
            os.fsync(folder)

    @contextmanager
    def _aside(self, name: bytes, folder: int, stamp: Stamp) -> Iterator[bytes]:
        """Return a name of ours for a file of this stamp; whatever is raised, it has its own back, or one beside it.

        Raises NotThatFile, OSError.
        """
        if _ASIDE.fullmatch(name):
            raise FileExistsError(errno.EEXIST, "it has a name of ours already, which could not be taken back")
        aside = name[:_ASIDE_NAME_BYTES] + b".leadglass-" + self._random(8).hex().encode()
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
        try:
            _verify_stamp(aside, folder, stamp)
            yield aside
        except BaseException:
            # Where even this fails, the next walk does it.
            with suppress(OSError):
                _given_back(aside, folder, name)
            raise

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Return the open folder that a name is in, and its last part. Raises FolderMissing, OSError."""
        *folders, name = path.split(b"/")
        with self.folder(folders) as folder:
            yield folder, name

    @contextmanager
    def folder(self, parts: list[bytes]) -> Iterator[int]:
        """Raises FolderMissing, OSError."""
        with self._root() as root:
            folder = os.dup(root)
            try:
                for part in parts:
                    inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                    os.close(folder)
                    folder = inner
                yield folder
            finally:
                os.close(folder)

    @contextmanager
    def _root(self) -> Iterator[int]:
        try:
            root = os.open(self.root, _FOLDER)
        except OSError as exc:
            raise FolderMissing(os.strerror(exc.errno or 0)) from exc
        try:
            yield root
        finally:
            os.close(root)


class Walk:
    """The files below a folder, one by one: of its listing no more is in memory than the system hands out at once."""

    def __init__(self, tree: Tree, start: bytes, enter: Callable[[bytes, int], None]) -> None:
        self._tree, self._start, self._enter = tree, start, enter
        self._files = self._walk()
        self.is_complete = True  # False: something could not be listed

    def __iter__(self) -> Iterator[File]:
        return self._files

    def __next__(self) -> File:
        """Raises StopIteration, FolderMissing."""
        return next(self._files)

    def close(self) -> None:
        self._files.close()

    def _walk(self) -> Generator[File, None, None]:
        try:
            with self._tree.folder(self._start.split(b"/") if self._start else []) as folder:
                yield from self._below(self._start, folder, 0)
        except OSError:
            self.is_complete = False

    def _below(self, path: bytes, folder: int, depth: int) -> Generator[File, None, None]:
        self._enter(path, folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                inner = path + b"/" + name if path else name
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError as exc:
                    # One name that cannot be looked at (ESTALE, EIO) keeps nobody from the others.
                    self.is_complete = self.is_complete and exc.errno in _GONE
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield _under_its_own_name(path, name, folder) or File(inner, stamp_of(status))
                elif stat.S_ISDIR(status.st_mode) and inner != DELIVERED:
                    yield from self._inside(inner, name, folder, depth + 1)

    def _inside(self, path: bytes, name: bytes, parent: int, depth: int) -> Generator[File, None, None]:
        if depth > _MAX_DEPTH:
            self.is_complete = False
            return
        try:
            folder = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as exc:
            self.is_complete = self.is_complete and exc.errno in _GONE
            return
        try:
            yield from self._below(path, folder, depth)
        except OSError:
            # One folder that cannot be listed to its end keeps nobody from its neighbours.
            self.is_complete = False
        finally:
            os.close(folder)


def stamp_of(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _verify_stamp(name: bytes, folder: int, stamp: Stamp) -> None:
    # A rename alone may change `changed_ns`.
    if not stamp_of(os.stat(name, dir_fd=folder, follow_symlinks=False)).same_content(stamp):
        raise NotThatFile


def _under_its_own_name(path: bytes, aside: bytes, folder: int) -> File | None:
    """Return a file that was left under a name of ours, under its own again; None: it was not, or keeps ours."""
    left = _ASIDE.fullmatch(aside)
    if left is None:
        return None
    try:
        name = _given_back(aside, folder, left[1])
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return File(path + b"/" + name if path else name, stamp_of(status))


def _given_back(aside: bytes, folder: int, name: bytes) -> bytes:
    """Give a file its own name again, or one beside it that is free; return which. Raises OSError."""
    try:
        return _rename_beside(aside, folder, name, folder)
    except FileExistsError:
        raise
    except OSError:
        # Where a rename that replaces nothing has to make a link, which whoever does not own a file may not (NFS).
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            raise
        os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
        return name


def _rename_beside(name: bytes, folder: int, new: bytes, target: int) -> bytes:
    """Rename within open folders, to `new` or a name beside it that is free; return which."""
    for number in range(_MAX_SAME_NAMES):
        free = new + b".%d" % number if number else new
        try:
            libc.rename_new(name, folder, free, target)
        except FileExistsError:
            continue
        return free
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


@contextmanager
def _made(root: int, parts: list[bytes]) -> Iterator[int]:
    """Return the open folder of this name below `root`, made where it is not there yet."""
    folder = os.dup(root)
    try:
        for part in parts:
            try:
                os.mkdir(part, 0o700, dir_fd=folder)
                os.fsync(folder)
            except FileExistsError:
                pass
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _GONE:
            raise FileGone from exc
        raise FileUnreadable(os.strerror(exc.errno or 0)) from exc


@contextmanager
def _releasing() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise CannotRelease(os.strerror(exc.errno or 0)) from exc
