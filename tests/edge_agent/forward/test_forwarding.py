"""What waits on a host for an archive gets there in order and unchanged, and then nothing here opens it any more."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from edge_agent.forward.key import ForwardingKeyUnusable
from provisioning.demo.processes import wait_until
from shared import canonical
from shared.audit.events import Event, Outcome, Subject
from shared.fleet.state import RouteState
from shared.policy.routes import Peer, Via
from shared.routes.peer import PeerStream
from tests.edge_agent.forward.bench import PATIENCE, ForwardBench, pixels, route
from tests.edge_agent.forward.killed import ROOT, keep
from tests.fakes.archive import CT, JPEG, MR, Archive, archive
from tests.fakes.ports import free_port


def test_everything_arrives_in_order_over_one_association(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    sent = [bench.capture(pixels(20_000, number), sop_class_uid=CT if number % 3 else MR) for number in range(12)]
    sent.append(bench.capture(b"\xff\xd8" * 4000, transfer_syntax=JPEG))
    assert bench.queue.openable() == 13

    again = bench.work(to)
    assert again is None
    assert pacs.stored == [one.arrived for one in sent]
    assert (pacs.associations, pacs.aborts) == (1, 0)
    assert bench.states() == ["delivered"] * 13
    assert bench.queue.openable() == 0


def test_evidence_says_what_proved_it_and_what_did_not(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    sent = bench.capture()

    bench.work(to)
    ((evidence,),) = bench.rows("SELECT evidence FROM forward")
    says = canonical.parse(evidence.encode(), "evidence")
    assert isinstance(says, dict)
    assert (says["proof"], says["status"], says["committed"]) == ("C-STORE response", "0000", False)
    assert says["address"] == f"127.0.0.1:{pacs.port}"
    (record,) = bench.records(Event.ROUTE_DELIVERED)
    assert record.outcome is Outcome.SUCCESS
    assert Subject("object", str(sent.object_id)) in record.what
    assert Subject("route", "pacs") in record.what
    assert (record.who[0].kind, record.who[0].name) == ("host", str(bench.host.host_id))
    assert sent.uid not in evidence


def test_a_warning_is_delivered_and_the_remark_is_kept(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    pacs.status_of = lambda _: 0xB000
    bench.publish(to)
    bench.capture()

    bench.work(to)
    assert (bench.states(), bench.whys()) == (["delivered"], ["B000: coercion of data elements"])
    assert "B000" in bench.records(Event.ROUTE_DELIVERED)[0].reason
    assert bench.queue.openable() == 0


# ---- what is owed


@pytest.mark.parametrize("routes", [(), ("central",)])
def test_an_image_of_no_route_of_the_hosts_gets_no_second_wrap_and_no_key_is_made_for_it(
    bench: ForwardBench, pacs: Archive, routes: tuple[str, ...]
) -> None:
    bench.publish(route(pacs), route(pacs, name="central", via=Via.CENTRE))

    sent = bench.capture(routes=routes)
    assert (bench.states(), bench.queue.openable()) == ([], 0)
    assert not bench.forwards.holds(sent.object_id)
    assert not (bench.folder / "forwarding.key").exists()


def test_the_key_is_made_for_its_owner_only_and_outlives_a_restart(bench: ForwardBench, pacs: Archive) -> None:
    to = route(pacs)
    bench.publish(to)
    sent = bench.capture()
    key = bench.folder / "forwarding.key"
    assert key.stat().st_mode & 0o777 == 0o600

    bench.restart()
    bench.work(to)
    assert pacs.stored == [sent.arrived]


def test_a_key_that_cannot_be_read_is_never_replaced_and_the_image_is_refused(
    bench: ForwardBench, pacs: Archive
) -> None:
    bench.publish(route(pacs))
    key = bench.folder / "forwarding.key"
    key.write_bytes(b"half a key")

    with pytest.raises(ForwardingKeyUnusable):
        bench.capture()
    assert key.read_bytes() == b"half a key"
    assert bench.host.events() == []


def test_a_capture_that_is_not_recorded_owes_nothing(bench: ForwardBench, pacs: Archive) -> None:
    bench.publish(route(pacs))
    sent = bench.capture(add=False)
    binding = bench.spool.parts(sent.object_id).binding
    policy = bench.host.store.in_force()
    assert policy is not None
    forward = bench.forwards.prepare(policy, ("pacs",), binding, bytes(32), sop_class_uid=CT, sop_instance_uid="1.2")
    assert forward is not None

    with suppress(ZeroDivisionError), bench.host.database.transaction() as connection:
        bench.forwards.add(connection, forward)
        raise ZeroDivisionError
    assert (bench.states(), bench.queue.openable()) == ([], 0)


def test_an_object_is_kept_until_each_of_its_archives_has_it(bench: ForwardBench, pacs: Archive) -> None:
    with archive() as second:
        first_route, second_route = route(pacs), route(second, name="second")
        bench.publish(first_route, second_route)
        sent = bench.capture(routes=("pacs", "second"))

        bench.work(first_route)
        assert bench.forwards.holds(sent.object_id)
        assert bench.queue.openable() == 1
        assert not bench.let_go.is_set()
        bench.work(second_route)
        assert not bench.forwards.holds(sent.object_id)
        assert bench.queue.openable() == 0
        assert bench.let_go.is_set()
        assert pacs.stored == second.stored == [sent.arrived]


def test_what_was_wrapped_for_the_host_is_the_hosts_to_send_whatever_policy_says_later(
    bench: ForwardBench, pacs: Archive
) -> None:
    bench.publish(route(pacs))
    sent = bench.capture()
    bench.publish(route(pacs, via=Via.CENTRE))

    with bench.running():
        assert bench.let_go.wait(30)
    assert pacs.stored == [sent.arrived]


# ---- the part


def test_the_running_part_sends_what_is_added(bench: ForwardBench, pacs: Archive) -> None:
    bench.publish(route(pacs))
    with bench.running():
        sent = bench.capture()

        assert bench.let_go.wait(30)
    assert pacs.stored == [sent.arrived]
    assert bench.queue.openable() == 0


def test_an_archive_that_hangs_holds_up_no_other_route(bench: ForwardBench, pacs: Archive) -> None:
    release = threading.Event()
    with archive() as hung:
        hung.status_of = lambda _: 0 if release.wait(120) else 0xA700
        bench.publish(route(pacs), route(hung, name="hung"))
        waits, goes = bench.capture(routes=("hung",)), bench.capture()
        with bench.running():
            assert bench.let_go.wait(30)
            assert pacs.stored == [goes.arrived]
            assert bench.forwards.holds(waits.object_id)
            bench.let_go.clear()
            release.set()
            assert bench.let_go.wait(30)
        assert hung.stored == [waits.arrived]


def test_a_new_policy_is_tried_at_once(bench: ForwardBench, pacs: Archive) -> None:
    bench.publish(route(free_port()))
    sent = bench.capture()
    bench.work(route(free_port()))
    before = bench.queue.pause("pacs")
    assert before.until is not None
    with bench.running():
        # Its start is a try of its own, which must not end after the new policy was taken up.
        while bench.queue.pause("pacs").failures in (0, before.failures):
            assert not bench.let_go.wait(0.01)
        bench.publish(route(pacs))
        bench.bell.ring()

        assert bench.let_go.wait(30)
    assert pacs.stored == [sent.arrived]


def test_a_try_by_the_old_policy_that_fails_late_does_not_hold_up_the_new_one(
    bench: ForwardBench, pacs: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, tried, fails = route(free_port()), threading.Event(), threading.Event()
    connect = bench.connect

    def late(peer: Peer) -> AbstractContextManager[PeerStream]:
        if peer == old.peer:
            tried.set()
            assert fails.wait(60)
        return connect(peer)

    monkeypatch.setattr(bench, "connect", late)
    bench.publish(old)
    sent = bench.capture()
    with bench.running() as forwarder:
        assert tried.wait(60)
        bench.publish(route(pacs))
        bench.bell.ring()
        assert wait_until(lambda: forwarder._followed == bench.version, 60) is not None
        fails.set()

        assert bench.let_go.wait(60)
    assert pacs.stored == [sent.arrived]


def test_what_another_process_let_go_of_is_passed_on_within_a_minute(bench: ForwardBench) -> None:
    bench.publish()
    seconds = [0.0]
    with bench.running(monotonic=lambda: seconds[0]):
        bench.bell.ring()
        assert not bench.let_go.wait(0.2)
        seconds[0] = 61.0
        bench.bell.ring()

        assert bench.let_go.wait(30)


def test_a_stop_while_connecting_does_not_wait_for_an_archive_that_says_nothing(bench: ForwardBench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = route(silent.getsockname()[1])

        @contextmanager
        def connect(peer: Peer) -> Iterator[PeerStream]:
            with bench.connect(peer) as connection:
                sender.stop()
                yield connection

        bench.publish(to)
        bench.capture()
        sender = bench.sender(connect=connect)

        start = monotonic()
        assert sender.work(to) is None
        assert monotonic() - start < PATIENCE.associate_s / 2
    assert bench.states() == ["waiting"]
    assert bench.records(Event.ROUTE_FAILED) == []


def test_a_stop_in_the_middle_puts_the_image_back(bench: ForwardBench, pacs: Archive) -> None:
    arrived, release = threading.Event(), threading.Event()

    def hold(_: str) -> int:
        arrived.set()
        release.wait(30)
        return 0

    pacs.status_of = hold
    bench.publish(route(pacs))
    with bench.running():
        bench.capture()
        assert arrived.wait(30)
    release.set()
    assert bench.states() == ["waiting"]
    assert bench.records(Event.ROUTE_FAILED) == []


def test_kill_9_in_the_middle_loses_nothing(bench: ForwardBench, pacs: Archive) -> None:
    arrived, release = threading.Event(), threading.Event()

    def hold(_: str) -> int:
        arrived.set()
        release.wait(30)
        return 0

    pacs.status_of = hold
    bench.publish(route(pacs))
    first, second = bench.capture(), bench.capture()
    keep(bench)
    with subprocess.Popen([sys.executable, "-m", "tests.edge_agent.forward.killed", bench.folder], cwd=ROOT) as child:
        assert arrived.wait(60)
        os.kill(child.pid, signal.SIGKILL)
    assert bench.states() == ["sending", "waiting"]
    assert bench.queue.openable() == 2
    release.set()
    pacs.wait_for(lambda: pacs.stored)  # of the association that was cut off
    pacs.stored.clear()

    bench.restart()
    with bench.running():
        pacs.wait_for(lambda: second.uid in pacs.uids())
        while bench.queue.openable():
            assert bench.let_go.wait(30)
            bench.let_go.clear()
    assert pacs.stored == [first.arrived, second.arrived]
    assert bench.states() == ["delivered"] * 2


# ---- the status


def test_status_counts_what_can_be_opened_and_says_what_fails(bench: ForwardBench, tmp_path: Path) -> None:
    to = route(free_port())
    bench.publish(to, route(1, name="idle"), route(1, name="central", via=Via.CENTRE))
    bench.capture()
    bench.capture()

    bench.work(to)
    assert bench.queue.openable() == 2
    idle, pacs = bench.queue.states(bench.host.store.in_force())
    assert idle == RouteState("idle", 0, "")
    assert (pacs.name, pacs.waiting) == ("pacs", 2)
    assert "cannot be reached" in pacs.error
