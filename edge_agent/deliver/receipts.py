"""The vault's receipts, kept: with one in hand an object may leave the spool."""

from collections.abc import Callable

from edge_agent.database import Database
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from shared.signing import claimed_payload

_SCHEMA = "CREATE TABLE IF NOT EXISTS receipt (object TEXT PRIMARY KEY, signed BLOB NOT NULL) STRICT;"


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
            connection.execute("INSERT OR REPLACE INTO receipt VALUES (?, ?)", (str(receipt.object_id), signed))

    def holds(self, object_id: ObjectId) -> bool:
        return bool(self._database.read("SELECT 1 FROM receipt WHERE object = ?", (str(object_id),)))

    def record_of(self, object_id: ObjectId) -> bytes | None:
        """Return the SHA-256 of the capture record for which the vault answers, None where it answers for none.

        What is kept here was verified before. Raises Malformed, DatabaseUnavailable, DatabaseDamaged.
        """
        rows = self._database.read("SELECT signed FROM receipt WHERE object = ?", (str(object_id),))
        return Receipt.parse(claimed_payload(rows[0][0])).record_sha256 if rows else None
