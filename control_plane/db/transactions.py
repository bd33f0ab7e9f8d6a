"""Transactions that several workers may try at once, and snapshots that stay still while they are read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from shared.errors import Unavailable

T = TypeVar("T")
_TRIES = 8


class DatabaseUnavailable(Unavailable):
    """It does not answer, is locked for too long, or its disk is full. What was to be written is not."""

    def __init__(self, why: str = "") -> None:
        super().__init__("the database does not answer or cannot write" + f": {why}" * bool(why))
        self.why = why


class Overtaken(DatabaseUnavailable):
    """Another transaction changed first what this one read or changed. Nothing was written; it may be tried again."""

    def __init__(self) -> None:
        super().__init__("another transaction was in the way")


def in_one_commit(database: sessionmaker[Session], work: Callable[[Session], T]) -> T:
    """Run `work` in one transaction and return its result once that survives a power cut.

    No other `work` overlaps it, in whatever process. One that a writer of another kind overtakes, or that violates a
    unique constraint, runs again, so it must touch nothing but its session.

    Raises DatabaseUnavailable, and whatever `work` raises; then nothing was written.
    """
    for left in reversed(range(_TRIES)):
        try:
            with answering(), database.begin() as session:
                _write_alone(session)
                return work(session)
        except (IntegrityError, Overtaken):
            if not left:
                raise
    raise AssertionError("unreachable")


def _write_alone(session: Session) -> None:
    """Begin a transaction that sees everything committed before it and that no other `work` overlaps."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        return
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    # What the transaction sees is fixed by its first query, and this is none: it waits first and looks then. A table
    # that only migrations write, so that nobody else waits, and these do.
    session.execute(text("LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE"))


@contextmanager
def snapshot(database: sessionmaker[Session]) -> Iterator[Session]:
    """Yield a session whose every read sees the database as it stood at the first one.

    Raises DatabaseUnavailable.
    """
    with answering(), database() as session:
        if session.get_bind().dialect.name == "sqlite":
            session.connection().exec_driver_sql("BEGIN")
        else:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session


@contextmanager
def answering() -> Iterator[None]:
    """A block that asks the database; raises DatabaseUnavailable."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        raise DatabaseUnavailable from exc
