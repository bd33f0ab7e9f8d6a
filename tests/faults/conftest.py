"""A centre on loopback whose vault judges the whole object, and an agent's folder enrolled with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from tests.faults.vault import Vault, publishing


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Vault]:
    with publishing(tmp_path / "centre") as vault:
        yield vault


@pytest.fixture
def enrolled(centre: Vault, tmp_path: Path) -> AgentFolder:
    folder = AgentFolder(tmp_path / "host" / "agent")
    folder.path.parent.mkdir()
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    return folder
