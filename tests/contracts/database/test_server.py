"""A PostgreSQL server that could lose what it acknowledged is refused before it holds anything."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from control_plane.db import place
from control_plane.db.engine import DatabaseRefused, close_database, open_database
from control_plane.db.postgresql import ServerRefused
from control_plane.db.transactions import DatabaseUnavailable
from control_plane.settings import Folders
from tests.fakes.postgresql import Server, server

PASSWORD = "never-shown"


@pytest.fixture(scope="module")
def careless() -> Iterator[Server]:
    with server("fsync=off", "full_page_writes=off") as running:
        yield running


def test_a_server_that_does_not_sync_is_refused(careless: Server) -> None:
    with pytest.raises(ServerRefused, match="fsync = off"):
        open_database(careless.new_database())


def test_half_written_pages_are_refused_too(careless: Server) -> None:
    careless.stop()
    careless.start("fsync=on")

    with pytest.raises(ServerRefused, match="full_page_writes = off"):
        open_database(careless.new_database())

    careless.stop()
    careless.start()


def test_our_commits_wait_for_the_disk_where_others_do_not(postgresql: Server) -> None:
    url = postgresql.new_database()
    postgresql.sql(f"ALTER DATABASE {url.partition('?')[0].rpartition('/')[2]} SET synchronous_commit = off")

    database = open_database(url)

    with database() as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "on"
    close_database(database)


def test_an_encoding_that_holds_not_every_name_is_refused(postgresql: Server) -> None:
    with pytest.raises(ServerRefused, match="server_encoding"):
        open_database(postgresql.new_database("ENCODING 'SQL_ASCII' TEMPLATE template0"))


@pytest.mark.parametrize(
    "url",
    ["mysql://leadglass@db/x", "no url", "postgresql+asyncpg://leadglass@db/x", "sqlite://", "sqlite:///:memory:"],
)
def test_another_engine_or_memory_is_refused(url: str) -> None:
    with pytest.raises(DatabaseRefused):
        open_database(url)


def test_a_server_that_does_not_answer_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        open_database(f"postgresql+psycopg://leadglass:{PASSWORD}@/x?host={tmp_path}")

    assert PASSWORD not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_password_on_a_command_line_is_refused_and_not_repeated() -> None:
    with pytest.raises(DatabaseRefused, match="passfile") as raised:
        place.given(f"postgresql://leadglass:{PASSWORD}@db/x", {})

    assert PASSWORD not in str(raised.value)


def test_the_place_is_noted_for_its_owner_only_and_without_the_password(tmp_path: Path) -> None:
    url = place.given(None, {place.VARIABLE: f"postgresql+psycopg://leadglass:{PASSWORD}@db/x"})
    folders = Folders(tmp_path, url)
    folders.make()

    place.note(folders)

    assert place.url_of(Folders(tmp_path)) == "postgresql+psycopg://leadglass@db/x"
    assert folders.noted_url.stat().st_mode & 0o777 == 0o600
    assert not any(PASSWORD.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert PASSWORD not in repr(folders)
    assert place.url_of(folders) == url
    assert os.environ.get(place.VARIABLE) is None
