"""The audit journal: append-only, chained, durable before `record` returns.

A mark says how far the centre has confirmed. What it has not stays, however much that is; of what it has, the newest
records do, for a centre that is restored from a backup asks for them again. Private parts are sealed before they are
written, to the audit key of the policy in force.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edge_agent.audit.unwritten import Unwritten
from edge_agent.database import Database, DatabaseUnavailable
from shared.audit.attempt import Attempt
from shared.audit.batch import ChainHead
from shared.audit.events import Event, Happening, Outcome
from shared.audit.record import AuditRecord, StoredRecord, compose
from shared.clock import Clock
from shared.identity import HostId, RandomBytes
from shared.sealing.hpke import SealingPublicKey

MOST_CONFIRMED = 1_000_000
"""How many confirmed records are kept: about 700 MB."""
_LET_GO_AT_ONCE = 1000
_CUT_OFF = "begun in record {} and cut off; how far it came was not recorded"
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
CREATE INDEX IF NOT EXISTS run ON record (seq) WHERE event IN ('agent.started', 'agent.stopped');
CREATE TABLE IF NOT EXISTS begun (seq INTEGER PRIMARY KEY, ends TEXT NOT NULL, public BLOB NOT NULL) STRICT;
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
        self._unwritten = Unwritten()
        database.create(_SCHEMA)

    def record(self, happening: Happening) -> int:
        """Append a record of `happening` and return its number; it then survives a power cut.

        Inside a transaction of the same database it becomes durable together with that one.
        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        return self.record_all([happening])

    def record_all(self, happenings: Sequence[Happening]) -> int:
        """Append a record of each, all or none, and return the number of the last. Raises as `record` does.

        What fails is counted, and told before the next record that can be written. Within a transaction it is not: the
        whole of that is done again, or is recorded as failed.
        """
        if self._database.in_transaction():
            return self._append(happenings)
        try:
            with self._unwritten.telling(self._source) as told:
                return self._append([*told, *happenings])
        except DatabaseUnavailable:
            self._unwritten.add(happenings, self._clock.now())
            raise

    def make_up(self) -> bool:
        """Record how many records could not be written, once they can be; return whether there were any."""
        is_owed = self._unwritten.is_any()
        if is_owed:
            self.record_all(())
        return is_owed

    def _append(self, happenings: Sequence[Happening]) -> int:
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

    def begin(self, happening: Happening, *, ends: Event) -> int:
        """Append a record of what is about to be tried, and return its number for `end`. Raises as `record` does.

        If whoever tries it is killed before that, the next `fail_unfinished` records it as an `ends` that failed.
        """
        with self._database.transaction() as connection:
            seq = self.record(happening)
            connection.execute("INSERT INTO begun SELECT seq, ?, public FROM record WHERE seq = ?", (ends.value, seq))
        return seq

    def end(self, seq: int, *outcomes: Happening) -> None:
        """Append how that ended which began with record `seq`; nothing where it is recorded already."""
        with self._database.transaction() as connection:
            if outcomes:
                self.record_all(outcomes)
            connection.execute("DELETE FROM begun WHERE seq = ?", (seq,))

    def fail_unfinished(self) -> None:
        """Record as failed whatever was begun and never ended; for whoever is alone in the folder."""
        for seq, ends, public in self._database.read("SELECT seq, ends, public FROM begun ORDER BY seq"):
            begun, reason = AuditRecord.parse(public), _CUT_OFF.format(seq)
            self.end(seq, Happening(Event(ends), begun.action, Outcome.SERIOUS_FAILURE, begun.who, begun.what, reason))

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

    def stopped_cleanly(self) -> bool | None:
        """Return whether the run before this one recorded its stop, None: there was none.

        A stop is the last thing that a run records, so it is among the newest, which are kept.
        """
        query = "SELECT event FROM record WHERE event IN ('agent.started', 'agent.stopped') ORDER BY seq DESC LIMIT 1"
        with self._database.transaction() as connection:
            last = connection.execute(query).fetchone()
            return last == (Event.AGENT_STOPPED.value,) if last or self.count(Event.AGENT_STARTED) else None

    def has_outcome(self, object_id: str) -> bool:
        """Return whether it is recorded that an object was captured or refused."""
        query = (
            "SELECT 1 FROM record WHERE subject = ? AND event IN ('capture.image-captured', 'capture.image-refused')"
        )
        return bool(self._database.read(query, (object_id,)))
