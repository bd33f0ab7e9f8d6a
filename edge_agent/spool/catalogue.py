"""What the spool holds, as rows: where each object lies, in which order, and whether it waits or was put aside.

A row comes in the transaction that records the capture, and leaves in the one that keeps the vault's receipt, so that
journal, receipts and spool cannot tell different stories. An object that has left keeps its row while a start might
look through the segment it lay in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from sqlite3 import Connection

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
CREATE TABLE IF NOT EXISTS segment_complete (number INTEGER PRIMARY KEY) STRICT;
"""


class State(StrEnum):
    WAITING = "waiting"
    PUT_ASIDE = "put aside"  # the vault will not take it as it is; for a person to look at
    OWED = "owed"  # the vault has it, and an archive that this host serves has not
    GONE = "gone"


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


@dataclass(frozen=True)
class Row:
    spooled: Spooled
    state: State
    why: str


class Catalogue:
    """Raises DatabaseUnavailable, DatabaseDamaged throughout."""

    def __init__(self, database: Database) -> None:
        self._database = database
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
        """Note that an object of a segment is a file of its own now."""
        connection.execute("UPDATE spooled SET segment = NULL, offset = 0 WHERE number = ?", (spooled.number,))

    def forget(self, connection: Connection, spooled: Spooled) -> None:
        """Drop the row of an object that has left and was a file of its own."""
        connection.execute("DELETE FROM spooled WHERE number = ?", (spooled.number,))

    def complete(self, connection: Connection, segments: Sequence[int]) -> None:
        connection.executemany("INSERT OR IGNORE INTO segment_complete VALUES (?)", [(n,) for n in segments])

    def retired(self, segments: Sequence[int]) -> None:
        """Forget what lay in segments that are no more."""
        with self._database.transaction() as connection:
            for number in segments:
                connection.execute("DELETE FROM spooled WHERE segment = ?", (number,))
                connection.execute("DELETE FROM segment_complete WHERE number = ?", (number,))

    # ---- questions

    def oldest(self, after: int = 0) -> Spooled | None:
        """Return the waiting object with the lowest number above `after`."""
        rows = self._rows("state = 'waiting' AND number > ? ORDER BY number LIMIT 1", after)
        return rows[0].spooled if rows else None

    def in_state(self, *states: State) -> Iterator[Row]:
        """Yield the rows in order, a few at a time."""
        marks = ", ".join("?" * len(states))
        after = 0
        while rows := self._rows(
            f"state IN ({marks}) AND number > ? ORDER BY number LIMIT 500", *(s.value for s in states), after
        ):
            yield from rows
            after = rows[-1].spooled.number

    def knows(self, place: Place) -> bool:
        """Return whether what lies there is an object of the catalogue, or was."""
        return bool(self._rows("segment = ? AND offset = ?", place.segment, place.offset))

    def find(self, object_id: ObjectId) -> Row | None:
        return next(iter(self._rows("object = ?", str(object_id))), None)

    def count(self, state: State) -> tuple[int, int]:
        """Return how many objects there are in a state, and their bytes."""
        ((count, size),) = self._database.read(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM spooled WHERE state = ?", (state.value,)
        )
        return int(count), int(size)

    def last_number(self) -> int:
        ((number,),) = self._database.read("SELECT coalesce(max(number), 0) FROM spooled")
        return int(number)

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


def read_counts(connection: Connection) -> dict[str, tuple[int, int]]:
    """Return, by state, how many objects there are and their bytes; from any connection, also while an agent runs."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'spooled'").fetchone():
        return {}
    rows = connection.execute("SELECT state, count(*), sum(bytes) FROM spooled GROUP BY state")
    return {state: (int(count), int(size)) for state, count, size in rows}
