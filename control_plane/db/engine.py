"""Opens the database and brings it to the schema this version knows."""

from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    ExceptionContext,
    MetaData,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db import driver, postgresql
from shared.errors import Refused

_MIGRATIONS = Path(__file__).parent / "migrations"
NEWEST = max(path.name.partition("_")[0] for path in _MIGRATIONS.glob("versions/[0-9]*.py"))
"""The revision of the schema that this version knows."""
_MIGRATING = 0x6C656164  # any number that no other program locks in this database
_CONNECT_TIMEOUT_S = "10"
# As many as the host door has threads. One more is closed after use, and opening it takes longer than most questions.
_KEPT = 16


class DatabaseRefused(Refused):
    """Never quotes the URL, which may hold a password."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this is no database for the control plane: {why}")
        self.why = why


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def parse_url(url: str) -> URL:
    """Return the URL of an engine that we know. Raises DatabaseRefused."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        raise DatabaseRefused("its URL cannot be read; give postgresql+psycopg://USER@HOST/NAME") from exc
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise DatabaseRefused(f"{parsed.drivername} is neither sqlite nor postgresql+psycopg")
    if parsed.drivername == "sqlite" and (parsed.database or ":memory:") == ":memory:":
        raise DatabaseRefused("it would lie in memory, and end with this process; name its file")
    return parsed


def open_database(url: str) -> sessionmaker[Session]:
    """Return a factory of sessions on the database at `url`, migrated. What a session commits survives a power cut.

    Raises DatabaseRefused, ServerRefused, DatabaseUnavailable.
    """
    return _migrated(_engine(parse_url(url)), "head")


def open_empty(url: str, revision: str = "head") -> sessionmaker[Session]:
    """Return a database that held nothing, with the schema as of `revision`.

    Raises what `open_database` does; DatabaseRefused: it holds tables already.
    """
    engine = _engine(parse_url(url))
    with engine.connect() as connection:
        is_empty = not inspect(connection).get_table_names()
    if not is_empty:
        engine.dispose()
        raise DatabaseRefused("it holds tables already; give one that is empty, or drop it and create it again")
    return _migrated(engine, revision)


def empty_again(database: sessionmaker[Session]) -> None:
    """Take every table out of a database that `open_empty` returned, so that it is empty as it was."""
    engine = engine_of(database)
    tables = MetaData()
    tables.reflect(engine)
    tables.drop_all(engine)


def engine_of(database: sessionmaker[Session]) -> Engine:
    with database() as session:
        engine = session.get_bind()
    assert isinstance(engine, Engine)  # noqa: S101 (we bound it to one)
    return engine


def leave_nothing_behind(database: sessionmaker[Session]) -> None:
    """Take what was deleted out of SQLite's write-ahead log too, as far as nobody reads it just now.

    PostgreSQL keeps deleted rows until VACUUM, and its write-ahead log for as long as it is set to.
    """
    with database() as session:
        if session.get_bind().dialect.name == "sqlite":
            session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


def close_database(database: sessionmaker[Session]) -> None:
    """Close the connections that nobody uses; using the database again opens new ones."""
    engine_of(database).dispose()


def _engine(url: URL) -> Engine:
    if url.drivername != "sqlite":
        # What the URL says itself goes before.
        url = url.set(query={"connect_timeout": _CONNECT_TIMEOUT_S, **url.query})
    # A server may have gone meanwhile; a file has not, and asking costs every transaction.
    engine = create_engine(url, pool_pre_ping=url.drivername != "sqlite", pool_size=_KEPT, pool_use_lifo=True)
    event.listen(engine, "handle_error", _translate)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _make_durable)
    else:
        # First: what a refused server says may be nothing that SQLAlchemy can read.
        event.listen(engine, "connect", postgresql.make_durable, insert=True)
    return engine


def _make_durable(connection: SqliteConnection, _record: Any) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
        "secure_delete=ON",
        # 32 MiB: a batch of audit records fills SQLite's own 4, and each would then be written twice before its answer.
        "wal_autocheckpoint=8000",
    ):
        connection.execute(f"PRAGMA {pragma}")
    # What somebody wrote as text over our bytes is read as just those bytes, and found to be altered (models.Blob).
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")


def _translate(context: ExceptionContext) -> None:
    """Raise what our callers know where a database is locked, full, gone or damaged; our own mistakes stay theirs."""
    original = context.original_exception
    if context.is_pre_ping or context.dialect.dbapi is None:
        return
    if (known := driver.translated(original, context.dialect.dbapi)) is not None:
        raise known from original


def _migrated(engine: Engine, revision: str) -> sessionmaker[Session]:
    try:
        _migrate(engine, revision)
    except BaseException:
        engine.dispose()
        raise
    return sessionmaker(engine, expire_on_commit=False)


def _migrate(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        if engine.dialect.name != "sqlite":
            # Two processes that start at once would both make the same table.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
        if revision != "head" or not _is_newest(connection):
            if engine.dialect.name == "sqlite":
                # Its driver begins nothing before a table is made, which would stay where the rest is broken off.
                connection.execute(text("BEGIN IMMEDIATE"))
            _upgrade(connection, revision)


def _is_newest(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [NEWEST]


def _upgrade(connection: Connection, revision: str) -> None:
    # Loaded only where there is something to do: it takes longer than most commands do.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as exc:
        raise DatabaseRefused("its schema is of a newer version than this one; upgrade the control plane") from exc
