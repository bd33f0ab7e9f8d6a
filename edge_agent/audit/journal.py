"""The audit journal: append-only, chained, durable before `record` returns.

A mark says how far the centre has confirmed. What it has not stays, however much that is; of what it has, the newest
records do, for a centre that is restored from a backup asks for them again. Private parts are sealed before they are
written, to the audit key of the policy in force.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge_agent.database import Database
from shared.audit.attempt import Attempt
from shared.audit.batch import ChainHead
from shared.audit.events import Event, Happening
from shared.audit.record import StoredRecord, compose
from shared.clock import Clock
from shared.identity import HostId, RandomBytes
from shared.sealing.hpke import SealingPublicKey

MOST_CONFIRMED = 1_000_000
"""How many confirmed records are kept: about 700 MB."""
_LET_GO_AT_ONCE = 1000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY, event TEXT NOT NULL, subject TEXT NOT NULL,
    public BLOB NOT NULL, sealed BLOB, leaf BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS outcome ON record (subject)
    WHERE event IN ('capture.image-captured', 'capture.image-refused');
DROP TRIGGER IF EXISTS record_stays;
CREATE TRIGGER IF NOT EXISTS unconfirmed_stays BEFORE DELETE ON record
    WHEN old.seq >= (SELECT seq FROM acknowledged) BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER IF NOT EXISTS record_is_final BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE IF NOT EXISTS tally (event TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS acknowledged (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO acknowledged VALUES (1, 0);
"""


@dataclass(frozen=True)
class Unsent:
    """A run of records that the centre has not confirmed, with the number and leaf of the one before."""

    acknowledged: int
    prev: bytes
    records: tuple[StoredRecord, ...]


class Journal:
    def __init__(
        self,
        database: Database,
        source: HostId,
        *,
        key: Callable[[], SealingPublicKey | None],
        clock: Clock,
        random_bytes: RandomBytes = secrets.token_bytes,
        on_record: Callable[[], None] = lambda: None,
        most_confirmed: int = MOST_CONFIRMED,
    ) -> None:
        """`most_confirmed` is at least 2: the record before the first that is sent is looked up for its leaf."""
        self._database, self._source, self._most_confirmed = database, source, most_confirmed
        self._key, self._clock, self._random, self._on_record = key, clock, random_bytes, on_record
        database.create(_SCHEMA)

    def record(self, happening: Happening) -> int:
        """Append a record of `happening` and return its number; it then survives a power cut.

        Inside a transaction of the same database it becomes durable together with that one.
        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        return self.record_all([happening])

    def record_all(self, happenings: Sequence[Happening]) -> int:
        """Append a record of each, all or none, and return the number of the last. Raises as `record` does."""
        with self._database.transaction() as connection:
            head, now, key = self.head(), self._clock.now(), self._key()
            rows = []
            for happening in happenings:
                stored = compose(
                    happening,
                    source=str(self._source),
                    seq=head.seq + 1,
                    prev=head.leaf,
                    time=now,
                    salt=self._random(32),
                    key=key,
                )
                head = ChainHead(head.seq + 1, stored.leaf)
                subject = happening.what[0].name if happening.what else ""
                rows.append((head.seq, happening.event.value, subject, stored.public, stored.sealed, stored.leaf))
            connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)", rows)
            connection.executemany(
                "INSERT INTO tally VALUES (?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                Counter(happening.event.value for happening in happenings).items(),
            )
        self._on_record()
        return head.seq

    def attempt(self, happening: Happening, *, failed: Event | None = None) -> Attempt:
        """Return a block in which `happening` is tried: recorded as it stands by `succeeded`, else as a failure.

        `failed` is the event of the failure where that has one of its own.
        """
        return Attempt(self, happening, failed or happening.event)

    def head(self) -> ChainHead:
        with self._database.transaction() as connection:
            row = connection.execute("SELECT seq, leaf FROM record ORDER BY seq DESC LIMIT 1").fetchone()
        return ChainHead(*row) if row else ChainHead()

    def unsent(self, *, most: int, most_bytes: int) -> Unsent | None:
        """Return the oldest records that were not acknowledged, at least one if there are any."""
        with self._database.transaction():
            return self.after(self.acknowledged(), most=most, most_bytes=most_bytes)

    def after(self, seq: int, *, most: int, most_bytes: int) -> Unsent | None:
        """Return the records that follow number `seq`, as if the centre had confirmed up to there."""
        with self._database.transaction() as connection:
            before = connection.execute("SELECT leaf FROM record WHERE seq = ?", (seq,)).fetchone()
            rows = connection.execute(
                "SELECT public, sealed FROM record WHERE seq > ? ORDER BY seq LIMIT ?", (seq, most)
            ).fetchall()
        taken: list[StoredRecord] = []
        size_bytes = 0
        for public, sealed in rows:
            size_bytes += len(public) + len(sealed or b"")
            if taken and size_bytes > most_bytes:
                break
            taken.append(StoredRecord(public, sealed))
        if not taken:
            return None
        return Unsent(seq, before[0] if before else ChainHead().leaf, tuple(taken))

    def acknowledged(self) -> int:
        """Return up to which number the centre has confirmed."""
        with self._database.transaction() as connection:
            (seq,) = connection.execute("SELECT seq FROM acknowledged").fetchone()
        return int(seq)

    def acknowledge(self, seq: int) -> None:
        """Note that the centre holds everything up to `seq`, which may be less than it said before.

        What lies too far behind that is let go, some at a time.
        """
        with self._database.transaction() as connection:
            confirmed = min(seq, self.head().seq)
            connection.execute("UPDATE acknowledged SET seq = ?", (confirmed,))
            before = min(confirmed - self._most_confirmed + 1, self.oldest() + _LET_GO_AT_ONCE)
            connection.execute("DELETE FROM record WHERE seq < ?", (before,))

    def oldest(self) -> int:
        """Return the number of the oldest record that is kept, 1 before there is any."""
        with self._database.transaction() as connection:
            (seq,) = connection.execute("SELECT coalesce(min(seq), 1) FROM record").fetchone()
        return int(seq)

    def waiting(self) -> int:
        with self._database.transaction():
            return self.head().seq - self.acknowledged()

    def count(self, *events: Event) -> int:
        """Return how many records of these events there are since enrolment."""
        with self._database.transaction() as connection:
            tally: dict[str, int] = dict(connection.execute("SELECT event, n FROM tally").fetchall())
        return sum(tally.get(event.value, 0) for event in events)

    def subjects_after(self, seq: int, event: Event) -> Iterator[str]:
        """Yield the first subject of each record of `event` behind number `seq`; within a transaction."""
        with self._database.transaction() as connection:
            query = "SELECT subject FROM record WHERE seq > ? AND event = ? ORDER BY seq"
            for (subject,) in connection.execute(query, (seq, event.value)):
                yield subject

    def has_outcome(self, object_id: str) -> bool:
        """Return whether it is recorded that an object was captured or refused."""
        query = (
            "SELECT 1 FROM record WHERE subject = ? AND event IN ('capture.image-captured', 'capture.image-refused')"
        )
        return bool(self._database.read(query, (object_id,)))
