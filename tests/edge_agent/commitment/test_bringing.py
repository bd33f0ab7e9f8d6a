"""Modalities that are slow, hang or break the protocol when they are brought reports: none delays another's."""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity

from edge_agent.commitment.judge import Verdict
from edge_agent.commitment.reports import Report
from edge_agent.commitment.requests import CommitmentRequest, Reference
from edge_agent.database import DatabaseUnavailable
from shared.dicom.dimse import STORAGE_COMMITMENT, Status
from shared.dicom.requestor import Patience
from shared.policy.routes import Peer
from tests.edge_agent.commitment.test_orthanc import until
from tests.edge_agent.commitment.world import World, modality
from tests.fakes.dicom_server import serve
from tests.fakes.host import CT, Host


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Host(tmp_path / "host"))


def owe(world: World, ae_title: str, *transactions: str) -> None:
    """Have requests open of which everything is decided."""
    for transaction in transactions:
        request = CommitmentRequest(transaction, (Reference(CT, f"{transaction}.1"),))
        request_id = world.store.add(ae_title, request, world.host.clock.now())
        assert request_id is not None
        world.store.decide(request_id, {0: Verdict.COMMITTED})


def owed(world: World) -> set[str]:
    return {request.ae_title for request in world.store.open()}


@contextmanager
def takes_reports(status_of: Callable[[str], int] = lambda _: Status.SUCCESS) -> Iterator[tuple[int, list[str]]]:
    """Run a modality that hears reports; yield its port and the transactions that it heard of."""
    heard: list[str] = []

    def hear(event: Any) -> tuple[int, None]:
        heard.append(str(event.event_information.TransactionUID))
        return status_of(heard[-1]), None

    entity = ApplicationEntity("MR")
    entity.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
    server = serve(entity, handlers=[(evt.EVT_N_EVENT_REPORT, hear)])
    try:
        yield server.server_address[1], heard
    finally:
        server.shutdown()


@contextmanager
def says(first: bytes) -> Iterator[tuple[int, threading.Event]]:
    """Run a modality that says this to an association request, and nothing more; yield its port and when it said it."""
    said, held = threading.Event(), list[socket.socket]()

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                held.append(connection)
                connection.recv(1 << 16)
                connection.sendall(first)
                said.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1], said
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(20)
            for connection in held:
                connection.close()


SILENT, PARTIAL = b"", b"\x02\x00\x00\x00\x10\x00" + bytes(10)


@pytest.mark.parametrize("first", [SILENT, PARTIAL])
def test_a_modality_that_hangs_delays_neither_judging_nor_the_reports_of_another(world: World, first: bytes) -> None:
    with says(first) as (hanging, said), takes_reports() as (port, heard):
        world.enforce(modality("CT1", hanging), modality("MR", port))
        owe(world, "CT1", "1.2.1")
        with world.running():
            assert said.wait(60)
            owe(world, "MR", "1.2.2")
            world.bell.ring()
            until(lambda: owed(world) == {"CT1"})
            is_out = not world.reporter._couriers["CT1"].is_back.is_set()

    assert is_out
    assert heard == ["1.2.2"]
    assert "part.stuck" not in world.host.log.names()


@pytest.mark.parametrize(
    "first, patience_s, why",
    [
        (SILENT, 1, "PeerTooSlow"),
        (PARTIAL, 1, "PeerTooSlow"),
        (b"\x02\x00\xff\xff\xff\xff", 60, "PeerBrokeProtocol"),
        (b"\x04\x00\xff\xff\xff\xff", 60, "PeerBrokeProtocol"),
    ],
)
def test_a_modality_that_stalls_or_floods_is_left_after_a_bounded_time_and_its_report_kept(
    world: World, first: bytes, patience_s: float, why: str
) -> None:
    world.patience = Patience(associate_s=patience_s, answer_s=patience_s, send_s=patience_s, release_s=patience_s)
    with says(first) as (port, _):
        world.enforce(modality("CT1", port))
        owe(world, "CT1", "1.2.1")
        with world.running():
            until(lambda: "commitment.report-waits" in world.host.log.names())

    waits = [fields for name, fields in world.host.log.events if name == "commitment.report-waits"]
    assert str(waits[0]["why"]).startswith(why)
    assert owed(world) == {"CT1"}


def test_an_error_that_nobody_expected_keeps_no_report_from_another(tmp_path: Path) -> None:
    class Broken:
        def bring(self, reports: Iterable[Report], answered: Callable[[Report, int], None], /) -> None:
            next(iter(reports))
            raise RuntimeError("the association was lost")

        def break_off(self) -> None:
            pass

    class Takes(Broken):
        def bring(self, reports: Iterable[Report], answered: Callable[[Report, int], None], /) -> None:
            for report in reports:
                answered(report, Status.SUCCESS)

    def associate(peer: Peer) -> Broken:
        return Broken() if peer.ae_title == "CT1" else Takes()

    world = World(Host(tmp_path / "host"), associate=associate)
    world.enforce(modality("CT1", 1), modality("MR", 2))
    owe(world, "CT1", "1.2.1")
    owe(world, "MR", "1.2.2")
    with world.running():
        until(lambda: owed(world) == {"CT1"})
        # It is offered again, and tried again later.
        until(lambda: world.reporter._failures.get("CT1", 0) >= 2)

    assert "task.failed" in world.host.log.names()


def test_a_report_that_is_refused_holds_up_no_other_and_is_not_brought_again_at_once(world: World) -> None:
    with takes_reports(lambda uid: Status.PROCESSING_FAILURE if uid == "1.2.1" else Status.SUCCESS) as (port, heard):
        world.enforce(modality("MR", port))
        owe(world, "MR", "1.2.1", "1.2.2", "1.2.3")
        world.reporter.judge()
        world.reporter.bring()
        courier = world.reporter._couriers["MR"]
        while not courier.is_back.is_set():
            # As the bell has it: what was refused is offered again at once.
            world.reporter.judge()

    assert heard == ["1.2.1", "1.2.2", "1.2.3"]
    assert len(world.store.open()) == 1
    assert not courier.went_well


def test_one_error_of_the_database_strands_no_report(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.enforce(modality("CT1"))
    owe(world, "CT1", "1.2.1")
    world.reporter.judge()

    def broken(_request_id: str) -> Report | None:
        raise DatabaseUnavailable("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "report", broken)
        with pytest.raises(DatabaseUnavailable):
            world.desk.take("CT1")
    world.reporter.judge()
    report = world.desk.take("CT1")

    assert report is not None
    assert report.transaction_uid == "1.2.1"
