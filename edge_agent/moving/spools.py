"""What moving needs of a spool, and the spool of this host as that."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from edge_agent.capture.spool import Spool
from shared.identity import ObjectId

_PIECE_BYTES = 1 << 18


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Undelivered:
    """One object that the vault does not have yet; `open` raises OSError or SpoolUnavailable."""

    object_id: ObjectId
    open: Callable[[], BufferedReader]


class LeavingSpool(Protocol):
    def undelivered(self) -> Iterator[Undelivered]:
        """Yield what waits, oldest first, and then what was put aside. Raises SpoolUnavailable."""


class TakingSpool(Protocol):
    def holds(self, object_id: ObjectId) -> bool: ...

    def take_in(self, object_id: ObjectId, source: Readable) -> None:
        """Make a whole sealed object durable and waiting; it then survives a power cut.

        If this raises, also what reading `source` raised, nothing of it is kept. Raises SpoolFull, SpoolUnavailable.
        """


class FileSpool:
    """The spool of one file for each object."""

    def __init__(self, spool: Spool, folder: Path) -> None:
        self._spool, self._folder = spool, folder
        self._held: set[ObjectId] | None = None  # read once: only `take_in` adds to it while nobody else is here

    def undelivered(self) -> Iterator[Undelivered]:
        for spooled in self._spool.everything():
            yield Undelivered(spooled.object_id, partial(self._spool.open, spooled))
        for path in self._put_aside():
            yield Undelivered(_object_of(path), _opener(path))

    def holds(self, object_id: ObjectId) -> bool:
        return object_id in self._objects()

    def take_in(self, object_id: ObjectId, source: Readable) -> None:
        # What an import that was killed had begun; nobody was told that it is here.
        (self._folder / "incoming" / str(object_id)).unlink(missing_ok=True)
        incoming = self._spool.begin(object_id)
        try:
            while piece := source.read(_PIECE_BYTES):
                incoming.write(piece)
            spooled = incoming.commit()
        finally:
            incoming.discard()
        self._spool.offer(spooled)
        self._objects().add(object_id)

    def _objects(self) -> set[ObjectId]:
        if self._held is None:
            waiting = (spooled.object_id for spooled in self._spool.everything())
            self._held = {*waiting, *map(_object_of, self._put_aside())}
        return self._held

    def _put_aside(self) -> list[Path]:
        return sorted((self._folder / "refused").iterdir())


def _object_of(path: Path) -> ObjectId:
    return ObjectId.parse(path.name.rpartition("-")[2])


def _opener(path: Path) -> Callable[[], BufferedReader]:
    return lambda: path.open("rb")
