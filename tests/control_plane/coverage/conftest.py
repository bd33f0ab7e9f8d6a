import contextlib
import socket
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from pynetdicom.transport import AssociationSocket

from tests.control_plane.coverage.day import CoverageDay
from tests.control_plane.vault.bench import Bench
from tests.fakes.orthanc import Orthanc, orthanc

_days = count(1)


@pytest.fixture(scope="package")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One archive for all tests, each of which has a day of its own in it."""
    with orthanc(tmp_path_factory.mktemp("pacs"), ae_title="PACS") as running:
        yield running


@pytest.fixture
def today(tmp_path: Path) -> CoverageDay:
    bench = Bench(tmp_path / "centre")
    bench.clock.advance(timedelta(days=next(_days)))
    return CoverageDay(bench, bench.enrol())


@pytest.fixture
def with_pacs(today: CoverageDay, pacs: Orthanc) -> CoverageDay:
    today.ask(pacs.dicom_port)
    return today


@pytest.fixture(autouse=True)
def associations_close_their_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mend pynetdicom 3.0.4, which leaves its socket to the garbage collector where the peer hung up first."""

    def shut_down(self: AssociationSocket) -> None:
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    monkeypatch.setattr(AssociationSocket, "_shutdown_socket", shut_down)
