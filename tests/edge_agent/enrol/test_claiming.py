"""A host that hears that it is unknown says who it is, and goes on whatever becomes of that."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import Database
from edge_agent.enrol.claiming import Claiming, ClaimNotWritten, write_claim
from edge_agent.enrol.enroller import enrol
from edge_agent.enrol.standing import UNKNOWN, CentreSays, read_standing
from edge_agent.https import Answer
from provisioning.demo.processes import wait_until
from shared.audit.checkpoint import PATH as CHECKPOINT
from tests.fakes.centre import Centre
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.threads import in_thread

CLAIM = "POST /api/v1/claim"
NO_SUCH_HOST = Answer(
    403, json.dumps({"error": "HostUnknown", "detail": "it is not an enrolled, active host"}).encode()
)
TAKEN, NOT_FOUND = Answer(204, b""), Answer(404, b"{}")


@pytest.fixture
def folder(centre: Centre, tmp_path: Path) -> AgentFolder:
    folder = AgentFolder(tmp_path / "agent")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    return folder


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def claiming(folder: AgentFolder, log: MemoryLog) -> Claiming:
    return Claiming(folder, load_identity(folder), tuple, FakeClock(), log, spread=lambda: 0.0)


@pytest.fixture
def says(folder: AgentFolder, log: MemoryLog) -> Iterator[CentreSays]:
    folder.database.parent.mkdir()
    database = Database(folder.database)
    yield CentreSays(database, FakeClock(), log)
    database.close()


def said(folder: AgentFolder) -> str:
    database = Database(folder.database)
    try:
        ((said, since, why),) = database.read("SELECT said, since, why FROM standing")
    finally:
        database.close()
    assert bool(since) == bool(why) == bool(said)
    assert read_standing(None, folder).fingerprint == ""
    return str(said)


def test_it_is_shown_when_the_centre_says_that_it_knows_no_such_host_and_not_before(
    centre: Centre, claiming: Claiming, says: CentreSays, log: MemoryLog
) -> None:
    """A centre of before does not take it, and the agent goes on."""
    says.on_unknown(claiming.bell.ring)
    with in_thread(claiming, claiming.bell.ring):
        says.heard("/api/v1/state", TAKEN)
        says.heard("/api/v1/policy/head", NOT_FOUND)
        assert CLAIM not in centre.requests  # control
        says.heard("/api/v1/audit/batches", NO_SUCH_HOST)
        assert wait_until(lambda: "claim.not-taken" in log.names(), 30) is not None
        assert centre.requests.count(CLAIM) == 1


def test_a_centre_that_is_away_changes_nothing(centre: Centre, claiming: Claiming, log: MemoryLog) -> None:
    centre.stop()
    try:
        assert not claiming.show()
    finally:
        centre.start()
    assert log.names() == ["claim.not-shown"]


def test_status_says_unknown_until_the_centre_answers_it_as_a_host(says: CentreSays, folder: AgentFolder) -> None:
    says.heard("/api/v1/state", NO_SUCH_HOST)
    assert said(folder) == UNKNOWN
    says.heard(CHECKPOINT, Answer(200, b"{}"))  # which it answers to strangers too
    assert said(folder) == UNKNOWN

    says.heard("/api/v1/state", TAKEN)
    assert said(folder) == ""


def test_a_claim_that_cannot_be_written_names_the_place(folder: AgentFolder, tmp_path: Path) -> None:
    written = tmp_path / "late.claim"
    write_claim(folder, (), FakeClock().now(), written)

    for out in (written, tmp_path / "not-there" / "late.claim"):
        with pytest.raises(ClaimNotWritten, match=r"late\.claim cannot be written"):
            write_claim(folder, (), FakeClock().now(), out)
