"""What waits for an archive gets there in order and unchanged; and whatever goes wrong is said and never skipped."""

import random
import shutil
import socket
import ssl
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from control_plane.routes.connect import PeerConnection, connected
from control_plane.routes.overview import gaps
from control_plane.routes.people import RoutesForPeople
from control_plane.routes.queue import Delivered, NotDelivered
from control_plane.vault.checks import Report
from control_plane.vault.opening import Opened, VaultOpener, _happening
from shared import canonical
from shared.audit.events import Event, Outcome, Subject
from shared.audit.record import AuditRecord
from shared.errors import IntegrityFailure
from shared.identity import ObjectId
from shared.policy.routes import Peer, Via
from shared.routes.decide import IMAGE_PAUSES, MOST_BREAKS, ROUTE_PAUSES
from shared.routes.image import Image
from shared.routes.queue import RouteUnknown
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.fleet.processes import eventually
from tests.control_plane.routes.bench import RouteBench, Sent, route, tls_files
from tests.control_plane.vault.bench import NOTHING_READ
from tests.fakes.archive import CT, JPEG, MR, Archive, archive
from tests.fakes.ports import free_port
from tests.shared.dicom.test_requestor import answers


@pytest.fixture
def pacs() -> Iterator[Archive]:
    with archive() as running:
        yield running


# ---- what arrives


def test_everything_arrives_in_order_over_one_association(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    sent = [
        routes.store(random.Random(number).randbytes(20_000), sop_class_uid=CT if number % 3 else MR)
        for number in range(12)
    ]
    sent.append(routes.store(b"\xff\xd8" * 4000, transfer_syntax=JPEG))

    again = routes.work(to)
    assert again is None
    assert pacs.stored == [one.arrived for one in sent]
    pacs.wait_for(lambda: pacs.releases)
    assert (pacs.associations, pacs.releases, pacs.aborts) == (1, 1, 0)
    assert routes.states() == ["delivered"] * 13


def test_an_archive_gets_every_data_set_of_an_instance_whether_it_has_another_or_not(
    routes: RouteBench, pacs: Archive
) -> None:
    to = route(pacs)
    routes.publish(to)
    sent = [routes.store(dataset, uid="1.2.3.4") for dataset in (b"first", b"second", b"first")]

    routes.work(to)

    assert pacs.stored == [one.arrived for one in sent]
    assert routes.states() == ["delivered"] * 3
    assert len(routes.records(Event.IMAGE_CONFLICTS)) == 2  # the third conflicts with the second


def test_evidence_says_what_proved_it_and_what_did_not(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    sent = routes.store()

    routes.work(to)
    (row,) = routes.vault.rows("SELECT evidence, delivered FROM route_items")
    evidence = canonical.parse(row.evidence.encode(), "evidence")
    assert isinstance(evidence, dict)
    assert evidence["proof"] == "C-STORE response"
    assert evidence["status"] == "0000"
    assert evidence["committed"] is False
    assert evidence["address"] == f"127.0.0.1:{pacs.port}"
    (record,) = routes.records(Event.ROUTE_DELIVERED)
    assert record.outcome is Outcome.SUCCESS
    assert Subject("object", str(sent.sealed.object_id)) in record.what
    assert Subject("route", "pacs") in record.what
    assert "storage not committed" in record.reason
    assert sent.uid not in row.evidence


def test_every_opening_for_a_route_stands_in_the_log_in_the_centres_name(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    routes.store()

    routes.work(to)
    (opened,) = routes.records(Event.OBJECT_OPENED)
    assert [(who.kind, who.name) for who in opened.who] == [("service", "control-plane")]


def test_a_warning_is_delivered_and_the_remark_is_kept(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    pacs.status_of = lambda _: 0xB000
    routes.publish(to)
    routes.store()

    routes.work(to)
    (shown,) = routes.overview.status()
    assert routes.states() == ["delivered"]
    assert routes.whys() == ["B000: coercion of data elements"]
    assert (shown["delivered"], shown["delivered_with_remarks"]) == (1, 1)
    assert "B000" in routes.records(Event.ROUTE_DELIVERED)[0].reason


def test_what_its_record_does_not_name_is_not_queued(routes: RouteBench, pacs: Archive) -> None:
    routes.publish(route(pacs))

    routes.store(routes=())
    assert routes.states() == []


def test_the_same_object_twice_is_queued_once(routes: RouteBench, pacs: Archive) -> None:
    routes.publish(route(pacs))
    sent = routes.store()

    routes.vault.receive(sent.sealed, intake=routes.intake)
    assert routes.states() == ["waiting"]


def test_a_route_of_the_host_is_the_hosts(routes: RouteBench, pacs: Archive) -> None:
    """Who serves it is what policy said at capture, whatever it says now."""
    routes.publish(route(pacs, via=Via.HOST))
    routes.publish(route(pacs))

    routes.store(policy_version=1)
    routes.store(policy_version=2)
    assert len(routes.states()) == 1


def test_a_new_kind_of_image_gets_a_new_association(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    first = routes.store()
    later: list[Sent] = []

    class Arriving:
        """The MR image arrives while the first is being sent."""

        def describe(self, object_id: ObjectId, name: str) -> Image:
            return routes.images.describe(object_id, name)

        def open(self, image: Image, name: str, to: str) -> Iterator[bytes | memoryview]:
            if not later:
                later.append(routes.store(sop_class_uid=MR))
            return routes.images.open(image, name, to)

    routes.work(to, sender=routes.sender(images=Arriving()))
    assert pacs.stored == [first.arrived, later[0].arrived]
    assert pacs.associations == 2


# ---- refused images do not hold the others


def test_a_class_that_the_archive_does_not_accept_holds_only_itself(routes: RouteBench) -> None:
    with archive(sop_classes=[CT]) as pacs:
        to = route(pacs)
        routes.publish(to)
        sent = [routes.store(sop_class_uid=MR if number % 2 else CT) for number in range(6)]

        again = routes.work(to)
        assert pacs.stored == [one.arrived for one in sent[::2]]
    assert routes.states() == ["delivered", "refused"] * 3
    assert again == routes.vault.clock.now() + IMAGE_PAUSES[0]
    failed = routes.records(Event.ROUTE_FAILED)
    assert len(failed) == 3
    assert all("does not accept SOP class" in record.reason for record in failed)
    # Nothing is opened for an archive that does not take it.
    assert len(routes.records(Event.OBJECT_OPENED)) == 3


def test_a_refused_image_is_tried_again_and_recorded_only_when_its_reason_changes(
    routes: RouteBench, pacs: Archive
) -> None:
    to = route(pacs)
    routes.publish(to)
    sent, other = routes.store(), routes.store()
    pacs.status_of = lambda uid: 0xC123 if uid == sent.uid else 0

    for _ in range(4):
        routes.work(to)
        routes.vault.clock.advance(IMAGE_PAUSES[1])
    assert len(routes.records(Event.ROUTE_FAILED)) == 1
    pacs.status_of = lambda uid: 0xA900
    routes.work(to)
    assert len(routes.records(Event.ROUTE_FAILED)) == 2
    assert routes.states() == ["refused", "delivered"]
    assert pacs.stored == [other.arrived]
    pacs.status_of = lambda uid: 0
    routes.vault.clock.advance(IMAGE_PAUSES[1])
    routes.work(to)
    assert pacs.stored == [other.arrived, sent.arrived]


def test_people_can_have_it_tried_at_once(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    sent = routes.store()
    pacs.status_of = lambda uid: 0x0124
    routes.work(to)
    pacs.status_of = lambda uid: 0
    assert routes.work(to) is not None
    assert pacs.stored == []

    woken: list[bool] = []
    people = RoutesForPeople(routes.overview, routes.queue, lambda: woken.append(True), str)
    assert people.retry("pacs", "Ada") == 1
    assert woken == [True]
    routes.work(to)
    assert pacs.stored == [sent.arrived]
    (record,) = routes.records(Event.ROUTE_RETRIED)
    assert (record.who[0].name, record.reason) == ("Ada", "1 images")


def test_an_archive_that_lost_images_gets_them_again_behind_what_waits(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    lost, kept = routes.store(b"lost"), routes.store(b"kept")
    routes.work(to)
    pacs.stored.clear()
    new = routes.store(b"new")

    woken: list[bool] = []
    people = RoutesForPeople(routes.overview, routes.queue, lambda: woken.append(True), str)
    assert people.again("pacs", Delivered((lost.sealed.object_id,)), "Ada", "the archive was put back") == 1
    assert woken == [True]
    routes.work(to)
    assert pacs.stored == [new.arrived, lost.arrived]
    assert routes.states() == ["delivered"] * 3
    (record,) = routes.records(Event.ROUTE_RETRIED)
    assert (record.who[0].name, record.reason) == ("Ada", "1 images that were delivered are sent again")
    assert "put back" not in str(record)
    assert kept.arrived not in pacs.stored


def test_all_that_an_archive_was_given_in_a_time_is_sent_again(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    sent, times = list[Sent](), list[datetime]()
    for number in range(4):
        times.append(routes.vault.clock.now())
        sent.append(routes.store(b"%d" % number))
        routes.work(to)
        routes.vault.clock.advance(timedelta(hours=1))
    pacs.stored.clear()

    people = RoutesForPeople(routes.overview, routes.queue, lambda: None, str)
    assert people.again("pacs", Delivered(since=times[1], until=times[3]), "Ada", "put back") == 2
    routes.work(to)
    assert pacs.stored == [sent[1].arrived, sent[2].arrived]


def test_what_was_not_delivered_on_a_route_is_not_sent_again_and_nothing_is(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    there = routes.store(b"there")
    routes.work(to)
    waits = routes.store(b"waits")
    people = RoutesForPeople(routes.overview, routes.queue, lambda: None, str)

    with pytest.raises(NotDelivered) as refused:
        people.again("pacs", Delivered((there.sealed.object_id, waits.sealed.object_id)), "Ada", "both")
    assert refused.value.object_id == waits.sealed.object_id
    with pytest.raises(RouteUnknown):
        people.again("nowhere", Delivered((there.sealed.object_id,)), "Ada", "any")
    assert routes.states() == ["delivered", "waiting"]
    assert routes.records(Event.ROUTE_RETRIED) == []


def test_an_image_whose_attributes_were_not_evaluated_cannot_be_sent_and_that_is_said(
    routes: RouteBench, pacs: Archive
) -> None:
    to = route(pacs)
    routes.publish(to)
    routes.store(entry=NOTHING_READ)
    sent = routes.store()

    assert routes.work(to) is None
    assert routes.states() == ["refused", "delivered"]
    assert pacs.stored == [sent.arrived]
    (failed,) = routes.records(Event.ROUTE_FAILED)
    assert "not evaluated at capture" in failed.reason
    assert any("1 images did not get through: NotRoutable" in gap for gap in gaps(routes.overview.status()))


def test_a_full_archive_rests_the_route_and_then_another_image_is_first(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    large, small = routes.store(), routes.store()
    pacs.status_of = lambda uid: 0xA700 if uid == large.uid else 0

    again = routes.work(to)
    assert again == routes.vault.clock.now() + ROUTE_PAUSES[0]
    assert pacs.stored == []
    routes.vault.clock.advance(ROUTE_PAUSES[0])
    routes.work(to)
    assert pacs.stored == [small.arrived]


# ---- an archive that is away


def test_what_waits_for_an_archive_that_is_away_is_delivered_in_order_when_it_is_back(routes: RouteBench) -> None:
    to = route(free_port())
    routes.publish(to)
    sent = [routes.store() for _ in range(3)]

    pauses = []
    for _ in range(4):
        again = routes.work(to)
        pauses.append(again - routes.vault.clock.now())
        assert routes.work(to) == again
        routes.vault.clock.advance(pauses[-1])
    assert pauses == [ROUTE_PAUSES[0] * factor for factor in (1, 2, 4, 8)]
    assert routes.states() == ["waiting"] * 3
    # Nothing was opened for it, and the failure is told once and not at each try.
    assert routes.records(Event.OBJECT_OPENED) == []
    assert len(routes.records(Event.ROUTE_FAILED)) == 1
    (shown,) = routes.overview.status()
    assert shown["failing_since"] is not None
    assert shown["waiting"] == 3
    with archive(like=Archive(port=to.peer.port)) as pacs:
        routes.work(to)
        assert pacs.stored == [one.arrived for one in sent]
    (shown,) = routes.overview.status()
    assert (shown["waiting"], shown["error"], shown["failing_since"]) == (0, "", None)


def test_a_new_policy_is_tried_at_once(routes: RouteBench, pacs: Archive) -> None:
    routes.publish(route(free_port()))
    sent = routes.store()
    routes.work(route(free_port()))
    to = route(pacs)
    routes.publish(to)

    routes.queue.resume()
    routes.work(to)
    assert pacs.stored == [sent.arrived]


def test_a_clock_that_was_put_back_keeps_nothing_waiting_for_years(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    routes.vault.clock.advance(timedelta(days=400))
    sent = routes.store()
    routes.work(route(free_port()))
    routes.vault.clock.advance(timedelta(days=-400))

    routes.work(to)
    assert pacs.stored == [sent.arrived]


def test_an_image_that_breaks_the_association_each_time_is_put_aside(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    poison, other = routes.store(), routes.store()

    @contextmanager
    def breaking(peer: Peer) -> Iterator[PeerConnection]:
        with connected(peer, routes.identity) as connection:
            whole = connection.sendall

            def sendall(data: memoryview, /) -> None:
                whole(data)
                if poison.uid.encode() in bytes(data):
                    connection.break_off()

            connection.sendall = sendall  # type: ignore[method-assign]
            yield connection

    for _ in range(MOST_BREAKS):
        routes.work(to, sender=routes.sender(connect=breaking))
        assert pacs.stored == []
        routes.vault.clock.advance(ROUTE_PAUSES[1])
    routes.work(to, sender=routes.sender(connect=breaking))
    assert pacs.stored == [other.arrived]
    assert routes.states() == ["refused", "delivered"]


# ---- TLS


def test_images_go_out_over_mutual_tls_and_the_evidence_names_the_certificate(
    routes: RouteBench, tmp_path: Path
) -> None:
    files = tls_files(tmp_path / "pacs", TestCa(), routes.ca)
    with archive(tls=files.server_context()) as pacs:
        to = route(pacs, trust=files.trust)
        routes.publish(to)
        sent = routes.store()

        routes.work(to)
        assert pacs.stored == [sent.arrived]
    (record,) = routes.records(Event.ROUTE_DELIVERED)
    assert [what.kind for what in record.what] == ["object", "route", "certificate"]
    (shown,) = routes.overview.status()
    assert shown["tls"] is True


def test_trust_may_be_the_archives_own_certificate(routes: RouteBench, tmp_path: Path) -> None:
    files = tls_files(tmp_path / "pacs", TestCa(), routes.ca)
    with archive(tls=files.server_context()) as pacs:
        to = route(pacs, trust=files.certificate.read_text())
        routes.publish(to)
        sent = routes.store()

        routes.work(to)
        assert pacs.stored == [sent.arrived]


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_an_archive_with_a_wrong_certificate_is_sent_nothing(routes: RouteBench, tmp_path: Path, wrong: str) -> None:
    files = tls_files(tmp_path / "pacs", TestCa(), routes.ca)
    with archive(tls=files.server_context()) as pacs:
        trust = TestCa().pem.decode() if wrong == "authority" else files.trust
        to = route(pacs, trust=trust, server_name="pacs.example.org" if wrong == "name" else "")
        routes.publish(to)
        routes.store()

        routes.work(to)
    assert (pacs.associations, pacs.stored) == (0, [])
    assert routes.records(Event.OBJECT_OPENED) == []
    (failed,) = routes.records(Event.ROUTE_FAILED)
    assert failed.outcome is Outcome.SERIOUS_FAILURE
    assert "does not show the certificate that policy trusts" in failed.reason


def test_an_archive_that_does_not_trust_us_says_so(routes: RouteBench, tmp_path: Path) -> None:
    files, refused = tls_files(tmp_path / "pacs", TestCa(), TestCa()), list[str]()

    def serve(server: socket.socket) -> None:
        plain, _ = server.accept()
        with plain:
            try:
                files.server_context().wrap_socket(plain, server_side=True).close()
            except ssl.SSLCertVerificationError as exc:
                refused.append(exc.verify_message)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        to = route(server.getsockname()[1], trust=files.trust)
        routes.publish(to)
        routes.store()

        routes.work(to)
        thread.join(60)
    assert refused
    assert routes.states() == ["waiting"]
    assert len(routes.records(Event.ROUTE_FAILED)) == 1


# ---- what was altered does not go out


def test_an_image_altered_in_the_vault_is_not_sent(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    altered, other = routes.store(bytes(300_000)), routes.store()
    body = routes.vault.body(altered.sealed.object_id)
    body.write_bytes(body.read_bytes()[:-1] + b"?")

    assert routes.work(to) is None
    assert pacs.stored == [other.arrived]
    assert routes.states() == ["refused", "delivered"]
    (failed,) = routes.records(Event.ROUTE_FAILED)
    assert failed.outcome is Outcome.SERIOUS_FAILURE


class OpensUnproved(VaultOpener):
    """What must never be built in: an opener whose first pass is skipped, so that only the second one looks."""

    def open(self, object_id: ObjectId, person: str, reason: str, form: str, **kind: str) -> Opened:
        held = self._held(object_id)
        proved = self._prove_parts(held, Report())
        happening = _happening(object_id, person, {"reason": reason})
        pieces = self._release(proved, b"", happening)
        return Opened((), proved.record.dataset_bytes, proved.binding.transfer_syntax, pieces)


def unproved(routes: RouteBench) -> VaultOpener:
    vault = routes.vault
    return OpensUnproved(
        vault.database, vault.objects, vault.evidence, vault.keys, vault.index, vault.journal, vault.log,
        vault.conflicts, vault.losses,
    )  # fmt: skip


def test_an_image_altered_between_the_two_passes_is_broken_off_and_the_archive_keeps_nothing(
    routes: RouteBench, pacs: Archive
) -> None:
    to = route(pacs)
    routes.publish(to)
    altered, other = routes.store(random.Random(1).randbytes(3 << 20)), routes.store()
    body = routes.vault.body(altered.sealed.object_id)
    body.write_bytes(body.read_bytes()[:-1] + b"?")

    routes.work(to, sender=routes.sender(images=routes.images_with(unproved(routes))))
    assert pacs.stored == [other.arrived]
    pacs.wait_for(lambda: pacs.aborts == 1)
    assert routes.states() == ["refused", "delivered"]


def test_negative_control_without_the_abort_the_archive_would_keep_a_part(routes: RouteBench, pacs: Archive) -> None:
    """A source that swallows what does not hold sends a shorter image whole: so that is what the tests above see."""
    to = route(pacs)
    routes.publish(to)
    altered = routes.store(random.Random(1).randbytes((3 << 20) + 999))
    body = routes.vault.body(altered.sealed.object_id)
    body.write_bytes(body.read_bytes()[:-1] + b"?")
    source = routes.images_with(unproved(routes))

    class Swallowing:
        def describe(self, object_id: ObjectId, name: str) -> Image:
            return source.describe(object_id, name)

        def open(self, image: Image, name: str, to: str) -> Iterator[bytes | memoryview]:
            try:
                yield from source.open(image, name, to)
            except IntegrityFailure:
                return

    routes.work(to, sender=routes.sender(images=Swallowing()))
    ((uid, kept),) = pacs.stored
    assert uid == altered.uid
    assert len(kept) < len(altered.sealed.dataset)


def test_a_queue_that_somebody_wrote_into_sends_nothing_that_its_host_did_not_sign_for(
    routes: RouteBench, pacs: Archive
) -> None:
    to = route(pacs)
    routes.publish(to)
    routes.store(routes=("other",))
    routes.vault.sql("UPDATE route_items SET route = 'pacs', state = 'waiting'")

    routes.work(to)
    assert pacs.stored == []
    (failed,) = routes.records(Event.ROUTE_FAILED)
    assert "which its capture record does not name" in failed.reason


def test_the_reason_of_an_opening_is_sealed_and_says_where_the_image_went(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    routes.store()
    routes.work(to)

    rows = routes.vault.rows("SELECT public, sealed FROM audit_records WHERE sealed IS NOT NULL ORDER BY seq")
    row = next(row for row in rows if AuditRecord.parse(row.public).event is Event.OBJECT_OPENED)
    private = routes.vault.opened(row)
    assert private == {"reason": "route pacs to archive PACS", "form": "dataset"}


# ---- memory


@pytest.mark.skipif(shutil.which("storescp") is None, reason="storescp (Debian package dcmtk) is not installed")
def test_a_large_image_is_never_held(routes: RouteBench) -> None:
    port = free_port()
    to = route(port)
    routes.publish(to)
    peaks = []
    with subprocess.Popen(["storescp", "--ignore", "--bit-preserving", "-aet", "PACS", str(port)]) as storescp:
        try:
            assert eventually(lambda: answers(port))
            for size in (2 << 20, 2 << 20, 24 << 20):
                routes.store(bytes(size))
                tracemalloc.start()
                routes.work(to)
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        finally:
            storescp.terminate()
    assert peaks[2] < peaks[1] + (1 << 20)
    assert routes.states() == ["delivered"] * 3
