"""Which records of the guard are in the audit journal; each is remembered in the transaction that enters it there."""

from collections.abc import Iterable

from edge_agent.database import Database
from edge_agent.link.chain import Position

_SCHEMA = """
CREATE TABLE IF NOT EXISTS guard_record (digest BLOB PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS guard_position (
    one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, digest BLOB NOT NULL
) STRICT;
"""


class Relayed:
    """Every method raises DatabaseUnavailable, DatabaseDamaged."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)

    def position(self) -> Position:
        rows = self._database.read("SELECT number, digest FROM guard_position")
        return Position(*rows[0]) if rows else Position()

    def holds(self, digest: bytes) -> bool:
        return bool(self._database.read("SELECT 1 FROM guard_record WHERE digest = ?", (digest,)))

    def move(self, to: Position, relayed: Iterable[Position] = ()) -> None:
        """Remember what was relayed and go on from `to`. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO guard_record VALUES (?, ?)", ((one.digest, one.number) for one in relayed)
            )
            connection.execute("INSERT OR REPLACE INTO guard_position VALUES (1, ?, ?)", (to.number, to.digest))
