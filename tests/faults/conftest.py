"""A centre on loopback whose vault judges the whole object, an agent's folder enrolled with it, a place in memory."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from tests.faults.vault import Vault, publishing
from tests.forked import FORKING

FORKING.set_forkserver_preload(["tests.faults.standin", "tests.faults.journaling"])
_MEMORY = Path("/dev/shm")  # noqa: S108 (what lies there lies in a folder of its own)


@pytest.fixture
def looked_at() -> Iterator[Path]:
    """Where what a power cut left is looked at: in memory if it can be, for it goes through no cut of its own."""
    with TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


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
