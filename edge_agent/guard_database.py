"""Opens the guard's database, whatever has become of it: a guard without a past still guards.

whole      it is used
damaged    it is put aside, and a new one is begun
neither    where the disk is full or read-only: one in memory, in which nothing counts as recorded
"""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edge_agent.database import Database, DatabaseDamaged, DatabaseUnavailable
from edge_agent.log import Log

# What a start writes fits into this many bytes, so either all of it can be written or none of it is begun.
_ROOM_BYTES = 64 * 1024
_SCHEMA = "CREATE TABLE IF NOT EXISTS guard_room (one INTEGER PRIMARY KEY CHECK (one = 1), filler BLOB) STRICT;"


@dataclass(frozen=True)
class Opened:
    database: Database
    lost: str = ""  # why the one before was put aside
    unrecorded: str = ""  # why nothing can be recorded: this one is in memory


@contextmanager
def opened(state: Path, log: Log) -> Iterator[Opened]:
    """Yield the database in the folder `state`, or what takes its place. Raises nothing."""
    found = _open(state / "guard.sqlite", log)
    with closing(found.database):
        yield found


def _open(path: Path, log: Log) -> Opened:
    try:
        return Opened(_whole(path))
    except DatabaseDamaged as exc:
        lost = exc.why
        log.event("guard.database-damaged", why=lost)
    except DatabaseUnavailable as exc:
        return _in_memory(exc.why, log)
    try:
        _put_aside(path)
        return Opened(_whole(path), lost)
    except (OSError, DatabaseDamaged, DatabaseUnavailable) as exc:
        return _in_memory(f"it is damaged ({lost}), and no new one can be begun: {exc}", log)


def _whole(path: Path) -> Database:
    """Raises DatabaseDamaged, DatabaseUnavailable."""
    database = Database(path)
    try:
        # All records that are ever kept take it about half a second from a disk, and the guard has a minute to start.
        database.verify_whole()
        database.create(_SCHEMA)
        with database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO guard_room VALUES (1, ?)", (secrets.token_bytes(_ROOM_BYTES),))
        database.empty_log()  # which gives the room back to what the start writes
    except BaseException:
        database.close()
        raise
    return database


def _put_aside(path: Path) -> None:
    """Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(path.with_name(f"damaged-{path.name}{suffix}"))


def _in_memory(why: str, log: Log) -> Opened:
    log.event("guard.database-unusable", why=why)
    return Opened(Database(None), unrecorded=why)
