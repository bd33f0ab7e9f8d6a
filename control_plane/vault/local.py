"""Bodies in local folders: `<folder>/<first two digits>/<object id>.body`.

A body is written under another name in `<folder>/new`, synced, linked to its own name, and the folder is synced. A
link never replaces what is there, so the first body of an object stays the only one. What a cut leaves in `new` is
removed at the next start; what it leaves under its own name is whole, and the next upload of that object adopts it.
One that rotted here stays beside the right one as `<object id>.damaged`, the last such if it happened more than once.

A file `store` tells a folder in which bodies are kept from the place where its disk is not mounted: there nothing is
missing, and nothing is written.
"""

import errno
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.vault.object_store import BodyConflict, BodyMissing, BodyUnreadable, StoreUnavailable
from shared.identity import ObjectId
from shared.sealing.chunked import Readable

_COPY_BYTES = 1 << 18
DAMAGED = ".damaged"
MADE = "store"
_NOT_GIVEN = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN})


class StoreAway(StoreUnavailable):
    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"`{folder.name}` is not the folder in which images were kept: is its disk mounted? If all of them are "
            f"gone for good, make the file `{folder.name}/{MADE}` as the service's account"
        )


class LocalBodies:
    """The bodies in a folder, for reading alone; whoever writes there meanwhile is not disturbed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, object_id: ObjectId) -> "_LocalBody":
        try:
            return _LocalBody(self.path(object_id))
        except FileNotFoundError as exc:
            raise BodyMissing(object_id) from exc

    def path(self, object_id: ObjectId) -> Path:
        name = str(object_id)
        return self._folder / name[:2] / f"{name}.body"


class VaultBodies(LocalBodies):
    """The bodies in a folder of a `LocalObjectStore`."""

    def open(self, object_id: ObjectId) -> "_LocalBody":
        try:
            return super().open(object_id)
        except (BodyMissing, BodyUnreadable):
            self._verify_here()
            raise

    def _verify_here(self) -> None:
        """Raises StoreAway, StoreUnavailable."""
        with _translated():
            if not (self._folder / MADE).exists():
                raise StoreAway(self._folder)


class LocalObjectStore(VaultBodies):
    """`sync` is the system's fsync; a test sees in it every point at which a power cut makes a difference."""

    def __init__(self, folder: Path, sync: Callable[[int], None] = os.fsync, *, is_new: bool = True) -> None:
        """Where it is not `is_new`, bodies were kept in it before. Raises StoreAway: they are not here."""
        super().__init__(folder)
        self._new, self._sync = folder / "new", sync
        with _translated():
            # One of before the file was has bodies in it.
            if not (is_new or (folder / MADE).exists() or any(folder.glob("??/*.body"))):
                raise StoreAway(folder)
            self._new.mkdir(mode=0o700, parents=True, exist_ok=True)
            for first in range(256):
                (folder / f"{first:02x}").mkdir(mode=0o700, exist_ok=True)
            if not (folder / MADE).exists():  # which somebody else may have made
                (folder / MADE).touch(mode=0o600)
            self._sync_folder(folder)
            for leftover in self._new.iterdir():
                leftover.unlink(missing_ok=True)

    def put(self, object_id: ObjectId, body: Readable) -> None:
        path = self.path(object_id)
        with _translated(), self._written(body) as new:
            try:
                path.hardlink_to(new)
            except FileExistsError as exc:
                if not _same(path, new):
                    raise BodyConflict(object_id) from exc
            self._sync_folder(path.parent)

    def replace(self, object_id: ObjectId, body: Readable) -> None:
        path = self.path(object_id)
        aside = path.with_suffix(DAMAGED)
        with _translated(), self._written(body) as new:
            aside.unlink(missing_ok=True)
            aside.hardlink_to(path)
            new.replace(path)
            self._sync_folder(path.parent)

    @contextmanager
    def _written(self, body: Readable) -> Iterator[Path]:
        """Yield a file that holds `body`, durably, and that is gone afterwards unless it got another name.

        Raises StoreAway: it would lie where a disk is to be mounted, and be hidden by it.
        """
        self._verify_here()
        descriptor, name = tempfile.mkstemp(dir=self._new)
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _copy(body, file)
                file.flush()
                self._sync(file.fileno())
            yield new
        finally:
            new.unlink(missing_ok=True)

    def _sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._sync(descriptor)
        finally:
            os.close(descriptor)


class _LocalBody(io.FileIO):
    """An unbuffered file whose faults are ours, but for one that is not there."""

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path, "rb")
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise _fault(exc) from exc

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        try:
            return super().readinto(buffer) or 0
        except OSError as exc:
            raise _fault(exc) from exc


def _fault(exc: OSError) -> StoreUnavailable:
    """Return what a fault of one body is: the disk does not give it, or nothing can be said of it now."""
    kind = BodyUnreadable if exc.errno in _NOT_GIVEN else StoreUnavailable
    return kind(exc.strerror or type(exc).__name__)


def _copy(source: Readable, file: io.BufferedWriter) -> None:
    buffer = memoryview(bytearray(_COPY_BYTES))
    while count := source.readinto(buffer):
        file.write(buffer[:count])


def _same(held: Path, new: Path) -> bool:
    """Return whether two files hold the same; what the disk does not give of the one that is held is not the same."""
    buffer = memoryview(bytearray(_COPY_BYTES))
    try:
        with _LocalBody(held) as a, new.open("rb") as b:
            while count := a.readinto(buffer):
                if buffer[:count] != b.read(count):
                    return False
            return not b.read(1)
    except BodyUnreadable:
        return False


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreUnavailable(exc.strerror or type(exc).__name__) from exc
