"""What the agent's tests share: a centre on loopback, and an agent that enrolled with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from tests.fakes.centre import Centre


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    folder = tmp_path / "centre"
    folder.mkdir()
    centre = Centre(folder)
    centre.start()
    yield centre
    centre.stop()


@pytest.fixture
def enrolled(centre: Centre, tmp_path: Path) -> AgentFolder:
    folder = AgentFolder(tmp_path / "agent")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    return folder
