"""A ward with two hosts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control_plane.checkpoints.ward import Ward


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.close()
