from pathlib import Path

import pytest

from tests.control_plane.routes.bench import RouteBench
from tests.edge_agent.conftest import senders_close_their_sockets

__all__ = ["senders_close_their_sockets"]


@pytest.fixture
def routes(tmp_path: Path) -> RouteBench:
    return RouteBench(tmp_path / "centre")
