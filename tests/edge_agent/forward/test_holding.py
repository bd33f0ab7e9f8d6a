"""A failure holds what it is about and nothing else, is recorded as loudly as a success, and loses nothing."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_agent.capture.tls import client_context, server_context
from edge_agent.forward.connect import ArchiveConnection, connected
from edge_agent.forward.queue import ForwardQueue
from shared import canonical
from shared.audit.events import Event, Outcome
from shared.policy.routes import Peer
from shared.routes.decide import IMAGE_PAUSES, MOST_BREAKS, ROUTE_PAUSES
from shared.routes.queue import Item, State
from tests.edge_agent.forward.bench import ForwardBench, route
from tests.fakes.archive import CT, MR, Archive, archive
from tests.fakes.dicom_pki import Party, party
from tests.fakes.ports import free_port


@pytest.fixture
def ours(tmp_path: Path) -> Party:
    return party(tmp_path / "pki", "host")


@pytest.fixture
def theirs(tmp_path: Path) -> Party:
    return party(tmp_path / "pki", "archive")


@pytest.fixture
def secured(tmp_path: Path, ours: Party) -> ForwardBench:
    return ForwardBench(tmp_path / "agent", identity=ours.chain)


# ---- an archive that refuses


def test_a_class_that_the_archive_does_not_accept_holds_only_itself(bench: ForwardBench) -> None:
    with archive(sop_classes=[CT]) as pacs:
        to = route(pacs)
        bench.publish(to)
        sent = [bench.capture(sop_class_uid=MR if number % 2 else CT) for number in range(6)]

        again = bench.work(to)
        assert pacs.stored == [one.arrived for one in sent[::2]]
    assert bench.states() == ["delivered", "refused"] * 3
    assert again == bench.host.clock.now() + IMAGE_PAUSES[0]
    failed = bench.records(Event.ROUTE_FAILED)
    assert len(failed) == 3
    assert all("does not accept SOP class" in record.reason for record in failed)
    assert bench.queue.openable() == 3
    assert [bench.forwards.holds(one.object_id) for one in sent] == [False, True] * 3


class Sulking(ForwardQueue):
    """Has a whole route rest for what its archive refuses of one image."""

    def failed(self, item: Item, **what: Any) -> None:
        rests = {"state": State.WAITING, "next_try": None, "route_rests": ROUTE_PAUSES[1]}
        super().failed(item, **(what | rests))


def test_control_a_route_that_rests_for_one_refused_class_holds_up_what_its_archive_takes(tmp_path: Path) -> None:
    bench = ForwardBench(tmp_path / "agent", queue=Sulking)
    with archive(sop_classes=[CT]) as pacs:
        to = route(pacs)
        bench.publish(to)
        sent = [bench.capture(sop_class_uid=sop_class) for sop_class in (CT, MR, CT)]

        bench.work(to)
        assert pacs.stored == [sent[0].arrived]


def test_a_refused_image_is_tried_again_and_recorded_only_when_its_reason_changes(
    bench: ForwardBench, pacs: Archive
) -> None:
    to = route(pacs)
    bench.publish(to)
    sent, other = bench.capture(), bench.capture()
    pacs.status_of = lambda uid: 0xC123 if uid == sent.uid else 0

    for _ in range(4):
        bench.work(to)
        bench.host.clock.advance(IMAGE_PAUSES[1])
    assert len(bench.records(Event.ROUTE_FAILED)) == 1
    pacs.status_of = lambda _: 0xA900
    bench.work(to)
    assert len(bench.records(Event.ROUTE_FAILED)) == 2
    assert bench.states() == ["refused", "delivered"]
    pacs.status_of = lambda _: 0
    bench.host.clock.advance(IMAGE_PAUSES[1])
    bench.work(to)
    assert pacs.stored == [other.arrived, sent.arrived]


def test_a_full_archive_rests_the_route_and_then_another_image_is_first(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    large, small = bench.capture(), bench.capture()
    pacs.status_of = lambda uid: 0xA700 if uid == large.uid else 0

    again = bench.work(to)
    assert again == bench.host.clock.now() + ROUTE_PAUSES[0]
    assert pacs.stored == []
    bench.host.clock.advance(ROUTE_PAUSES[0])
    bench.work(to)
    assert pacs.stored == [small.arrived]


# ---- an archive that is away


def test_what_waits_for_an_archive_that_is_away_is_delivered_in_order_when_it_is_back(bench: ForwardBench) -> None:
    to = route(free_port())
    bench.publish(to)
    sent = [bench.capture() for _ in range(3)]

    pauses = []
    for _ in range(4):
        again = bench.work(to)
        pauses.append(again - bench.host.clock.now())
        assert bench.work(to) == again
        bench.host.clock.advance(pauses[-1])
    assert pauses == [ROUTE_PAUSES[0] * factor for factor in (1, 2, 4, 8)]
    assert bench.states() == ["waiting"] * 3
    # Told once and not at each try.
    assert len(bench.records(Event.ROUTE_FAILED)) == 1
    with archive(like=Archive(port=to.peer.port)) as pacs:
        bench.work(to)
        assert pacs.stored == [one.arrived for one in sent]
    assert bench.queue.states(bench.host.store.in_force())[0].error == ""


def test_a_clock_that_was_put_back_keeps_nothing_waiting_for_years(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    bench.host.clock.advance(timedelta(days=400))
    sent, refused = bench.capture(), bench.capture()
    pacs.status_of = lambda uid: 0xC000 if uid == refused.uid else 0
    bench.work(to)
    bench.host.clock.advance(timedelta(days=-400))
    pacs.status_of = lambda _: 0

    bench.work(to)
    assert pacs.stored == [sent.arrived, refused.arrived]


def test_an_image_that_breaks_the_association_each_time_is_put_aside(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    poison, other = bench.capture(), bench.capture()

    @contextmanager
    def breaking(peer: Peer) -> Iterator[ArchiveConnection]:
        with connected(peer, lambda trust: client_context(Path(), trust)) as connection:
            whole = connection.sendall

            def sendall(data: memoryview, /) -> None:
                whole(data)
                if poison.uid.encode() in bytes(data):
                    connection.break_off()

            connection.sendall = sendall  # type: ignore[method-assign]
            yield connection

    for _ in range(MOST_BREAKS):
        bench.work(to, connect=breaking)
        assert pacs.stored == []
        bench.host.clock.advance(ROUTE_PAUSES[1])
    bench.work(to, connect=breaking)
    assert pacs.stored == [other.arrived]
    assert bench.states() == ["refused", "delivered"]


# ---- TLS


def test_images_go_out_over_mutual_tls_and_the_evidence_names_the_certificate(
    secured: ForwardBench, ours: Party, theirs: Party
) -> None:
    with archive(tls=server_context(theirs.chain, ours.pem)) as pacs:
        to = route(pacs, trust=theirs.pem)
        secured.publish(to)
        sent = secured.capture()

        secured.work(to)
        assert pacs.stored == [sent.arrived]
    ((evidence,),) = secured.rows("SELECT evidence FROM forward")
    says = canonical.parse(evidence.encode(), "evidence")
    assert isinstance(says, dict)
    assert (says["certificate_sha256"], says["tls"]) == (theirs.sha256, "TLSv1.3")
    (record,) = secured.records(Event.ROUTE_DELIVERED)
    assert [what.kind for what in record.what] == ["object", "route", "certificate"]


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_an_archive_with_a_wrong_certificate_is_sent_nothing(
    secured: ForwardBench, ours: Party, theirs: Party, wrong: str
) -> None:
    with archive(tls=server_context(theirs.chain, ours.pem)) as pacs:
        trust = ours.pem if wrong == "authority" else theirs.pem
        to = route(pacs, trust=trust, server_name="pacs.example.org" if wrong == "name" else "")
        secured.publish(to)
        secured.capture()

        secured.work(to)
        assert (pacs.associations, pacs.stored) == (0, [])
    (failed,) = secured.records(Event.ROUTE_FAILED)
    assert failed.outcome is Outcome.SERIOUS_FAILURE
    assert "does not show the certificate that policy trusts" in failed.reason
    assert secured.queue.openable() == 1


def test_an_archive_that_does_not_trust_us_says_so(secured: ForwardBench, theirs: Party) -> None:
    refused = list[str]()

    def serve(server: socket.socket) -> None:
        plain, _ = server.accept()
        with plain:
            try:
                server_context(theirs.chain, theirs.pem).wrap_socket(plain, server_side=True).close()
            except ssl.SSLCertVerificationError as exc:
                refused.append(exc.verify_message)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        to = route(server.getsockname()[1], trust=theirs.pem)
        secured.publish(to)
        secured.capture()

        secured.work(to)
        thread.join(20)
    assert refused
    assert secured.states() == ["waiting"]
    (failed,) = secured.records(Event.ROUTE_FAILED)
    assert failed.reason.startswith("ConnectionLost")


def test_our_own_certificate_that_cannot_be_read_rests_the_route(bench: ForwardBench, theirs: Party) -> None:
    to = route(free_port(), trust=theirs.pem)
    bench.publish(to)
    bench.capture()

    bench.work(to)
    assert bench.states() == ["waiting"]
    assert "cannot be used for DICOM over TLS" in bench.records(Event.ROUTE_FAILED)[0].reason


# ---- what only a person can decide


def test_what_waits_for_a_route_that_policy_no_longer_has_is_kept_and_said_until_it_is_back(
    bench: ForwardBench, pacs: Archive
) -> None:
    pacs.status_of = lambda _: 0xC000
    bench.publish(route(pacs))
    refused = bench.capture()
    bench.work(route(pacs))
    waiting = bench.capture()
    bench.publish()

    for _ in range(2):
        bench.queue.settle([])
    assert bench.states() == ["unknown-route"] * 2
    lost = bench.records(Event.ROUTE_FAILED)[1:]
    assert [record.reason for record in lost] == [
        "policy has no route of this name; 2 images wait on this host until a person decides"
    ]
    assert bench.queue.openable() == 2
    assert bench.queue.states(bench.host.store.in_force())[0].error == "policy has no route of this name"
    assert bench.forwards.holds(waiting.object_id)
    pacs.status_of = lambda _: 0
    bench.publish(route(pacs))
    with bench.running():
        pacs.wait_for(lambda: len(pacs.stored) == 2)
    assert pacs.stored == [refused.arrived, waiting.arrived]


def test_an_image_that_c_store_cannot_name_is_refused_and_that_is_said(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    bench.capture(sop_class_uid="")
    sent = bench.capture()

    assert bench.work(to) is None
    assert pacs.stored == [sent.arrived]
    assert bench.states() == ["refused", "delivered"]
    assert "SOP Class or Instance UID is missing" in bench.records(Event.ROUTE_FAILED)[0].reason


def test_an_object_that_is_not_in_the_spool_is_said_and_looked_for_again(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    gone, sent = bench.capture(), bench.capture()
    path = bench.spool.path(gone.object_id)
    away = path.rename(path.with_suffix(".away"))

    again = bench.work(to)
    assert pacs.stored == [sent.arrived]
    assert bench.records(Event.ROUTE_FAILED)[0].outcome is Outcome.SERIOUS_FAILURE
    assert again is not None
    away.rename(path)
    bench.host.clock.advance(IMAGE_PAUSES[0])
    bench.work(to)
    assert pacs.stored == [sent.arrived, gone.arrived]


def test_a_forwarding_key_that_is_gone_rests_the_route_and_makes_no_new_one(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    sent = bench.capture()
    key = bench.folder / "forwarding.key"
    away = key.rename(key.with_suffix(".away"))
    bench.restart()

    bench.work(to)
    assert bench.states() == ["waiting"]
    assert not key.exists()
    assert "it is gone" in bench.records(Event.ROUTE_FAILED)[0].reason
    away.rename(key)
    bench.host.clock.advance(ROUTE_PAUSES[0])
    bench.work(to)
    assert pacs.stored == [sent.arrived]
