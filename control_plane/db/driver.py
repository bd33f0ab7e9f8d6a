"""SQL in the driver's own words, for what every record runs: SQLAlchemy takes longer to put it together than it runs.

A statement has `?` where a value goes, and nothing else that a driver would take for one. Rows are tuples.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from control_plane.db.transactions import DatabaseUnavailable, Overtaken

Values = tuple[object, ...]
_SERIALIZATION_FAILURE, _DEADLOCK = "40001", "40P01"


def translated(error: BaseException, dbapi: Any) -> Exception | None:
    """Return what our callers know where a database is locked, full, gone or damaged; None: the mistake is ours."""
    if getattr(error, "sqlstate", None) in {_SERIALIZATION_FAILURE, _DEADLOCK}:
        return Overtaken()
    is_theirs = isinstance(error, (dbapi.DatabaseError, dbapi.InterfaceError))
    if is_theirs and not isinstance(error, (dbapi.IntegrityError, dbapi.ProgrammingError)):
        return DatabaseUnavailable(str(error))
    return None


def run(session: Session, statement: str, values: Values = ()) -> DBAPICursor:
    """Run a statement within the transaction of `session`. Raises DatabaseUnavailable, Overtaken, IntegrityError."""
    return _run(session, statement, values, many=None)


def insert(session: Session, into: str, rows: Sequence[Values], then: str = "") -> None:
    """Insert rows into a table with its columns; `then` is what follows the values. Raises what `run` does."""
    if rows:
        places = ", ".join("?" * len(rows[0]))
        _run(session, f"INSERT INTO {into} VALUES ({places}) {then}", (), many=rows)  # noqa: S608 (every part is ours)


def _run(session: Session, statement: str, values: Values, *, many: Sequence[Values] | None) -> DBAPICursor:
    connection = session.connection()
    dialect, cursor = connection.dialect, connection.connection.cursor()
    written = _written(statement, dialect.name)
    try:
        if many is None:
            cursor.execute(written, values)
        else:
            cursor.executemany(written, many)
    except dialect.loaded_dbapi.Error as exc:
        raise translated(exc, dialect.loaded_dbapi) or _ours(statement, exc, dialect.loaded_dbapi) from exc
    return cursor


def _ours(statement: str, error: Exception, dbapi: Any) -> DBAPIError:
    kind = IntegrityError if isinstance(error, dbapi.IntegrityError) else DBAPIError
    return kind(statement, None, error)


def blob(value: object) -> bytes:
    """Return bytes, whatever is in a column of them (models.Blob)."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


@lru_cache(256)
def _written(statement: str, engine: str) -> str:
    return statement if engine == "sqlite" else statement.replace("?", "%s")
