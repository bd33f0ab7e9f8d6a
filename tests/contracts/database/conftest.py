"""The same tests over both engines: what holds of the database, whichever it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.engine import close_database
from tests.contracts.database.day import told
from tests.contracts.database.originals import Originals, Place, Postgresql, Sqlite
from tests.control_plane.vault.bench import Bench, HostBench
from tests.fakes.postgresql import Server, server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    # Its files may lie in memory, where there is no room for what it would keep by itself.
    with server("max_wal_size=64MB") as running:
        yield running


@pytest.fixture(scope="session")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Originals:
    return Originals(Sqlite(), tmp_path_factory.mktemp("originals"))


@pytest.fixture(scope="session")
def on_postgresql(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Originals:
    return Originals(Postgresql(postgresql), tmp_path_factory.mktemp("originals"))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Originals]:
    originals: Originals = request.getfixturevalue(f"on_{request.param}")
    yield originals
    originals.drop_copies()


@pytest.fixture
def empty(engine: Originals, tmp_path: Path) -> Place:
    return engine.empty(tmp_path)


@pytest.fixture
def migrated(engine: Originals, tmp_path: Path) -> Place:
    """Return a database with today's schema, and nothing in it."""
    return engine.migrated(tmp_path)


@pytest.fixture
def database(migrated: Place) -> Iterator[sessionmaker[Session]]:
    opened = migrated.open()
    yield opened
    close_database(opened)


@pytest.fixture
def place(engine: Originals, tmp_path: Path) -> Place:
    """Return the database of a centre that has begun, and has done nothing yet."""
    return engine.begun(tmp_path)


@pytest.fixture
def bench(place: Place, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "centre", url=place.url)
    yield bench
    close_database(bench.database)


@pytest.fixture
def host(engine: Originals, tmp_path: Path) -> Iterator[HostBench]:
    """Return the host of a centre that has had its day."""
    with engine.host_after(told, tmp_path) as host:
        yield host
