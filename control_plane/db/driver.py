"""SQL in the driver's own words, for what every record runs: SQLAlchemy takes longer to put it together than it runs.

A statement has `?` where a value goes, and nothing else that a driver would take for one. Rows are tuples.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Dialect, Engine, PoolProxiedConnection
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from control_plane.db.transactions import DatabaseUnavailable, Overtaken, answering

T = TypeVar("T")
Values = tuple[object, ...]
# Rows in a statement. What SQLite does for each statement, and not for each row, costs as much as a row, and after each
# another thread may take the interpreter; beyond a hundred, what is bound leaves the processor's cache. PostgreSQL's
# driver sends many statements at once by itself.
_TOGETHER = {"sqlite": (100, 10, 1), "postgresql": (1,)}
_SERIALIZATION_FAILURE, _DEADLOCK = "40001", "40P01"
_CONNECTION = "connection of the driver"


def translated(error: BaseException, dbapi: Any) -> Exception | None:
    """Return what our callers know where a database is locked, full, gone or damaged; None: the mistake is ours."""
    if getattr(error, "sqlstate", None) in {_SERIALIZATION_FAILURE, _DEADLOCK}:
        return Overtaken()
    is_theirs = isinstance(error, (dbapi.DatabaseError, dbapi.InterfaceError))
    if is_theirs and not isinstance(error, (dbapi.IntegrityError, dbapi.ProgrammingError)):
        return DatabaseUnavailable(str(error))
    return None


def rows(session: Session, question: str, values: Values = ()) -> list[Any]:
    """Return what a question is answered within the transaction of `session`. Raises what `run` does.

    All of it, for SQLite reads on while rows are fetched, and a damaged page shows only then.
    """
    return _rows(_of(session), question, values)


def rows_by_itself(engine: Engine, question: str, values: Values = ()) -> list[Any]:
    """Return what one question is answered, in no session: to make and to end one takes longer than to ask.

    Raises DatabaseUnavailable.
    """
    dbapi = engine.dialect.loaded_dbapi
    with answering():
        try:
            connection = engine.raw_connection()
        except dbapi.Error as exc:
            raise translated(exc, dbapi) or _ours("connect", exc, dbapi) from exc
        try:
            return _rows(_Open(engine.dialect, connection), question, values)
        finally:
            connection.close()


def row(session: Session, question: str, values: Values = ()) -> Any:
    """Return the first row of the answer, None where there is none. Raises what `run` does."""
    return next(iter(rows(session, question, values)), None)


def run(session: Session, statement: str, values: Values = ()) -> int:
    """Do what answers nothing; return how many rows it changed.

    Raises DatabaseUnavailable, Overtaken, IntegrityError.
    """

    def do(cursor: DBAPICursor, written: str) -> int:
        cursor.execute(written, values)
        return int(cursor.rowcount)

    return _run(_of(session), statement, do)


def insert(session: Session, into: str, rows: Iterable[Values], then: str = "") -> None:
    """Insert rows into a table with its columns; `then` is what follows the values. Raises what `run` does."""
    rest = list(rows)
    if not rest:
        return
    connection = _of(session)
    for together in _TOGETHER[connection.dialect.name]:
        whole = len(rest) - len(rest) % together
        if whole:
            values = [tuple(chain(*rest[at : at + together])) for at in range(0, whole, together)]
            _run(connection, _inserting(into, len(rest[0]), together, then), partial(_execute_each, values=values))
            rest = rest[whole:]


@lru_cache(256)
def _inserting(into: str, columns: int, rows: int, then: str) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {into} VALUES {', '.join([row] * rows)} {then}"  # noqa: S608 (every part is ours)


def _execute_each(cursor: DBAPICursor, written: str, values: Sequence[Values]) -> None:
    cursor.executemany(written, values)


class _Open(NamedTuple):
    """A connection that is open, and of what kind."""

    dialect: Dialect
    connection: PoolProxiedConnection


def _of(session: Session) -> _Open:
    """Return the connection of `session`. It is remembered: asking SQLAlchemy for it takes longer than most statements.

    A session that commits, or whose flush failed, is asked again, and says so where it cannot go on.
    """
    held: Connection | None = session.info.get(_CONNECTION)
    if held is None or held.closed or not session.is_active:
        held = session.info[_CONNECTION] = session.connection()
    return _Open(held.dialect, held.connection)


def _rows(at: _Open, question: str, values: Values) -> list[Any]:
    def ask(cursor: DBAPICursor, written: str) -> list[Any]:
        cursor.execute(written, values)
        return list(cursor.fetchall())

    return _run(at, question, ask)


def _run(at: _Open, statement: str, do: Callable[[DBAPICursor, str], T]) -> T:
    dbapi, cursor = at.dialect.loaded_dbapi, at.connection.cursor()
    try:
        return do(cursor, _written(statement, at.dialect.name))
    except dbapi.Error as exc:
        raise translated(exc, dbapi) or _ours(statement, exc, dbapi) from exc
    finally:
        cursor.close()


def _ours(statement: str, error: Exception, dbapi: Any) -> DBAPIError:
    kind = IntegrityError if isinstance(error, dbapi.IntegrityError) else DBAPIError
    return kind(statement, None, error)


def blob(value: object) -> bytes:
    """Return bytes, whatever is in a column of them (models.Blob)."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


@lru_cache(256)
def _written(statement: str, engine: str) -> str:
    return statement if engine == "sqlite" else statement.replace("?", "%s")
