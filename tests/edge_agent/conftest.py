"""What the agent's tests share: a centre on loopback, and an agent that enrolled with it."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom.transport import AssociationSocket

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


@pytest.fixture(autouse=True)
def senders_close_their_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mend the sending side: pynetdicom 3.0.4 leaves its socket to the garbage collector where the peer hung up first.

    The collector then warns in the middle of some other test.
    """

    def shut_down(self: AssociationSocket) -> None:
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    monkeypatch.setattr(AssociationSocket, "_shutdown_socket", shut_down)
