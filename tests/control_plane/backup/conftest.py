from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.db.engine import close_database
from control_plane.settings import Folders
from tests.control_plane.backup.kept import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept.new(tmp_path)
    yield kept
    close_database(kept.bench.database)


@pytest.fixture
def new(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "new")
