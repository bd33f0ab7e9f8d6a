"""The guard's records: numbered, chained, durable before `record` returns.  docs/formats/guard-link.md

The last `MOST_KEPT` are kept, confirmed or not, so that people at the machine can look back and an agent that lost its
own past can read them again. Past that the oldest go; where one of them was not confirmed, a record says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.database import Database, DatabaseUnavailable
from shared.clock import Clock
from shared.devices.printable import printable
from shared.devices.record import GENESIS, MAX_TEXT_CHARS, GuardEvent, GuardRecord, digest

MOST_KEPT = 50_000
_DROPPED_AT_ONCE = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS guard_record (number INTEGER PRIMARY KEY, line BLOB NOT NULL, digest BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS guard_confirmed (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO guard_confirmed VALUES (1, 0);
"""


@dataclass(frozen=True)
class Note:
    """What is to be written down; the journal adds number, time and chain. `fields` may hold text of a device."""

    event: GuardEvent
    subject: str
    fields: dict[str, str]
    outcome: int = 0


class GuardJournal:
    def __init__(self, database: Database, clock: Clock, most_kept: int = MOST_KEPT, *, unrecorded: str = "") -> None:
        """`unrecorded` says why nothing can be recorded at all, where the database does not outlive the guard.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        self._database, self._clock, self._most, self._unrecorded = database, clock, most_kept, unrecorded
        database.create(_SCHEMA)

    def record(self, *notes: Note) -> int:
        """Append a record of each, all or none, and return the number of the last; they then survive a power cut.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        if self._unrecorded:
            raise DatabaseUnavailable(self._unrecorded)
        with self._database.transaction() as connection:
            number, prev = self._head()
            now = self._clock.now()
            for note in (*self._make_room(number), *notes):
                number += 1
                record = GuardRecord(
                    number, prev, now, note.event, note.outcome, printable(note.subject, MAX_TEXT_CHARS),
                    {name: printable(text, MAX_TEXT_CHARS) for name, text in note.fields.items()},
                )  # fmt: skip
                line = record.encode()
                prev = digest(line)
                connection.execute("INSERT INTO guard_record VALUES (?, ?, ?)", (number, line, prev))
        return number

    def after(self, number: int, most: int) -> list[bytes]:
        """Return the lines of up to `most` records that follow `number`, oldest first."""
        rows = self._database.read(
            "SELECT line FROM guard_record WHERE number > ? ORDER BY number LIMIT ?", (number, most)
        )
        return [line for (line,) in rows]

    def confirm(self, upto: int) -> None:
        """Take note of what the agent holds durably. Less than before changes nothing; more than there is, is all."""
        if upto <= self.confirmed():
            return  # no write lock for a peer that repeats itself
        with self._database.transaction() as connection:
            upto = min(upto, self._head()[0])
            connection.execute("UPDATE guard_confirmed SET number = max(number, ?)", (upto,))

    def confirmed(self) -> int:
        """Return up to which number the agent has confirmed."""
        ((number,),) = self._database.read("SELECT number FROM guard_confirmed")
        return int(number)

    def written(self) -> int:
        """Return how many records were ever written."""
        return self._head()[0]

    def _head(self) -> tuple[int, bytes]:
        rows = self._database.read("SELECT number, digest FROM guard_record ORDER BY number DESC LIMIT 1")
        return (int(rows[0][0]), rows[0][1]) if rows else (0, GENESIS)

    def _make_room(self, newest: int) -> Sequence[Note]:
        rows = self._database.read("SELECT number FROM guard_record ORDER BY number LIMIT 1")
        if not rows or newest - rows[0][0] + 1 < self._most:
            return ()
        oldest = int(rows[0][0])
        last = min(oldest + _DROPPED_AT_ONCE, newest) - 1
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM guard_record WHERE number <= ?", (last,))
        first_lost = max(oldest, self.confirmed() + 1)
        if first_lost > last:
            return ()
        lost = {"records": f"{first_lost} to {last}", "why": "the agent has not taken them and there is no more room"}
        return (Note(GuardEvent.GAP, "records", lost, 8),)
