"""What the spool holds, as rows: where each object lies, in which order, and whether it waits or was put aside.

A row comes in the transaction that records the capture, and leaves in the one that keeps the vault's receipt, so that
journal, receipts and spool cannot tell different stories. An object that has left keeps its row while a start might
look through the segment it lies or lay in.

A person's command changes rows of what was put aside, and no others, beside an agent that runs or not. What it
discards is let go of by the agent, which alone counts and deletes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from sqlite3 import Connection
from typing import Any, Protocol

from edge_agent.database import Database
from edge_agent.spool.segments import Place
from shared.identity import ObjectId

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spooled (
    number INTEGER PRIMARY KEY, object TEXT NOT NULL UNIQUE, segment INTEGER, offset INTEGER NOT NULL,
    bytes INTEGER NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS spooled_in_order ON spooled (state, number);
CREATE INDEX IF NOT EXISTS spooled_in_segment ON spooled (segment);
CREATE INDEX IF NOT EXISTS spooled_unreadable ON spooled (number) WHERE state = 'waiting' AND why <> '';
CREATE TABLE IF NOT EXISTS segment_complete (number INTEGER PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS last_number (one INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT;
"""
_AMISS = """
SELECT (SELECT count(*) FROM spooled WHERE state = 'put aside')
    + (SELECT count(*) FROM spooled WHERE state = 'waiting' AND why <> '')
"""
_KEEP_LAST_NUMBER = """
INSERT INTO last_number SELECT 1, coalesce(max(number), 0) FROM spooled WHERE true
ON CONFLICT DO UPDATE SET number = max(number, excluded.number)
"""
_NAME = re.compile(r"(\d{20})-([0-9a-f]{32})")
NOTE_SUFFIX = ".note"
MAX_NUMBER = (1 << 62) - 1  # as many are never given


class State(StrEnum):
    WAITING = "waiting"
    PUT_ASIDE = "put aside"  # the vault will not take it as it is; for a person to look at
    OWED = "owed"  # the vault has it, and an archive that this host serves has not
    DISCARDED = "discarded"  # a person decided that it is worthless; the agent lets go of it
    GONE = "gone"


HERE = (State.WAITING, State.PUT_ASIDE, State.OWED)


@dataclass(frozen=True, order=True)
class Spooled:
    """One object of the spool; `number` keeps the order. `place` is None where it is a file of its own."""

    number: int
    object_id: ObjectId
    object_bytes: int = 0
    place: Place | None = None

    @property
    def name(self) -> str:
        return f"{self.number:020}-{self.object_id}"

    def where(self) -> str:
        """Say where below the spool's folder the object begins; a segment by the number its name begins with."""
        if self.place is None:
            return f"files/{self.name}"
        return f"segments/{self.place.segment:020} at {self.place.offset}"


def parse_name(name: str) -> tuple[int, ObjectId] | None:
    """Return number and id of the object whose file has this name, None where it is no object's."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), ObjectId.parse(match[2])) if match else None


@dataclass(frozen=True)
class Row:
    """`why` is what is amiss with the object; empty where nothing is known to be."""

    spooled: Spooled
    state: State
    why: str


class Readable(Protocol):
    def read(self, query: str, values: Sequence[object] = (), /) -> list[Any]: ...


class NothingCatalogued:
    """Stands for a database in which no agent has entered anything yet."""

    def read(self, _query: str, _values: Sequence[object] = (), /) -> list[Any]:
        return []


class CatalogueReader:
    """Answers questions from a database that may be open for reading only. Raises what `read` of it does."""

    def __init__(self, database: Readable) -> None:
        self._database = database

    def oldest(self, after: int = 0) -> Spooled | None:
        """Return the waiting object with the lowest number above `after`."""
        rows = self._rows("state = 'waiting' AND number > ? ORDER BY number LIMIT 1", after)
        return rows[0].spooled if rows else None

    def in_state(self, *states: State) -> Iterator[Row]:
        """Yield the rows in order, a few at a time. What changes meanwhile may be in it as it was or as it is."""
        marks = ", ".join("?" * len(states))
        # By the index one state comes in order; several would be sorted anew for every few rows.
        column = "state" if len(states) == 1 else "+state"
        after = 0
        while rows := self._rows(
            f"{column} IN ({marks}) AND number > ? ORDER BY number LIMIT 500", *(s.value for s in states), after
        ):
            yield from rows
            after = rows[-1].spooled.number

    def knows(self, place: Place, number: int) -> bool:
        """Return whether the entry of this number that lies there is an object of the catalogue, or was.

        Where the object has become a file of its own, only number and offset tell; a rotten head has the number of
        another.
        """
        rows = self._rows(
            "segment = ? AND offset = ? OR number = ? AND segment IS NULL AND offset = ?",
            place.segment, place.offset, min(number, MAX_NUMBER), place.offset,
        )  # fmt: skip
        return bool(rows)

    def offsets(self, segment: int) -> set[int]:
        """Return where objects of the catalogue lie, or lay, in a segment."""
        return {int(at) for (at,) in self._database.read("SELECT offset FROM spooled WHERE segment = ?", (segment,))}

    def numbered(self, number: int) -> Row | None:
        return next(iter(self._rows("number = ?", number)), None)

    def find(self, object_id: ObjectId) -> Row | None:
        return next(iter(self._rows("object = ?", str(object_id))), None)

    def count(self, state: State) -> tuple[int, int]:
        """Return how many objects there are in a state, and their bytes."""
        ((count, size),) = self._database.read(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM spooled WHERE state = ?", (state.value,)
        )
        return int(count), int(size)

    def amiss(self) -> int:
        """Return how many objects do not reach the vault by themselves: put aside, or not given by the disk."""
        ((count,),) = self._database.read(_AMISS)
        return int(count)

    def last_number(self) -> int:
        """Return the highest number that an object had which is, or was, in the catalogue."""
        rows = self._database.read(
            "SELECT max(coalesce((SELECT max(number) FROM spooled), 0), coalesce((SELECT number FROM last_number), 0))"
        )
        return int(rows[0][0]) if rows else 0

    def segments(self) -> list[int]:
        """Return the numbers of all segments of which something is said here, whether or not they are still there."""
        rows = self._database.read(
            "SELECT segment FROM spooled WHERE segment IS NOT NULL UNION SELECT number FROM segment_complete"
        )
        return [int(number) for (number,) in rows]

    def complete_segments(self) -> set[int]:
        return {int(number) for (number,) in self._database.read("SELECT number FROM segment_complete")}

    def live_in_segments(self) -> dict[int, int]:
        """Return how many objects that have not left each segment holds, for those with any row."""
        rows = self._database.read(
            "SELECT segment, sum(state != 'gone') FROM spooled WHERE segment IS NOT NULL GROUP BY segment"
        )
        return {int(segment): int(live) for segment, live in rows}

    def _rows(self, where: str, *values: object) -> list[Row]:
        rows = self._database.read(
            f"SELECT number, object, segment, offset, bytes, state, why FROM spooled WHERE {where}",  # noqa: S608 (ours)
            values,
        )
        return [
            Row(
                Spooled(number, ObjectId.parse(name), size, None if segment is None else Place(segment, offset)),
                State(state),
                why,
            )
            for number, name, segment, offset, size, state, why in rows
        ]


class Catalogue(CatalogueReader):
    """Raises DatabaseUnavailable, DatabaseDamaged throughout."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._writing = database
        database.create(_SCHEMA)

    def add(self, connection: Connection, spooled: Spooled, state: State = State.WAITING, why: str = "") -> None:
        segment, offset = (spooled.place.segment, spooled.place.offset) if spooled.place else (None, 0)
        connection.execute(
            "INSERT INTO spooled (number, object, segment, offset, bytes, state, why) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (spooled.number, str(spooled.object_id), segment, offset, spooled.object_bytes, state.value, why),
        )

    def change(self, connection: Connection, spooled: Spooled, state: State, why: str = "") -> None:
        connection.execute("UPDATE spooled SET state = ?, why = ? WHERE number = ?", (state.value, why, spooled.number))

    def move(self, connection: Connection, spooled: Spooled) -> None:
        """Note that an object of a segment is a file of its own now; the offset says that an entry of it was left."""
        connection.execute("UPDATE spooled SET segment = NULL WHERE number = ?", (spooled.number,))

    def replace(self, connection: Connection, spooled: Spooled, object_bytes: int) -> None:
        """Let a copy wait that is a file of its own, whatever became of the one before it."""
        self.move(connection, spooled)
        self.change(connection, spooled, State.WAITING)
        connection.execute("UPDATE spooled SET bytes = ? WHERE number = ?", (object_bytes, spooled.number))

    def forget(self, connection: Connection, spooled: Spooled) -> None:
        """Drop the row of an object that has left and was a file of its own.

        Where an entry of it was left in a segment, the row stays until no start would look at that.
        """
        connection.execute(_KEEP_LAST_NUMBER)
        connection.execute("DELETE FROM spooled WHERE number = ? AND offset = 0", (spooled.number,))
        connection.execute("UPDATE spooled SET state = 'gone', why = '' WHERE number = ?", (spooled.number,))

    def forget_moved(self, connection: Connection) -> None:
        """Drop the rows of files that have left, because no start looks at what is here now."""
        connection.execute(_KEEP_LAST_NUMBER)
        connection.execute("DELETE FROM spooled WHERE state = 'gone' AND segment IS NULL")

    def complete(self, connection: Connection, segments: Sequence[int]) -> None:
        connection.executemany("INSERT OR IGNORE INTO segment_complete VALUES (?)", [(n,) for n in segments])

    def retired(self, segments: Sequence[int]) -> None:
        """Forget what has left and lay in segments that are no more."""
        with self._writing.transaction() as connection:
            connection.execute(_KEEP_LAST_NUMBER)
            for number in segments:
                connection.execute("DELETE FROM spooled WHERE segment = ? AND state = 'gone'", (number,))
                connection.execute("DELETE FROM segment_complete WHERE number = ?", (number,))


def read_counts(connection: Connection) -> dict[str, tuple[int, int]]:
    """Return, by state, how many objects there are and their bytes; from any connection, also while an agent runs."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'spooled'").fetchone():
        return {}
    rows = connection.execute("SELECT state, count(*), sum(bytes) FROM spooled GROUP BY state")
    return {state: (int(count), int(size)) for state, count, size in rows}


def read_amiss(connection: Connection) -> int:
    """Return what `CatalogueReader.amiss` does; from any connection, also while an agent runs."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'spooled'").fetchone():
        return 0
    return int(connection.execute(_AMISS).fetchone()[0])
