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


def in_one_commit(database: sessionmaker[Session], work: Callable[[Session], T]) -> T:
    """Run `work` in one transaction and return its result once that survives a power cut.

    In SQLite no other writer overlaps it. Elsewhere a number that another worker took first violates a unique
    constraint and `work` runs again, so it must touch nothing but its session.

    Raises DatabaseUnavailable, and whatever `work` raises; then nothing was written.
    """
    for left in reversed(range(_TRIES)):
        try:
            with _answering(), database.begin() as session:
                if session.get_bind().dialect.name == "sqlite":
                    session.execute(text("BEGIN IMMEDIATE"))
                return work(session)
        except IntegrityError:
            if not left:
                raise
    raise AssertionError("unreachable")


@contextmanager
def snapshot(database: sessionmaker[Session]) -> Iterator[Session]:
    """Yield a session whose every read sees the database as it stood at the first one.

    Raises DatabaseUnavailable.
    """
    with _answering(), database() as session:
        if session.get_bind().dialect.name == "sqlite":
            session.execute(text("BEGIN"))
        else:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        raise DatabaseUnavailable from exc
