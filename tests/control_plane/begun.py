"""A centre as its first start leaves it, and a database as the migrations do: made once in a process, then copied."""

import atexit
import shutil
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.engine import close_database, open_database, sqlite_url
from control_plane.first_start import HandedOver, first_start
from control_plane.settings import Folders
from shared.clock import SystemClock
from tests.fakes.clock import FakeClock


def database_at(path: Path) -> sessionmaker[Session]:
    """Return the database that lies there; where there is none, one that holds nothing."""
    if not path.exists():
        shutil.copyfile(_empty_database(), path)
    return open_database(sqlite_url(path))


def begun(folder: Path, person: str = "ada", at: datetime | None = None) -> tuple[Folders, HandedOver]:
    """Return its data in `folder`, and what was handed over beside them, as of then or of today."""
    shutil.copytree(_template(person, at), folder, dirs_exist_ok=True)
    return Folders(folder / "data"), _in(folder, person)


@cache
def _empty_database() -> Path:
    path = _folder() / "empty.sqlite"
    database = open_database(sqlite_url(path))
    with database() as session:
        session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    close_database(database)
    return path


@cache
def _template(person: str, at: datetime | None) -> Path:
    folder = _folder()
    made = first_start(
        Folders(folder / "data"), folder / "handover", person,
        host="127.0.0.1", people_url="http://127.0.0.1:1", clock=SystemClock() if at is None else FakeClock(at),
    )  # fmt: skip
    assert made == _in(folder, person)
    return folder


def _folder() -> Path:
    folder = Path(mkdtemp(prefix="leadglass-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _in(folder: Path, person: str) -> HandedOver:
    handover = folder / "handover"
    shares = tuple(handover / f"recovery-share-{number}.txt" for number in (1, 2, 3))
    return HandedOver(handover / f"credential-{person}.json", shares, handover / "authority-root-key.pem")
