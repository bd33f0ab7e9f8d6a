"""A network that delays, cuts and stalls in the middle of an object on its way to the vault."""

from collections.abc import Iterator

import pytest

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from tests.faults.agent import AgentProcess, running
from tests.faults.evidence import verify_all
from tests.faults.modality import Modality, images
from tests.faults.proxy import Line, Proxy
from tests.faults.vault import Vault

# Only an object brings this much over one connection within a test; handshakes, reports and records do not.
_IN_THE_BODY = 150_000
_SIZE_BYTES = 500_000
_IMPATIENT = ("tests.faults.standin", "impatient")


@pytest.fixture
def line(centre: Vault) -> Iterator[Proxy]:
    proxy = Proxy(int(centre.host_door.server_address[1]))
    centre.doors_port = proxy.port
    yield proxy
    proxy.stop()


@pytest.fixture
def enrolled(centre: Vault, line: Proxy, enrolled: AgentFolder) -> AgentFolder:
    """Enrol again, now with a host door that is reached over the bad line."""
    folder = AgentFolder(enrolled.path.with_name("behind-the-line"))
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    return folder


def deliver_what_is_left(centre: Vault, folder: AgentFolder, line: Proxy, modality: Modality) -> None:
    line.line = Line()
    with running(folder) as agent:
        agent.wait_until_idle()
    verify_all(centre, folder.path, modality)
    assert len(centre.objects) == len(modality.acknowledged)


@pytest.mark.parametrize(
    "bad",
    [
        Line(reset_at=_IN_THE_BODY), Line(close_at=_IN_THE_BODY), Line(reset_at=1), Line(close_at=700),
        Line(delay_s=0.01),
    ],
    ids=["reset in the body", "closed in the body", "reset at once", "closed in the handshake", "slow"],
)  # fmt: skip
def test_a_line_that_breaks_loses_nothing(centre: Vault, enrolled: AgentFolder, line: Proxy, bad: Line) -> None:
    modality = Modality(images(2, _SIZE_BYTES))
    with running(enrolled) as agent:
        port = agent.port()
        line.line = bad
        # What was connected before keeps its line; delivery begins now.
        modality.send(port)
        if bad.limit() is not None and bad.limit() == _IN_THE_BODY:
            line.wait_for_breaks(1)
        assert agent.is_running()
        agent.killed()

    assert len(modality.acknowledged) == 2
    deliver_what_is_left(centre, enrolled, line, modality)


def stalls_and_comes_back(agent: AgentProcess, line: Proxy, modality: Modality, timeout_s: float) -> None:
    port = agent.port()
    line.line = Line(stall_at=_IN_THE_BODY)
    modality.send(port)
    line.wait_for_breaks(1)
    line.line = Line()
    agent.wait_until_idle(timeout_s)


def test_a_line_that_stalls_in_the_body_is_given_up_and_tried_again(
    centre: Vault, enrolled: AgentFolder, line: Proxy
) -> None:
    modality = Modality(images(3, _SIZE_BYTES))
    with running(enrolled, module=_IMPATIENT) as agent:
        stalls_and_comes_back(agent, line, modality, timeout_s=120)
        assert agent.logged("delivery.waits") >= 1
        assert agent.threads() < 40
        assert agent.terminate() == 0

    assert len(modality.acknowledged) == 3
    verify_all(centre, enrolled.path, modality)


@pytest.mark.soak
def test_the_agent_s_own_patience_with_a_stalled_line_ends_too(
    centre: Vault, enrolled: AgentFolder, line: Proxy
) -> None:
    modality = Modality(images(3, _SIZE_BYTES))
    with running(enrolled) as agent:
        stalls_and_comes_back(agent, line, modality, timeout_s=120)
    verify_all(centre, enrolled.path, modality)


def test_images_are_taken_and_the_agent_ends_while_the_line_stalls(
    centre: Vault, enrolled: AgentFolder, line: Proxy
) -> None:
    modality = Modality(images(2, _SIZE_BYTES))
    with running(enrolled, module=_IMPATIENT) as agent:
        port = agent.port()
        line.line = Line(stall_at=_IN_THE_BODY)
        modality.send(port)
        line.wait_for_breaks(1)
        later = Modality(images(20, first=100))
        later.send(port, associations=2)
        modality.acknowledged.update(later.acknowledged)
        assert agent.terminate() == 0

    assert len(modality.acknowledged) == 22
    deliver_what_is_left(centre, enrolled, line, modality)


def test_control_without_a_limit_of_time_a_stalled_line_holds_delivery_for_ever(
    centre: Vault, enrolled: AgentFolder, line: Proxy
) -> None:
    modality = Modality(images(3, _SIZE_BYTES))
    with (
        running(enrolled, module=("tests.faults.standin", "endless")) as agent,
        pytest.raises(AssertionError, match="did not happen in time"),
    ):
        stalls_and_comes_back(agent, line, modality, timeout_s=4)
    deliver_what_is_left(centre, enrolled, line, modality)
