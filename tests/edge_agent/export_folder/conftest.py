"""One watched folder for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge_agent.export_folder.watched import Watched


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.watcher._let_go()
    watched.host.database.close()
