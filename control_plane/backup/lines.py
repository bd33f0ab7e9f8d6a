"""The database as lines, in one form for every engine: written row by row, read row by row.

    first   {"kind": "leadglass database", "schema": REVISION, "v": 1}
    table   {"columns": [[NAME, TYPE], ...], "table": NAME}, then one JSON list for each row, then {"rows": N}
    last    {"tables": N}

Each line is canonical JSON and a newline. TYPE is text, bytes (base64), instant (RFC 3339), whole or flag. Tables come
in an order in which no row names one that follows.  docs/formats/backup.md section 3
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Table, select
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from control_plane.db.models import Base, Blob, UtcDateTime
from shared import canonical, clock
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed
from shared.fields import Fields, decode_base64, encode_base64

KIND = "leadglass database"
TYPES: dict[str, TypeEngine[Any]] = {
    "text": String(), "bytes": Blob(), "instant": UtcDateTime(), "whole": BigInteger(), "flag": Boolean(),
}  # fmt: skip
MAX_LINE_BYTES = 64 << 20
_MOST_COLUMNS, _AT_ONCE = 100, 500
_NAME = r"[a-z][a-z0-9_]{0,62}"
_SCHEMA = r"[0-9a-z]{1,32}"


class RootKeyInside(IntegrityFailure):
    def __init__(self, where: str) -> None:
        super().__init__(f"the root key lies in {where}, from where a backup would take it along; nothing was kept")
        self.where = where


class NoPlaceInBackup(IntegrityFailure):
    def __init__(self, table: str, why: str) -> None:
        super().__init__(f"a row of table {table} cannot be written down: {why}; it was altered")
        self.table, self.why = table, why


def type_of(column: Column[Any]) -> str:
    """Return the type of a column as lines name it. Raises TypeError: a new one that this module has to learn."""
    match column.type:
        case Blob():
            return "bytes"
        case UtcDateTime():
            return "instant"
        case Boolean():
            return "flag"
        case Integer():
            return "whole"
        case String():
            return "text"
    raise TypeError(f"column {column} of a type that a backup does not know: {column.type!r}")


def dump(session: Session, schema: str, never: bytes) -> Generator[bytes, None, None]:
    """Yield the lines of all tables as `session` sees them; memory stays constant.

    Raises RootKeyInside: a value holds the bytes of `never`. Raises NoPlaceInBackup, TypeError.
    """
    yield _line({"v": 1, "kind": KIND, "schema": schema})
    for table in Base.metadata.sorted_tables:
        yield from _dump_table(session, table, never)
    yield _line({"tables": len(Base.metadata.sorted_tables)})


def _dump_table(session: Session, table: Table, never: bytes) -> Iterator[bytes]:
    columns = [(column.name, type_of(column)) for column in table.columns]
    yield _line({"table": table.name, "columns": [list(column) for column in columns]})
    query = select(*table.columns).order_by(*table.primary_key.columns)
    count = 0
    with session.execute(query.execution_options(yield_per=_AT_ONCE)) as rows:
        for row in rows:
            if any(isinstance(value, bytes) and never in value for value in row):
                raise RootKeyInside(f"table {table.name}")
            yield _row(table.name, row)
            count += 1
    yield _line({"rows": count})


def _row(table: str, row: Iterable[object]) -> bytes:
    try:
        return _line([_written(value) for value in row])
    except Malformed as exc:
        raise NoPlaceInBackup(table, exc.why) from exc


def _written(value: object) -> Json:
    match value:
        case bytes():
            return encode_base64(value)
        case datetime():
            return clock.text(value)
        case None | bool() | int() | str():
            return value
    raise Malformed("database row", f"a {type(value).__name__} has no place in it")


def _line(value: Json) -> bytes:
    return canonical.encode(value) + b"\n"


@dataclass(frozen=True)
class Header:
    """Which table follows, its columns in order, each with the name of its type."""

    table: str
    columns: tuple[tuple[str, str], ...]

    def row(self, values: Json) -> dict[str, Any]:
        """Raises Malformed."""
        what = f"a row of table {self.table}"
        if not isinstance(values, list) or len(values) != len(self.columns):
            raise Malformed(what, f"expected {len(self.columns)} values")
        return {
            name: None if value is None else _READ[kind](value, what)
            for (name, kind), value in zip(self.columns, values, strict=True)
        }


class Lines:
    """Reads what `dump` wrote. Every method raises Malformed where it is anything else."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        first = Fields(self._next(), "database lines")
        first.version()
        first.choice("kind", (KIND,))
        self.schema = first.text("schema", _SCHEMA)
        first.done()

    def tables(self) -> Iterator[tuple[Header, Iterable[dict[str, Any]]]]:
        """Yield each table with its rows, which have to be read before the next table is asked for."""
        count = 0
        while True:
            fields = Fields(self._next(), "database lines")
            if fields.has("tables"):
                break
            header = Header(
                fields.text("table", _NAME),
                tuple(_column(item) for item in fields.items("columns", most=_MOST_COLUMNS)),
            )
            fields.done()
            yield header, self._rows(header)
            count += 1
        if fields.integer("tables") != count:
            raise Malformed("database lines", f"expected another number of tables than {count}")
        fields.done()
        if self._file.read(1):
            raise Malformed("database lines", "something follows the last one")

    def _rows(self, header: Header) -> Iterator[dict[str, Any]]:
        count = 0
        while isinstance(value := self._next(), list):
            yield header.row(value)
            count += 1
        fields = Fields(value, f"end of table {header.table}")
        if fields.integer("rows") != count:
            raise Malformed(f"table {header.table}", f"expected another number of rows than {count}")
        fields.done()

    def _next(self) -> Json:
        line = self._file.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise Malformed("database lines", "cut off" if len(line) < MAX_LINE_BYTES else "a line is too long")
        return canonical.parse(line[:-1], "database line")


def _column(item: Json) -> tuple[str, str]:
    if not isinstance(item, list) or len(item) != 2:
        raise Malformed("database lines", "expected name and type of a column")
    fields = Fields({"name": item[0], "type": item[1]}, "column")
    return fields.text("name", _NAME), fields.choice("type", tuple(TYPES))


def _bytes(value: Json, what: str) -> bytes:
    return decode_base64(value, what, MAX_LINE_BYTES)


def _instant(value: Json, what: str) -> datetime:
    return Fields({"value": value}, what).instant("value")


def _exactly(kind: type) -> Callable[[Json, str], Any]:
    def read(value: Json, what: str) -> Any:
        if type(value) is not kind:
            raise Malformed(what, f"expected a value of type {kind.__name__}")
        return value

    return read


_READ: dict[str, Callable[[Json, str], Any]] = {
    "text": _exactly(str), "bytes": _bytes, "instant": _instant, "whole": _exactly(int), "flag": _exactly(bool),
}  # fmt: skip
