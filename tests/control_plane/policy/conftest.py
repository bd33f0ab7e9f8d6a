from pathlib import Path

import pytest

from tests.control_plane.policy.centre import Centre, copied_centre
from tests.control_plane.policy.client import Host


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return copied_centre(tmp_path)


@pytest.fixture
def host(tmp_path: Path, centre: Centre) -> Host:
    return Host(tmp_path / "host", centre.publisher.newest_root())
