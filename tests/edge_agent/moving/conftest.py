from pathlib import Path

import pytest

from tests.edge_agent.moving.carrying import Carrier
from tests.fakes.centre import Authority


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def old(tmp_path: Path, authority: Authority) -> Carrier:
    return Carrier.new(tmp_path / "old", authority)


@pytest.fixture
def new(tmp_path: Path, authority: Authority) -> Carrier:
    return Carrier.new(tmp_path / "new", authority)


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    return tmp_path / "stick"
