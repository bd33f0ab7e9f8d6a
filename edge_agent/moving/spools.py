"""What moving needs of a spool, and the spool of this host as that."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from typing import Protocol

from edge_agent.database import Database
from edge_agent.spool.catalogue import Spooled, State
from edge_agent.spool.entry import Note
from edge_agent.spool.spool import Spool
from shared.identity import ObjectId

_PIECE_BYTES = 1 << 18
_ON_THEIR_WAY = (State.WAITING, State.OWED)
_NOTE = Note("", "", brought=True)  # who sent it to the host that captured it stands in that one's journal


class Readable(Protocol):
    """A sealed object file on its way in."""

    def read(self, size: int, /) -> bytes: ...

    @property
    def small_parts_bytes(self) -> int:
        """Return how many bytes lie behind its body, once it was read to its end."""


@dataclass(frozen=True)
class Undelivered:
    """One object that the vault may not have; `open` raises OSError or SpoolUnavailable."""

    object_id: ObjectId
    open: Callable[[], BufferedReader]


@dataclass(frozen=True)
class Held:
    """What is here under an object's id. `is_sound`: it was not put aside, and nothing is known to be amiss with it.

    `open` raises OSError or SpoolUnavailable.
    """

    is_sound: bool
    open: Callable[[], BufferedReader]


class LeavingSpool(Protocol):
    def undelivered(self) -> Iterator[Undelivered]:
        """Yield what waits, oldest first, what was put aside, and what stayed for archives alone: of that, receipts say
        whether the vault has it still. Raises SpoolUnavailable.
        """


class TakingSpool(Protocol):
    def held(self, object_id: ObjectId) -> Held | None: ...

    def take_in(self, object_id: ObjectId, source: Readable) -> None:
        """Make a whole sealed object durable and waiting, in place of what is held under its id, if anything is.

        It then survives a power cut. If this raises, also what reading `source` raised, nothing of it is kept, and what
        was held stays. Raises SpoolFull, QuotaReached, SpoolUnavailable, DatabaseUnavailable, DatabaseDamaged.
        """


class HostSpool:
    """The spool of this host, while nobody else is in its folder, and once a start has put it in order."""

    def __init__(self, spool: Spool, database: Database) -> None:
        self._spool, self._database = spool, database

    def undelivered(self) -> Iterator[Undelivered]:
        for state in (State.WAITING, State.PUT_ASIDE, State.OWED):
            for row in self._spool.rows(state):
                yield Undelivered(row.spooled.object_id, partial(self._spool.open, row.spooled))

    def held(self, object_id: ObjectId) -> Held | None:
        row = self._spool.catalogue.find(object_id)
        if row is None or row.state is State.GONE:
            return None
        return Held(row.state in _ON_THEIR_WAY and not row.why, partial(self._spool.open, row.spooled))

    def take_in(self, object_id: ObjectId, source: Readable) -> None:
        if (row := self._spool.catalogue.find(object_id)) is not None:
            self._spool.replace(row, source)
            return
        incoming = self._spool.begin(object_id)
        try:
            while piece := source.read(_PIECE_BYTES):
                incoming.room(len(piece))[: len(piece)] = piece
                incoming.took(len(piece))
            spooled = incoming.commit(_NOTE.encode(), source.small_parts_bytes)
        finally:
            incoming.discard()
        self._register(spooled)

    def _register(self, spooled: Spooled) -> None:
        """Let it wait, and say nothing of it to the table of instances: it is no capture of this host."""
        is_registered = False
        try:
            with self._database.transaction() as connection:
                self._spool.register(connection, spooled)
                complete = self._spool.note_complete(connection)
            is_registered = True
        finally:
            if not is_registered:
                self._spool.revoke(spooled, _NOTE)
        self._spool.registered(spooled, complete=complete)
