"""What was brought to this host from others: whose objects they are, and their records until the centre has them."""

from collections.abc import Iterator
from dataclasses import dataclass
from sqlite3 import Connection

from edge_agent.database import Database
from shared.identity import HostId, ObjectId

_SCHEMA = """
CREATE TABLE IF NOT EXISTS moved_host (host TEXT PRIMARY KEY, certificate BLOB NOT NULL, why TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS moved_object (object TEXT PRIMARY KEY, host TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moved_batch (
    host TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, batch BLOB NOT NULL,
    PRIMARY KEY (host, first, last)
) STRICT;
"""


@dataclass(frozen=True)
class MovedBatch:
    """One signed batch of `host`, as it will be sent."""

    host: HostId
    first: int
    last: int
    batch: bytes


@dataclass(frozen=True)
class MovedFrom:
    """What of one host is here and not at the centre yet; `why` says what keeps it, where that is known."""

    host: str
    objects: int
    records: int
    why: str


class MovedStore:
    """Every method raises DatabaseUnavailable and DatabaseDamaged."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)
        self._hosts = self._read_hosts()

    # ---- hosts

    def certificates(self) -> bytes:
        """Return the evidence certificates of the hosts whose objects or records were brought here, as PEM."""
        with self._database.transaction() as connection:
            return b"".join(pem for (pem,) in connection.execute("SELECT certificate FROM moved_host ORDER BY host"))

    def note(self, host: HostId, why: str) -> None:
        """Keep what holds up what is here of `host`; empty: nothing does."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE moved_host SET why = ? WHERE host = ? AND why <> ?", (why, str(host), why))

    # ---- objects

    def expect(self, object_id: ObjectId, host: HostId, certificate: bytes) -> None:
        """Note whose an object is before it is taken in, so that nobody takes it for a capture of this host."""
        with self._database.transaction() as connection:
            _keep_host(connection, host, certificate)
            connection.execute("INSERT OR REPLACE INTO moved_object VALUES (?, ?)", (str(object_id), str(host)))
        self._hosts[str(object_id)] = host

    def forget(self, object_id: ObjectId) -> None:
        """Take that back: it was not taken in."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM moved_object WHERE object = ?", (str(object_id),))
        self._hosts.pop(str(object_id), None)

    def delivered(self, object_id: ObjectId) -> None:
        """Note that the vault answers for an object, so nothing holds up what is here of its host."""
        with self._database.transaction():
            self.note(self._hosts[str(object_id)], "")
            self.forget(object_id)

    def forget_unfinished(self) -> None:
        """Forget objects that are not in the spool's catalogue: an import was cut off before it had registered them."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM moved_object WHERE object NOT IN (SELECT object FROM spooled WHERE state <> 'gone')"
            )
        self._hosts = self._read_hosts()

    def source_of(self, object_id: ObjectId) -> HostId | None:
        """Return which other host captured an object, None where this one did. Touches no disk."""
        return self._hosts.get(str(object_id))

    def _read_hosts(self) -> dict[str, HostId]:
        rows = self._database.read("SELECT object, host FROM moved_object")
        return {object_id: HostId.parse(host) for object_id, host in rows}

    # ---- records

    def keep_batch(self, batch: MovedBatch, certificate: bytes) -> None:
        row = (str(batch.host), batch.first, batch.last, batch.batch)
        with self._database.transaction() as connection:
            _keep_host(connection, batch.host, certificate)
            connection.execute("INSERT OR REPLACE INTO moved_batch VALUES (?, ?, ?, ?)", row)

    def hosts_with_batches(self) -> tuple[HostId, ...]:
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT DISTINCT host FROM moved_batch ORDER BY host").fetchall()
        return tuple(HostId.parse(host) for (host,) in rows)

    def next_batch(self, host: HostId, after: tuple[int, int] = (0, 0)) -> MovedBatch | None:
        """Return the first batch of `host` behind one from `after[0]` to `after[1]`."""
        query = (
            "SELECT first, last, batch FROM moved_batch WHERE host = ? AND (first, last) > (?, ?) "
            "ORDER BY first, last LIMIT 1"
        )
        with self._database.transaction() as connection:
            row = connection.execute(query, (str(host), *after)).fetchone()
        return MovedBatch(host, *row) if row else None

    def batches(self) -> Iterator[MovedBatch]:
        """Yield every batch that waits, one at a time."""
        for host in self.hosts_with_batches():
            batch = self.next_batch(host)
            while batch is not None:
                yield batch
                batch = self.next_batch(host, (batch.first, batch.last))

    def acknowledge(self, host: HostId, last: int) -> None:
        """Let go of the batches of `host` of which the centre has every record: those up to `last`."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM moved_batch WHERE host = ? AND last <= ?", (str(host), last))

    def records_waiting(self) -> int:
        with self._database.transaction() as connection:
            return sum(_records(connection, host) for (host,) in connection.execute("SELECT host FROM moved_host"))


def read_moved(connection: Connection) -> tuple[MovedFrom, ...]:
    """Return what waits of other hosts, from a database that may be older than these tables."""
    known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name IN ('moved_host', 'receipt')"
    if len(connection.execute(known).fetchall()) < 2:
        return ()
    waiting = "SELECT count(*) FROM moved_object WHERE host = ? AND object NOT IN (SELECT object FROM receipt)"
    found = [
        MovedFrom(host, int(connection.execute(waiting, (host,)).fetchone()[0]), _records(connection, host), why)
        for host, why in connection.execute("SELECT host, why FROM moved_host ORDER BY host").fetchall()
    ]
    return tuple(one for one in found if one.objects or one.records)


def _keep_host(connection: Connection, host: HostId, certificate: bytes) -> None:
    connection.execute(
        "INSERT INTO moved_host VALUES (?, ?, '') ON CONFLICT DO UPDATE SET certificate = excluded.certificate",
        (str(host), certificate),
    )


def _records(connection: Connection, host: str) -> int:
    """Return how many records of `host` wait; two exports of one host may hold the same ones."""
    counted = up_to = 0
    rows = connection.execute("SELECT first, last FROM moved_batch WHERE host = ? ORDER BY first, last", (host,))
    for first, last in rows:
        counted += max(last - max(first - 1, up_to), 0)
        up_to = max(up_to, last)
    return counted
