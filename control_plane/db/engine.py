"""Opens the database and brings it to the schema this version knows."""

from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DatabaseError, IntegrityError, InterfaceError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.transactions import DatabaseUnavailable

_MIGRATIONS = Path(__file__).parent / "migrations"


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def open_database(url: str) -> sessionmaker[Session]:
    """Return a factory of sessions on the database at `url`, migrated. What a session commits survives a power cut."""
    engine = create_engine(url, pool_pre_ping=True)
    event.listen(engine, "handle_error", _translate)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _make_durable)
    _migrate(engine)
    return sessionmaker(engine, expire_on_commit=False)


def _make_durable(connection: SqliteConnection, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    # What somebody wrote as text over our bytes is read as just those bytes, and found to be altered (models.Blob).
    connection.text_factory = lambda data: data.decode(errors="surrogateescape")


def _translate(context: ExceptionContext) -> None:
    """Raise what our callers know where a database is locked, full, gone or damaged; our own mistakes stay theirs."""
    error = context.sqlalchemy_exception
    if context.is_pre_ping:
        return
    if isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, IntegrityError | ProgrammingError):
        raise DatabaseUnavailable(str(context.original_exception)) from context.original_exception


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
