"""What the agent's tests share: a centre on loopback, an agent that enrolled with it, and TPMs."""

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from provisioning.demo.reactor import hold
from tests.fakes.centre import Centre
from tests.fakes.software_tpm import SoftwareTpm, software_tpm
from tests.forked import FORKING

FORKING.set_forkserver_preload(["tests.edge_agent.link.killed"])


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


@pytest.fixture(autouse=True)
def senders_take_their_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    make = Association.__init__

    def made(self: Association, *parts: Any, **named: Any) -> None:
        make(self, *parts, **named)
        hold(self)

    monkeypatch.setattr(Association, "__init__", made)


# ---- a TPM of software for whoever needs one, and another one to be disappointed by


def _started(factory: pytest.TempPathFactory, name: str) -> Iterator[SoftwareTpm]:
    if shutil.which("swtpm") is None or shutil.which("systemd-creds") is None:
        pytest.skip("swtpm or systemd-creds is not installed")
    with software_tpm(factory.mktemp("tpm") / name) as tpm:
        yield tpm


@pytest.fixture(scope="session")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """For whoever leaves it as it is."""
    yield from _started(tmp_path_factory, "ours")


@pytest.fixture
def own_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """For whoever does something to it."""
    yield from _started(tmp_path_factory, "own")
