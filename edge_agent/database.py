"""The agent's own SQLite file: journal, accepted policies, receipts, counters.

WAL with synchronous=FULL: once a transaction has returned it survives a power cut. What is deleted is overwritten with
zeros in the pages of the file, and gone from the log beside it after `empty_log`. Each feature brings its own tables.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.errors import IntegrityFailure, Unavailable

_BUSY_TIMEOUT_S = 10.0


class DatabaseUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the agent's database cannot be written or read: {why}")
        self.why = why


class DatabaseDamaged(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the agent's database is damaged: {why}")
        self.why = why


class Database:
    """One connection for all threads, one transaction at a time; and one for questions, held up by no transaction.

    `on_damage` is called before DatabaseDamaged is raised, so that nobody has to pass it on who can go on without.
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file, or, where `path` is None, one in memory that ends with this.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        self._lock, self._depth, self._owner = threading.RLock(), 0, 0
        self._reading_lock = threading.Lock()
        self.on_damage: Callable[[DatabaseDamaged], object] = lambda _exc: None
        # Both connections see one database in memory by its name, which no other one may have.
        name = f"file:{id(self):x}?mode=memory&cache=shared" if path is None else path
        with self._translated():
            if path is not None:
                _create(path)
            self._connection = sqlite3.connect(
                name, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S, uri=path is None
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._reading = sqlite3.connect(name, isolation_level=None, check_same_thread=False, uri=path is None)
            self._reading.execute("PRAGMA query_only=1")
            self._connection.execute("PRAGMA secure_delete=ON")

    def verify_whole(self) -> None:
        """Hold every page and every index against what it has to be, which reads the whole file.

        Raises DatabaseDamaged, DatabaseUnavailable.
        """
        ((found,),) = self.read("PRAGMA integrity_check(1)")
        if found != "ok":
            raise DatabaseDamaged(found)

    def create(self, schema: str) -> None:
        """Make a feature's tables where they are not there yet."""
        with self._lock, self._translated():
            self._connection.executescript(schema)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Whole or not at all, and durable once the outermost `with` has ended. An error has to leave it too.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        with self._lock, self._translated():
            if self._depth:
                yield self._connection
                return
            self._depth, self._owner = 1, threading.get_ident()
            try:
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    yield self._connection
            finally:
                self._depth, self._owner = 0, 0

    def in_transaction(self) -> bool:
        """Return whether this thread is in a transaction."""
        return self._owner == threading.get_ident()

    def read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """Return the rows of what was committed last, or, within a transaction of this thread, of that.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        with self._translated():
            if self.in_transaction():
                return self._connection.execute(query, values).fetchall()
            with self._reading_lock:
                return self._reading.execute(query, values).fetchall()

    def empty_log(self) -> bool:
        """Move the write-ahead log into the file and cut it to nothing; return False where another process is reading.

        Outside a transaction. Raises DatabaseUnavailable, DatabaseDamaged.
        """
        with self._lock, self._translated():
            # Whoever reads for long must not make an image wait that somebody else captures meanwhile.
            self._connection.execute("PRAGMA busy_timeout=0")
            try:
                (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout={int(_BUSY_TIMEOUT_S * 1000)}")
        return not busy

    def close(self) -> None:
        with self._lock, self._reading_lock:
            self._connection.close()
            self._reading.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with translated():
                yield
        except DatabaseDamaged as exc:
            self.on_damage(exc)
            raise


class ReadingDatabase:
    """The same file for whoever changes nothing, beside a running agent or without one."""

    def __init__(self, path: Path) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        with translated():
            self._connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)

    def read(self, query: str, values: Sequence[object] = (), /) -> list[Any]:
        """Return the rows of what was committed last. Raises DatabaseUnavailable, DatabaseDamaged."""
        with translated():
            return self._connection.execute(query, values).fetchall()

    def has(self, table: str) -> bool:
        """Return whether there is such a table; there is none where no agent of now ever ran."""
        return bool(self.read("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)))

    def close(self) -> None:
        self._connection.close()


def _create(path: Path) -> None:
    """Raises DatabaseUnavailable."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as exc:
        raise DatabaseUnavailable(exc.strerror or "it cannot be opened") from exc


@contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailable or DatabaseDamaged in the place of what SQLite raises."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.ProgrammingError) as exc:
        # ProgrammingError is what a closed connection raises: the agent is stopping.
        raise DatabaseUnavailable(str(exc)) from exc
    except sqlite3.DatabaseError as exc:
        if type(exc) is not sqlite3.DatabaseError:
            raise
        raise DatabaseDamaged(str(exc)) from exc
