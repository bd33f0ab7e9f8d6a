"""What systemd hears of the agent: that it is up, and that it lives while nothing holds its database for ever."""

import socket
import threading
from pathlib import Path

import pytest

from edge_agent.agent import Agent, Settings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder
from edge_agent.parts import Bell, Supervisor
from edge_agent.watchdog import ServiceManager
from shared.clock import SystemClock
from tests.fakes.log import MemoryLog
from tests.threads import in_thread


def test_it_says_that_it_is_up_and_lives_and_falls_silent_where_a_thread_lets_go_of_nothing(
    enrolled: AgentFolder, tmp_path: Path
) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(30)
        settings = Settings(enrolled, Address("127.0.0.1", 0, "LEADGLASS"))
        agent = Agent(settings, SystemClock(), MemoryLog(), manager=ServiceManager(address, 0.3))
        with in_thread(agent):
            assert listening.recv(4096).startswith(b"READY=1\nSTATUS=host host-")
            assert [listening.recv(64) for _ in range(2)] == [b"WATCHDOG=1"] * 2
            with agent.database.transaction():
                heard = _until_silent(listening)
            assert heard < 10
            listening.settimeout(30)
            assert listening.recv(64) == b"WATCHDOG=1"


def _until_silent(listening: socket.socket) -> int:
    """Count what is said until nothing was for several times as long as it may stay silent."""
    listening.settimeout(1.0)
    for heard in range(10):
        try:
            listening.recv(64)
        except TimeoutError:
            return heard
    return 10


class _Ends:
    name, bell = "one", Bell()

    def run(self, _stop: threading.Event) -> None:
        raise SystemExit  # which ends the thread, and which no part's boundary stops


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_agent_of_which_a_part_has_no_thread_any_more_does_not_work() -> None:
    supervisor = Supervisor(MemoryLog())
    assert supervisor.is_whole()
    supervisor.start(_Ends())
    supervisor._threads[0][1].join(60)

    assert not supervisor.is_whole()
    supervisor.stop()
