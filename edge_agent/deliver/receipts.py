"""The vault's receipts, kept: with one in hand an object may leave the spool.

A vault that was put back to an older state may have lost what it answered for, and one that says so has. Such receipts
are in doubt until it has said which of them still hold; meanwhile nobody is told that such an image is safe.
"""

from collections.abc import Callable, Iterable

from edge_agent.database import Database
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from shared.signing import claimed_payload

_SCHEMA = """
CREATE TABLE IF NOT EXISTS receipt (object TEXT PRIMARY KEY, signed BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS receipt_in_doubt (object TEXT PRIMARY KEY) STRICT;
"""
# CROSS: the table that has few rows, or none, is the one that is walked.
_DOUBTED = "SELECT object, signed FROM receipt_in_doubt CROSS JOIN receipt USING (object) WHERE object"
# Their order is that in which the vault first answered for them; no clock of this host's is asked.
_OLD = """
SELECT rowid, object FROM receipt WHERE rowid > ? AND rowid <= (SELECT max(rowid) FROM receipt) - ?
    AND object NOT IN (SELECT object FROM receipt_in_doubt) AND object NOT IN (SELECT object FROM spooled)
ORDER BY rowid LIMIT ?
"""
_HELD = "FROM receipt WHERE object = ? AND object NOT IN (SELECT object FROM receipt_in_doubt)"


class Receipts:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._wakes: list[Callable[[], None]] = []
        database.create(_SCHEMA)

    def on_receipt(self, wake: Callable[[], None]) -> None:
        """Have `wake` called whenever a receipt is durable. It must not block."""
        self._wakes.append(wake)

    def announce(self) -> None:
        for wake in self._wakes:
            wake()

    def keep(self, receipt: Receipt, signed: bytes) -> None:
        """Raises DatabaseUnavailable."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO receipt VALUES (?, ?) ON CONFLICT DO UPDATE SET signed = excluded.signed",
                (str(receipt.object_id), signed),
            )
            connection.execute("DELETE FROM receipt_in_doubt WHERE object = ?", (str(receipt.object_id),))

    def holds(self, object_id: ObjectId) -> bool:
        """Return whether the vault answers for an object, and nothing casts doubt on that."""
        return bool(self._database.read(f"SELECT 1 {_HELD}", (str(object_id),)))

    def mentions(self, object_id: ObjectId) -> bool:
        """Return whether the vault answers for an object, or did and was not asked again yet."""
        return bool(self._database.read("SELECT 1 FROM receipt WHERE object = ?", (str(object_id),)))

    def doubt(self, objects: Iterable[str]) -> bool:
        """Doubt the receipts of these, as far as there are any; return whether any was not in doubt before."""
        with self._database.transaction() as connection:
            doubted = connection.executemany(
                "INSERT OR IGNORE INTO receipt_in_doubt SELECT object FROM receipt WHERE object = ?",
                ((name,) for name in objects),
            )
        return doubted.rowcount > 0

    def doubt_all(self) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO receipt_in_doubt SELECT object FROM receipt")

    def doubted(self, most: int, behind: str = "") -> list[tuple[ObjectId, bytes]]:
        """Return objects whose receipts are in doubt, each with the SHA-256 of its capture record.

        They come by their ids, from the one behind `behind` on and after the last one from the first.
        """
        rows = self._database.read(f"{_DOUBTED} > ? ORDER BY object LIMIT ?", (behind, most))
        rows += self._database.read(f"{_DOUBTED} <= ? ORDER BY object LIMIT ?", (behind, most - len(rows)))
        return [(ObjectId.parse(name), _record_in(signed)) for name, signed in rows]

    def old(self, newest: int, most: int, after: int) -> dict[int, ObjectId]:
        """Return up to `most` objects by their numbers, oldest first, before the `newest` the vault answered for last.

        Those with a number above `after`, and none that is in the spool's catalogue or in doubt.
        """
        return {number: ObjectId.parse(name) for number, name in self._database.read(_OLD, (after, newest, most))}

    def forget(self, object_id: ObjectId) -> None:
        """The vault does not hold the object any more, or it is too long ago to be asked for."""
        with self._database.transaction() as connection:
            for table in ("receipt", "receipt_in_doubt"):
                connection.execute(f"DELETE FROM {table} WHERE object = ?", (str(object_id),))  # noqa: S608  ours

    def record_of(self, object_id: ObjectId) -> bytes | None:
        """Return the SHA-256 of the capture record for which the vault answers, None where it answers for none.

        What is kept here was verified before. Raises Malformed, DatabaseUnavailable, DatabaseDamaged.
        """
        rows = self._database.read(f"SELECT signed {_HELD}", (str(object_id),))
        return _record_in(rows[0][0]) if rows else None


def _record_in(signed: bytes) -> bytes:
    return Receipt.parse(claimed_payload(signed)).record_sha256
