"""Routes as they run: woken by what is stored, each for itself, stopped in the middle and begun again."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from control_plane.policy.authoring import author
from control_plane.policy.publisher import FirstRing, RootReplaced
from control_plane.routes.connect import connected
from control_plane.routes.intake import RouteIntake
from control_plane.routes.service import RouteService
from shared.audit.events import Event
from shared.errors import Malformed, Refused
from shared.identity import ObjectId
from shared.policy.document import ORGANISATION
from shared.policy.rollout import EVERYBODY, Rings
from shared.policy.routes import Peer
from shared.routes.image import Image
from shared.routes.peer import PeerStream
from tests.control_plane.fleet.processes import eventually
from tests.control_plane.policy.centre import PERSON, POLICY
from tests.control_plane.routes.bench import RouteBench, route
from tests.fakes.archive import Archive, archive
from tests.fakes.ports import free_port


@pytest.fixture
def pacs() -> Iterator[Archive]:
    with archive() as running:
        yield running


@pytest.fixture
def running(routes: RouteBench) -> Iterator[RouteService]:
    service = routes.service
    routes.publisher.subscribe(lambda _head, _layers: service.policy_published())
    service.start()
    yield service
    service.stop()


def test_what_is_stored_is_sent_without_anybody_asking(
    routes: RouteBench, running: RouteService, pacs: Archive
) -> None:
    routes.publish(route(pacs))

    sent = [routes.store(), routes.store()]
    pacs.wait_for(lambda: len(pacs.stored) == 2)
    assert pacs.stored == [one.arrived for one in sent]
    assert eventually(lambda: routes.states() == ["delivered"] * 2)


def test_a_route_that_is_away_does_not_hold_another(routes: RouteBench, running: RouteService, pacs: Archive) -> None:
    routes.publish(route(free_port(), name="away"), route(pacs, name="here"))

    sent = routes.store(routes=("away", "here"))
    pacs.wait_for(lambda: pacs.stored)
    assert pacs.stored == [sent.arrived]
    assert eventually(lambda: routes.states() == ["waiting", "delivered"])


def test_an_image_for_a_route_that_the_policy_lost_waits_until_it_is_back(
    routes: RouteBench, running: RouteService, pacs: Archive
) -> None:
    routes.publish(route(free_port()))
    routes.publish()
    sent = routes.store()
    assert eventually(lambda: routes.states() == ["unknown-route"])
    (shown,) = routes.overview.status()
    assert (shown["unknown_route"], shown["peer"]) == (1, None)

    routes.publish(route(pacs))
    pacs.wait_for(lambda: pacs.stored)
    assert pacs.stored == [sent.arrived]


def test_a_try_by_the_old_policy_that_fails_late_does_not_hold_up_the_new_one(
    routes: RouteBench, pacs: Archive
) -> None:
    old, tried, fails = route(free_port()), threading.Event(), threading.Event()

    def late(peer: Peer) -> AbstractContextManager[PeerStream]:
        if peer == old.peer:
            tried.set()
            assert fails.wait(60)
        return connected(peer, routes.identity)

    routes.service = RouteService(routes.policy, routes.queue, lambda: routes.sender(connect=late), routes.vault.clock)
    routes.publish(old)
    sent = routes.store()
    routes.service.start()
    try:
        assert tried.wait(60)
        routes.publish(route(pacs))
        routes.service.policy_published()
        fails.set()

        pacs.wait_for(lambda: pacs.stored)
    finally:
        fails.set()
        routes.service.stop()
    assert pacs.stored == [sent.arrived]


def test_a_stop_in_the_middle_of_an_image_leaves_it_waiting_and_a_start_sends_it(
    routes: RouteBench, pacs: Archive
) -> None:
    to = route(pacs)
    routes.publish(to)
    sent = routes.store(bytes(2 << 20))
    stopped: list[bool] = []

    class Interrupted:
        def describe(self, object_id: ObjectId, name: str) -> Image:
            return routes.images.describe(object_id, name)

        def open(self, image: Image, name: str, to: str) -> Iterator[bytes]:
            for piece in routes.images.open(image, name, to):
                if not stopped:
                    assert routes.states() == ["sending"]
                    stopped.append(True)
                    sender.stop()
                yield piece

    sender = routes.sender(images=Interrupted())
    routes.work(to, sender=sender)
    assert pacs.stored == []
    assert routes.states() == ["waiting"]
    assert routes.records(Event.ROUTE_FAILED) == []
    routes.restart()
    routes.work(to)
    assert pacs.stored == [sent.arrived]


def test_what_a_kill_cut_off_is_sent_again_which_an_archive_takes_for_the_same(
    routes: RouteBench, pacs: Archive
) -> None:
    to = route(pacs)
    routes.publish(to)
    sent = routes.store()
    item = routes.queue.next("pacs")
    assert item is not None
    # As the rows stand when the process dies between the archive's answer and our commit.
    routes.queue.begin(item)
    routes.restart()
    assert routes.queue.next("pacs") is None

    routes.service.start()
    assert eventually(lambda: routes.states() == ["delivered"])
    routes.service.stop()
    assert pacs.stored == [sent.arrived]


def test_a_bug_in_one_attempt_does_not_lose_its_image(routes: RouteBench, pacs: Archive) -> None:
    to = route(pacs)
    routes.publish(to)
    sent, calls = routes.store(), []

    class Buggy:
        def describe(self, object_id: ObjectId, name: str) -> Image:
            return routes.images.describe(object_id, name)

        def open(self, image: Image, name: str, to: str) -> Iterator[bytes]:
            calls.append(True)
            if len(calls) == 1:
                raise KeyError("a bug")
            return routes.images.open(image, name, to)

    service = RouteService(routes.policy, routes.queue, lambda: routes.sender(images=Buggy()), routes.vault.clock)
    service.start()
    assert eventually(lambda: bool(calls) and routes.states() == ["waiting"])
    service.wake()
    pacs.wait_for(lambda: pacs.stored)
    service.stop()
    assert pacs.stored == [sent.arrived]


# ---- the policy that is acted on


def test_a_peer_that_somebody_wrote_into_the_database_is_not_sent_to(
    routes: RouteBench, pacs: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    with archive() as thief:
        routes.publish(route(pacs))
        (row,) = routes.vault.rows("SELECT policy FROM policy_metadata WHERE policy IS NOT NULL")
        altered = row.policy.replace(f'"port":{pacs.port}'.encode(), f'"port":{thief.port}'.encode())
        assert altered != row.policy
        routes.vault.sql("UPDATE policy_metadata SET policy = :policy WHERE policy IS NOT NULL", policy=altered)
        routes.restart()
        routes.store()

        routes.service.start()
        assert eventually(lambda: "routes.look-failed" in caplog.messages)
        routes.service.stop()
        with pytest.raises(Refused):
            routes.service.route("pacs")
        (shown,) = routes.overview.status()
        assert "the policy does not hold" in str(shown["error"])
        assert (pacs.associations, thief.associations) == (0, 0)


def test_a_root_that_somebody_replaced_is_not_believed(routes: RouteBench, pacs: Archive) -> None:
    routes.publish(route(pacs))
    other = RouteBench(routes.folder.parent / "other")
    (root,) = other.vault.rows("SELECT metadata_bytes FROM policy_metadata WHERE role = 'root'")
    routes.vault.sql("UPDATE policy_metadata SET metadata_bytes = :root WHERE role = 'root'", root=root.metadata_bytes)
    routes.restart()

    with pytest.raises(RootReplaced):
        routes.policy.newest()


def test_a_policy_that_has_expired_goes_on_naming_the_archive(routes: RouteBench, pacs: Archive) -> None:
    from datetime import timedelta

    routes.publish(route(pacs))
    routes.vault.clock.advance(timedelta(days=500))

    assert routes.service.route("pacs") == route(pacs)


def test_an_image_under_a_policy_that_cannot_be_proved_is_owed_by_the_centre(routes: RouteBench, pacs: Archive) -> None:
    routes.publish(route(pacs))

    routes.store(policy_version=7)
    assert routes.states() == ["waiting"]


def test_who_owes_it_is_asked_of_a_verified_policy_only(routes: RouteBench) -> None:
    class Fails:
        def version(self, version: int) -> None:
            raise Malformed("policy", "no")

    record = routes.host.seal(routes=("a", "b"))
    intake = RouteIntake(Fails(), routes.queue, lambda: None)  # type: ignore[arg-type]
    from shared.sealing.record import verify_record

    assert intake.owed(verify_record(record.record, routes.host.signer.public)) == ("a", "b")


def test_while_a_policy_is_rolled_out_routes_are_the_old_ones_and_those_that_it_alone_has(routes: RouteBench) -> None:
    routes.publish(route(11112, name="pacs"))
    elsewhere, fresh = route(11113, name="pacs"), route(11114, name="second")
    authored, parts = replace(POLICY, routes=(elsewhere, fresh)), routes.publisher.parts()
    signed = author(authored, parts, routes.centre.credential, routes.vault.clock, rings=True)
    routes.publisher.publish(signed, PERSON, FirstRing(Rings((routes.host.host_id,)), lambda _session, _version: None))

    def ports() -> list[int]:
        return [found.peer.port for name in ("pacs", "second") if (found := routes.service.route(name))]

    # Only canaries have images for the second one, and these wait for nothing.
    assert ports() == [11112, 11114]
    routes.publisher.choose(ORGANISATION, PERSON, lambda _session: Rings(percent=EVERYBODY))
    assert ports() == [11113, 11114]
    routes.publisher.choose(ORGANISATION, PERSON, lambda _session: Rings())
    assert ports() == [11112, 11114]
