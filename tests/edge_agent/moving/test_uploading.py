"""What was brought is delivered once somebody's word allows it; until then it holds up nothing and is not forgotten."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder, load_identity
from edge_agent.deliver.uploader import NOT_ALLOWED, Delivery, DeliveryUploader
from edge_agent.https import DoorUnavailable, HttpsDoor, verified_context
from edge_agent.moving.store import MovedFrom, MovedStore, read_moved
from edge_agent.moving.uploader import MovedAuditUploader
from edge_agent.parts import Bell
from edge_agent.spool.catalogue import Spooled, State
from shared.audit.events import Event, Subject
from shared.audit.record import AuditRecord
from shared.fleet.receipt import MEMBER
from shared.identity import ObjectId
from tests.edge_agent.moving.carrying import Carrier
from tests.fakes.centre import Centre
from tests.fakes.host import Host


@dataclass
class Moving:
    """A host that has taken in another one's export, with the parts that deliver it."""

    centre: Centre
    old: Carrier
    new: Carrier
    moved: MovedStore
    delivery: DeliveryUploader
    audit: MovedAuditUploader
    brought: list[ObjectId]
    now: list[float]
    spread: list[float]

    def allow(self) -> None:
        self.centre.moves.add((str(self.old.host_id), str(self.new.host_id)))

    def waits(self) -> tuple[MovedFrom, ...]:
        with self.new.host.database.transaction() as connection:
            return read_moved(connection)

    def deliver_all(self) -> list[Delivery]:
        outcomes = [self.delivery.deliver_oldest()]
        while outcomes[-1] is not Delivery.NOTHING:
            assert len(outcomes) < 10, "it tries the same ones again and again"
            outcomes.append(self.delivery.deliver_oldest())
        return outcomes


@pytest.fixture
def moving(centre: Centre, enrolled: AgentFolder, tmp_path: Path) -> Iterator[Moving]:
    identity = load_identity(enrolled)
    doors, context = identity.config.doors, verified_context(enrolled.ca, enrolled.tls)
    old = another_host(centre, tmp_path / "old")
    host = Host(
        tmp_path / "new", host_id=identity.config.host_id, signer=identity.signer, keys=centre.keys,
        receipts=centre.receipts,
    )  # fmt: skip
    new = Carrier(tmp_path / "new", centre.authority, host)
    brought = [old.capture(bytes([n])) for n in range(3)]
    old.export(tmp_path / "stick")
    new.take_in(tmp_path / "stick").verify_whole()
    moved, now, spread = new.moved, [0.0], [1.0]
    delivery_door, audit_door = (HttpsDoor(doors.host, doors.https_port, context, timeout_s=30) for _ in range(2))
    delivery = DeliveryUploader(
        delivery_door, host_id=host.host_id, spool=host.spool, journal=host.journal, database=host.database,
        receipts=host.captures.receipts, policy=host.store.in_force, log=host.log, bell=Bell(), brought=moved,
        reads={MEMBER}.__contains__, monotonic=lambda: now[0], spread=lambda: spread[0],
    )  # fmt: skip
    audit = MovedAuditUploader(
        audit_door, host_id=host.host_id, moved=moved, journal=host.journal, log=host.log, spread=lambda: spread[0]
    )
    yield Moving(centre, old, new, moved, delivery, audit, brought, now, spread)
    delivery_door.close()
    audit_door.close()


def another_host(centre: Centre, folder: Path) -> Carrier:
    carrier = Carrier.new(folder, centre.authority)
    centre.evidence[str(carrier.host_id)] = carrier.host.signer.public
    return carrier


# ---- objects


def test_with_somebody_s_word_everything_is_delivered_as_the_old_host_sealed_it(moving: Moving) -> None:
    moving.allow()
    sealed = moving.old.files()

    outcomes = moving.deliver_all()

    assert outcomes == [Delivery.DELIVERED] * 3 + [Delivery.NOTHING]
    assert moving.centre.objects == sealed
    assert all(moving.new.host.captures.receipts.holds(one) for one in moving.brought)
    assert [moving.moved.source_of(one) for one in moving.brought] == [None] * 3
    assert moving.new.host.events().count(Event.IMAGE_DELIVERED) == 3


def test_what_the_vault_lost_since_is_taken_in_again_from_the_same_export(moving: Moving, tmp_path: Path) -> None:
    moving.allow()
    sealed = moving.old.files()
    moving.deliver_all()
    lost = moving.brought[1]
    del moving.centre.objects[str(lost)]

    first = moving.new.take_in(tmp_path / "stick")
    moving.delivery.ask_about_doubted()
    again = moving.new.take_in(tmp_path / "stick")

    assert [(one.taken, one.held) for one in (first, again)] == [(0, 3), (1, 2)]
    assert moving.deliver_all() == [Delivery.DELIVERED, Delivery.NOTHING]
    assert moving.centre.objects == sealed


def test_what_is_in_doubt_is_taken_in_again_and_not_passed_over(moving: Moving, tmp_path: Path) -> None:
    moving.allow()
    moving.deliver_all()
    moving.new.host.captures.receipts.doubt([str(moving.brought[1])])
    moving.centre.objects.clear()

    assert moving.new.take_in(tmp_path / "stick").taken == 1
    assert moving.deliver_all() == [Delivery.DELIVERED, Delivery.NOTHING]
    assert list(moving.centre.objects) == [str(moving.brought[1])]


def test_without_it_the_new_host_s_own_images_do_not_wait_behind_what_was_brought(moving: Moving) -> None:
    own = moving.new.capture(b"\x09")

    outcomes = moving.deliver_all()

    assert outcomes == [Delivery.NOT_ALLOWED, Delivery.DELIVERED, Delivery.NOTHING]
    assert list(moving.centre.objects) == [str(own)]
    assert list(moving.new.files()) == [str(one) for one in moving.brought]
    assert list(moving.new.host.spool.rows(State.PUT_ASIDE)) == []


def asked_at(moving: Moving, until_s: int) -> list[float]:
    """Return when the centre was asked for what was brought, tried every five seconds."""
    times = []
    for now in range(int(moving.now[0]), until_s, 5):
        before, moving.now[0] = len(moving.centre.requests), float(now)
        moving.deliver_all()
        assert len(moving.centre.requests) - before <= 1, "it asked with everything"
        if len(moving.centre.requests) > before:
            times.append(moving.now[0])
    return times


def test_the_centre_is_asked_at_longer_and_longer_intervals_and_not_with_everything(moving: Moving) -> None:
    assert asked_at(moving, 2200) == [0, 60, 180, 420, 900, 1500, 2100]


def test_they_are_short_again_once_something_was_taken(moving: Moving) -> None:
    asked_at(moving, 1000)
    moving.allow()
    moving.now[0] = 1500
    moving.delivery.deliver_oldest()
    moving.centre.moves.clear()

    assert asked_at(moving, 1700) == [1500, 1560, 1680]


def test_hosts_that_are_refused_at_once_do_not_all_ask_again_at_once(moving: Moving) -> None:
    moving.spread[0] = 0.0

    assert asked_at(moving, 100) == [0, 30, 90]


def test_what_was_brought_is_not_gone_through_again_for_each_image_of_the_host_s_own(
    moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving.deliver_all()
    looked, oldest = list[int](), moving.new.host.spool.oldest

    def counted(after: int = 0) -> Spooled | None:
        looked.append(after)
        return oldest(after)

    monkeypatch.setattr(moving.new.host.spool, "oldest", counted)
    for n in range(5):
        moving.new.capture(bytes([n]))
    moving.deliver_all()

    assert len(moving.centre.objects) == 5
    assert len(looked) == 6
    assert looked.count(0) == 0


def test_what_a_person_lets_wait_again_goes_within_a_minute_past_what_was_brought(moving: Moving) -> None:
    spool = moving.new.host.spool
    (first, *_) = spool.everything()
    spool.put_aside(first, "a person is to look at it")
    own = moving.new.capture(b"\x09")
    moving.deliver_all()
    moving.allow()
    with moving.new.host.database.transaction() as connection:
        spool.catalogue.change(connection, first, State.WAITING)
    moving.now[0] = 60.1
    moving.deliver_all()

    assert list(moving.centre.objects)[:2] == [str(own), str(first.object_id)]


def test_a_word_that_comes_later_is_enough(moving: Moving) -> None:
    moving.deliver_all()
    assert moving.waits() == (MovedFrom(str(moving.old.host_id), 3, 5, NOT_ALLOWED),)

    moving.allow()
    moving.now[0] = 61
    moving.deliver_all()

    assert len(moving.centre.objects) == 3
    assert moving.waits() == (MovedFrom(str(moving.old.host_id), 0, 5, ""),)


def test_one_host_that_is_not_allowed_holds_up_no_other_that_is(moving: Moving, tmp_path: Path) -> None:
    other = another_host(moving.centre, tmp_path / "other")
    theirs = other.capture(b"\x07")
    other.export(tmp_path / "other stick")
    moving.new.take_in(tmp_path / "other stick")
    moving.moved.expect(theirs, other.host_id, other.certificate)
    moving.centre.moves.add((str(other.host_id), str(moving.new.host_id)))

    moving.deliver_all()

    assert list(moving.centre.objects) == [str(theirs)]


def test_what_the_vault_refuses_for_good_is_put_aside_as_ever(moving: Moving) -> None:
    moving.allow()
    moving.centre.vault_status = 422

    assert moving.delivery.deliver_oldest() is Delivery.REFUSED
    (aside,) = moving.new.host.spool.rows(State.PUT_ASIDE)
    assert aside.spooled.object_id == moving.brought[0]
    assert moving.waits()[0].objects == 3


def test_a_vault_that_forbids_the_host_itself_is_one_that_does_not_answer(moving: Moving) -> None:
    moving.allow()
    own = moving.new.capture(b"\x09")
    moving.deliver_all()
    assert str(own) in moving.centre.objects
    moving.new.capture(b"\x0a")
    moving.centre.vault_status = 403

    with pytest.raises(DoorUnavailable):
        moving.delivery.deliver_oldest()


# ---- records


class Slept:
    """A bell that nobody rings, which says how long it was slept by; the agent stops after the last."""

    def __init__(self, stop: threading.Event, times: int) -> None:
        self.slept: list[float | None] = []
        self._stop, self._times = stop, times

    def ring(self) -> None: ...

    def sleep(self, timeout_s: float | None = None) -> None:
        self.slept.append(timeout_s)
        if len(self.slept) == self._times:
            self._stop.set()


def slept(moving: Moving, times: int) -> list[float | None]:
    stop = threading.Event()
    bell = Slept(stop, times)
    moving.audit.bell = bell  # type: ignore[assignment]
    moving.audit.run(stop)
    return bell.slept


def test_records_that_are_not_allowed_are_sent_at_longer_and_longer_intervals_too(moving: Moving) -> None:
    assert slept(moving, 6) == [60, 120, 240, 480, 600, 600]


def test_with_nothing_left_to_send_it_sleeps_for_good(moving: Moving) -> None:
    moving.allow()

    assert slept(moving, 1) == [None]


def chain_of(moving: Moving, host: Carrier) -> list[int]:
    return [AuditRecord.parse(record.public).seq for record in moving.centre.brought.get(str(host.host_id), [])]


def test_records_arrive_in_the_chain_of_the_host_that_wrote_them(moving: Moving) -> None:
    moving.allow()

    assert moving.audit.send_all()
    assert chain_of(moving, moving.old) == [1, 2, 3, 4, 5]
    assert moving.moved.records_waiting() == 0
    assert list(moving.moved.batches()) == []


def test_without_somebody_s_word_they_are_kept_and_it_is_said_why(moving: Moving) -> None:
    assert not moving.audit.send_all()
    assert moving.waits()[0].records == 5
    assert moving.waits()[0].why == NOT_ALLOWED
    assert Event.AUDIT_REFUSED not in moving.new.host.events()

    moving.new.host.restart()
    moving.allow()
    assert moving.new.moved.records_waiting() == 5


def test_a_centre_that_does_not_answer_loses_none(moving: Moving) -> None:
    moving.allow()
    moving.centre.stop()
    try:
        with pytest.raises(DoorUnavailable):
            moving.audit.send_all()
    finally:
        moving.centre.start()
    assert moving.moved.records_waiting() == 5


def test_a_centre_that_confirms_less_than_it_took_is_not_believed(
    moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving.centre, "take_batch", lambda *_: (200, b'{"held": 3}'))

    with pytest.raises(DoorUnavailable):
        moving.audit.send_all()
    assert moving.moved.records_waiting() == 5


def test_a_bad_answer_about_one_host_holds_up_no_other(
    moving: Moving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = another_host(moving.centre, tmp_path / "other")
    other.export(tmp_path / "other stick")
    moving.new.take_in(tmp_path / "other stick")
    moving.allow()
    moving.centre.moves.add((str(other.host_id), str(moving.new.host_id)))
    first, second = moving.moved.hosts_with_batches()
    take = moving.centre.take_batch

    def silent_about_the_first(host: str, data: bytes) -> tuple[int, bytes]:
        return (200, b"{}") if str(first).encode() in data else take(host, data)

    monkeypatch.setattr(moving.centre, "take_batch", silent_about_the_first)
    with pytest.raises(DoorUnavailable):
        moving.audit.send_all()

    assert moving.moved.hosts_with_batches() == (first,)
    assert list(moving.centre.brought) == [str(second)]


def test_a_refusal_is_recorded_once_with_the_host_and_holds_up_no_other(
    moving: Moving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = another_host(moving.centre, tmp_path / "other")
    other.export(tmp_path / "other stick")
    moving.new.take_in(tmp_path / "other stick")
    moving.allow()
    moving.centre.moves.add((str(other.host_id), str(moving.new.host_id)))
    take = moving.centre.take_batch

    def forked(host: str, data: bytes) -> tuple[int, bytes]:
        return (422, b'{"title": "Audit forked"}') if str(moving.old.host_id).encode() in data else take(host, data)

    monkeypatch.setattr(moving.centre, "take_batch", forked)
    for _ in range(3):
        assert not moving.audit.send_all()

    refusals = [record for record in moving.new.host.records() if record.event is Event.AUDIT_REFUSED]
    assert [record.what for record in refusals] == [(Subject("host", str(moving.old.host_id)),)]
    assert chain_of(moving, other) == [1, 2]
    assert "Audit forked" in moving.waits()[0].why


def test_a_gap_at_the_centre_is_said_and_nothing_is_dropped(moving: Moving, tmp_path: Path) -> None:
    moving.allow()
    moving.audit.send_all()
    moving.old.host.journal.acknowledge(5)
    moving.old.export(tmp_path / "second stick")
    moving.new.take_in(tmp_path / "second stick")
    del moving.centre.brought[str(moving.old.host_id)][2:]

    assert not moving.audit.send_all()
    assert moving.moved.records_waiting() == 2
    assert "audit gap" in moving.waits()[0].why


def test_two_exports_of_one_host_count_each_record_once_and_arrive_once(moving: Moving, tmp_path: Path) -> None:
    moving.old.capture(b"\x05")
    moving.old.export(tmp_path / "second stick")
    moving.new.take_in(tmp_path / "second stick")
    assert moving.moved.records_waiting() == 8

    moving.allow()
    assert moving.audit.send_all()
    assert chain_of(moving, moving.old) == list(range(1, 9))
