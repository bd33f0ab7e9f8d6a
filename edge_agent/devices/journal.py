"""The guard's records: numbered, chained, durable before `record` returns.  docs/formats/guard-link.md

What the agent has confirmed is deleted but for the newest, which the chain goes on from. What is not confirmed stays
up to `MOST_UNCONFIRMED`; past that the oldest go and one record says how many.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.database import Database
from shared.clock import Clock
from shared.devices.printable import printable
from shared.devices.record import GENESIS, MAX_TEXT_CHARS, GuardEvent, GuardRecord

MOST_UNCONFIRMED = 100_000
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
    def __init__(self, database: Database, clock: Clock, most_unconfirmed: int = MOST_UNCONFIRMED) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        self._database, self._clock, self._most = database, clock, most_unconfirmed
        database.create(_SCHEMA)

    def record(self, *notes: Note) -> int:
        """Append a record of each, all or none, and return the number of the last; they then survive a power cut.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        with self._database.transaction() as connection:
            number, prev = self._head()
            now = self._clock.now()
            for note in (*self._make_room(number), *notes):
                number += 1
                record = GuardRecord(
                    number, prev, now, note.event, note.outcome, printable(note.subject, MAX_TEXT_CHARS),
                    {name: printable(text, MAX_TEXT_CHARS) for name, text in note.fields.items()},
                )  # fmt: skip
                prev = record.digest
                connection.execute("INSERT INTO guard_record VALUES (?, ?, ?)", (number, record.encode(), prev))
        return number

    def after(self, number: int, most: int) -> list[bytes]:
        """Return the lines of up to `most` records that follow `number`, oldest first."""
        rows = self._database.read(
            "SELECT line FROM guard_record WHERE number > ? ORDER BY number LIMIT ?", (number, most)
        )
        return [line for (line,) in rows]

    def confirm(self, upto: int) -> None:
        """Let go of what the agent holds durably. More than there is counts as all there is."""
        with self._database.transaction() as connection:
            newest, _ = self._head()
            upto = min(upto, newest)
            connection.execute("UPDATE guard_confirmed SET number = max(number, ?)", (upto,))
            connection.execute("DELETE FROM guard_record WHERE number <= ? AND number < ?", (upto, newest))

    def written(self) -> int:
        """Return how many records were ever written."""
        return self._head()[0]

    def waiting(self) -> int:
        """Return how many the agent has not confirmed."""
        ((confirmed,),) = self._database.read("SELECT number FROM guard_confirmed")
        return self.written() - int(confirmed)

    def _head(self) -> tuple[int, bytes]:
        rows = self._database.read("SELECT number, digest FROM guard_record ORDER BY number DESC LIMIT 1")
        return (int(rows[0][0]), rows[0][1]) if rows else (0, GENESIS)

    def _make_room(self, newest: int) -> Sequence[Note]:
        rows = self._database.read("SELECT number FROM guard_record ORDER BY number LIMIT 1")
        if not rows or newest - rows[0][0] + 1 < self._most:
            return ()
        oldest = int(rows[0][0])
        with self._database.transaction() as connection:
            last = min(oldest + _DROPPED_AT_ONCE, newest) - 1
            connection.execute("DELETE FROM guard_record WHERE number <= ?", (last,))
        lost = {"records": f"{oldest} to {last}", "why": "the agent has not taken them and there is no more room"}
        return (Note(GuardEvent.GAP, "records", lost, 8),)
