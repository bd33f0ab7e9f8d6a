"""Credentials of before tokens had an end go on, each for a year."""

import secrets
import sqlite3
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import control_plane.db
from control_plane.db.engine import open_database, sqlite_url
from control_plane.people.accounts import CREDENTIAL_LIFE, Accounts, NotSignedIn, SignedIn
from shared.clock import SystemClock
from tests.fakes.clock import FakeClock


def test_a_credential_of_before_goes_on_for_a_year(tmp_path: Path) -> None:
    file, token = tmp_path / "centre.sqlite", "lgp_" + secrets.token_urlsafe(32)
    bring(file, "0011")
    with sqlite3.connect(file) as before:
        digest = sha256(token.encode()).digest()
        before.execute("INSERT INTO people VALUES ('ada', 'administrator', ?, '2026-01-01 08:00:00')", (digest,))
        before.execute("INSERT INTO sign_ins VALUES (?, 'ada', '2026-01-01 08:00:00', NULL, NULL)", (bytes(32),))
    before.close()
    database = open_database(sqlite_url(file))

    assert Accounts(database, SystemClock()).by_token(token) == SignedIn("ada", "administrator")
    later = FakeClock(SystemClock().now() + CREDENTIAL_LIFE + timedelta(minutes=1))
    with pytest.raises(NotSignedIn):
        Accounts(database, later).by_token(token)


def test_going_back_leaves_a_credential_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "centre.sqlite"
    token = Accounts(open_database(sqlite_url(file)), SystemClock()).create("ada", "administrator")
    bring(file, "0011")
    with sqlite3.connect(file) as back:
        found = back.execute("SELECT name FROM people WHERE token_sha256 = ?", (sha256(token.encode()).digest(),))
        assert found.fetchall() == [("ada",)]
    back.close()


def bring(file: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(control_plane.db.__file__).parent / "migrations"))
    engine = create_engine(sqlite_url(file))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if file_is_newer(connection, revision) else command.upgrade)(config, revision)
    engine.dispose()


def file_is_newer(connection: object, revision: str) -> bool:
    from alembic.runtime.migration import MigrationContext

    current = MigrationContext.configure(connection).get_current_revision()  # type: ignore[arg-type]
    return current is not None and current > revision
