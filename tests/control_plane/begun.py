"""A centre as its first start leaves it, and a database as the migrations do: made once in a process, then copied."""

import atexit
import shutil
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.engine import close_database, leave_nothing_behind, open_database, sqlite_url
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


def close_whole(database: sessionmaker[Session]) -> None:
    """Close a database whose file can then be copied."""
    leave_nothing_behind(database)
    close_database(database)


def folder_of_process() -> Path:
    """Return a new folder that is there until this process ends."""
    folder = Path(mkdtemp(prefix="leadglass-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _empty_database() -> Path:
    path = folder_of_process() / "empty.sqlite"
    close_whole(open_database(sqlite_url(path)))
    return path


@cache
def _template(person: str, at: datetime | None) -> Path:
    folder = folder_of_process()
    made = first_start(
        Folders(folder / "data"), folder / "handover", person,
        host="127.0.0.1", people_url="http://127.0.0.1:1", clock=SystemClock() if at is None else FakeClock(at),
    )  # fmt: skip
    assert made == _in(folder, person)
    return folder


def _in(folder: Path, person: str) -> HandedOver:
    handover = folder / "handover"
    shares = tuple(handover / f"recovery-share-{number}.txt" for number in (1, 2, 3))
    return HandedOver(handover / f"credential-{person}.json", shares, handover / "authority-root-key.pem")
