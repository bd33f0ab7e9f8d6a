"""SQL in the driver's own words, for what every record runs: SQLAlchemy takes longer to put it together than it runs.

A statement has `?` where a value goes, and nothing else that a driver would take for one.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import CursorResult
from sqlalchemy.orm import Session

Values = tuple[object, ...]


def run(session: Session, statement: str, values: Values = ()) -> CursorResult[Any]:
    """Run a statement within the transaction of `session`. Raises what SQLAlchemy does."""
    connection = session.connection()
    return connection.exec_driver_sql(_written(statement, connection.dialect.name), values)


def insert(session: Session, into: str, rows: Sequence[Values], then: str = "") -> None:
    """Insert rows into a table with its columns; `then` is what follows the values."""
    if rows:
        places = ", ".join("?" * len(rows[0]))
        statement = f"INSERT INTO {into} VALUES ({places}) {then}"  # noqa: S608 (every part is ours)
        connection = session.connection()
        connection.exec_driver_sql(_written(statement, connection.dialect.name), list(rows))


def blob(value: object) -> bytes:
    """Return bytes, whatever is in a column of them (models.Blob)."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogateescape")


@lru_cache(256)
def _written(statement: str, engine: str) -> str:
    return statement if engine == "sqlite" else statement.replace("?", "%s")
