"""The same tests over both engines: what holds of the database, whichever it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.engine import close_database, open_database, sqlite_url
from tests.fakes.postgresql import Server, server


@dataclass(frozen=True)
class Place:
    """An empty database."""

    engine: str
    url: str

    def open(self) -> sessionmaker[Session]:
        return open_database(self.url)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place("sqlite", sqlite_url(tmp_path / "centre.sqlite"))
    running: Server = request.getfixturevalue("postgresql")
    return Place("postgresql", running.new_database())


@pytest.fixture
def database(place: Place) -> Iterator[sessionmaker[Session]]:
    opened = place.open()
    yield opened
    close_database(opened)
