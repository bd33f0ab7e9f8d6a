"""Delivery: oldest first, and nothing leaves the spool without the vault's receipt."""

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.backoff import LONGEST_S, delay_s
from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import DatabaseUnavailable
from edge_agent.deliver import uploader as uploading
from edge_agent.deliver.receipts import Receipts
from edge_agent.deliver.uploader import Delivery, DeliveryUploader, UnreadableReceipt
from edge_agent.https import DoorRefused, DoorUnavailable, HttpsDoor, verified_context
from edge_agent.moving.store import MovedStore
from edge_agent.parts import Bell
from edge_agent.spool.catalogue import State
from shared.audit.events import Action, Event, Happening, Outcome
from shared.fleet.receipt import MEMBER, Receipt
from shared.identity import ObjectId
from shared.signing import SoftwareSigner, WrongSigner
from tests.fakes.centre import Centre, open_object
from tests.fakes.host import Host
from tests.threads import in_thread


@pytest.fixture
def host(centre: Centre, enrolled: AgentFolder, tmp_path: Path) -> Host:
    identity = load_identity(enrolled)
    host = Host(
        tmp_path / "host",
        host_id=identity.config.host_id,
        signer=identity.signer,
        keys=centre.keys,
        receipts=centre.receipts,
    )
    host.put_in_force()
    return host


@pytest.fixture
def door(enrolled: AgentFolder) -> Iterator[HttpsDoor]:
    doors = load_identity(enrolled).config.doors
    door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    yield door
    door.close()


def uploader(host: Host, door: HttpsDoor, **options: Any) -> DeliveryUploader:
    return DeliveryUploader(
        door,
        host_id=host.host_id,
        spool=host.spool,
        journal=host.journal,
        database=host.database,
        receipts=options.pop("receipts", None) or Receipts(host.database),
        policy=host.store.in_force,
        log=host.log,
        bell=Bell(),
        brought=MovedStore(host.database),
        reads={MEMBER}.__contains__,
        **options,
    )


def test_the_oldest_goes_first_and_leaves_the_spool_with_its_receipt(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    ids = [str(host.capture(bytes([n]), uid=f"1.2.{n}")) for n in range(3)]
    deliver = uploader(host, door)
    outcomes = [deliver.deliver_oldest() for _ in range(4)]

    assert outcomes == [Delivery.DELIVERED] * 3 + [Delivery.NOTHING]
    assert list(centre.objects) == ids
    assert centre.open(ids[2])[0] == b"\x02"
    assert host.events()[3:] == [Event.IMAGE_DELIVERED] * 3
    assert all(Receipts(host.database).holds(ObjectId.parse(name)) for name in ids)


def test_a_large_object_goes_through_whole(centre: Centre, host: Host, door: HttpsDoor) -> None:
    dataset = bytes(range(256)) * 20_000
    object_id = str(host.capture(dataset))
    uploader(host, door).deliver_oldest()

    assert centre.open(object_id)[0] == dataset


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503, 507])
def test_what_is_not_the_object_s_fault_keeps_it_waiting(
    centre: Centre, host: Host, door: HttpsDoor, status: int
) -> None:
    host.capture()
    centre.vault_status = status

    with pytest.raises(DoorUnavailable):
        uploader(host, door).deliver_oldest()
    assert host.spool.waiting() == 1
    assert host.events() == [Event.IMAGE_CAPTURED]


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_an_object_that_the_vault_refuses_is_put_aside_recorded_and_blocks_nobody(
    centre: Centre, host: Host, door: HttpsDoor, status: int
) -> None:
    refused = str(host.capture(b"\x01", uid="1.2.1"))
    taken = str(host.capture(b"\x02", uid="1.2.2"))
    deliver = uploader(host, door)
    centre.vault_status = status
    first = deliver.deliver_oldest()
    centre.vault_status = 0
    second = deliver.deliver_oldest()

    assert (first, second) == (Delivery.REFUSED, Delivery.DELIVERED)
    assert list(centre.objects) == [taken]
    (aside,) = host.spool.rows(State.PUT_ASIDE)
    assert (str(aside.spooled.object_id), f"status {status}" in aside.why) == (refused, True)
    assert host.spool.amiss() == 1
    with host.spool.open(aside.spooled) as file:
        assert open_object(file.read(), host.signer.public, host.keys)[0] == b"\x01"
    assert host.events()[2:] == [Event.DELIVERY_REFUSED, Event.IMAGE_DELIVERED]


def test_a_forged_receipt_lets_nothing_go_and_is_recorded_once(centre: Centre, host: Host, door: HttpsDoor) -> None:
    host.capture()
    centre.receipt_signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    deliver = uploader(host, door)
    for _ in range(3):
        with pytest.raises(WrongSigner):
            deliver.deliver_oldest()

    assert host.spool.waiting() == 1
    assert host.events() == [Event.IMAGE_CAPTURED, Event.DELIVERY_REFUSED]
    centre.receipt_signer = None
    assert deliver.deliver_oldest() is Delivery.DELIVERED


def test_an_answer_that_is_no_receipt_lets_nothing_go(centre: Centre, host: Host, door: HttpsDoor) -> None:
    host.capture()
    centre.vault_status = 200

    with pytest.raises(UnreadableReceipt):
        uploader(host, door).deliver_oldest()
    assert host.spool.waiting() == 1


@pytest.mark.parametrize("size", [100, 2 << 20], ids=["in a segment", "a file of its own"])
def test_after_a_stop_between_receipt_and_removal_nothing_is_sent_again(
    centre: Centre, host: Host, door: HttpsDoor, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    host.capture(bytes(size))

    def cut(spooled: object) -> None:
        raise DatabaseUnavailable("the power is gone")

    monkeypatch.setattr(host.spool, "let_go", cut)
    with pytest.raises(DatabaseUnavailable):
        uploader(host, door).deliver_oldest()
    host.restart()
    host.recover()
    requests = list(centre.requests)
    outcome = uploader(host, door).deliver_oldest()

    assert (outcome, host.left_behind()) == (Delivery.NOTHING, [])
    assert centre.requests == requests
    assert host.events() == [Event.IMAGE_CAPTURED, Event.IMAGE_DELIVERED]


def test_an_object_whose_receipt_is_here_already_just_leaves(centre: Centre, host: Host, door: HttpsDoor) -> None:
    object_id = host.capture()
    Receipts(host.database).keep(Receipt(object_id, bytes(32), host.clock.now()), b"signed")
    requests = list(centre.requests)

    assert uploader(host, door).deliver_oldest() is Delivery.DELIVERED
    assert (host.left_behind(), centre.requests) == ([], requests)


# ---- a vault that was put back to an older state


def test_what_a_restored_vault_lost_is_captured_again_when_it_is_sent_again(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    deliver = uploader(host, door)
    kept = host.capture(b"\x01", uid="1.2.1")
    deliver.deliver_oldest()
    backup = host.journal.head().seq
    lost, later = host.capture(b"\x02", uid="1.2.2"), host.capture(b"\x03", uid="1.2.3")
    for _ in range(2):
        deliver.deliver_oldest()
    del centre.objects[str(lost)]
    host.captures.doubt_after(backup)
    doubted = [host.captures.receipts.holds(name) for name in (kept, lost, later)]

    assert [deliver.ask_about_doubted() for _ in range(2)] == [True, False]
    assert doubted == [True, False, False]
    assert [host.captures.receipts.holds(name) for name in (kept, lost, later)] == [True, False, True]
    (record,) = [record for record in host.records() if record.event is Event.DELIVERY_REFUSED]
    assert [what.name for what in record.what] == [str(lost)]
    assert [host.capture(b"\x01", uid="1.2.1"), host.capture(b"\x03", uid="1.2.3")] == [kept, later]
    again = host.capture(b"\x02", uid="1.2.2")
    assert deliver.deliver_oldest() is Delivery.DELIVERED
    assert centre.open(str(again))[0] == b"\x02"


def test_control_without_a_doubt_what_it_lost_is_answered_by_nothing(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    deliver, lost = uploader(host, door), host.capture()
    deliver.deliver_oldest()
    centre.objects.clear()

    assert host.capture() == lost
    assert deliver.deliver_oldest() is Delivery.NOTHING


def test_what_is_sent_again_while_it_is_in_doubt_is_kept(centre: Centre, host: Host, door: HttpsDoor) -> None:
    deliver, doubted = uploader(host, door), host.capture()
    deliver.deliver_oldest()
    host.captures.doubt_after(0)

    assert host.capture() != doubted
    assert host.spool.waiting() == 1


def test_where_the_records_of_what_it_lost_are_let_go_every_receipt_is_in_doubt(host: Host, door: HttpsDoor) -> None:
    deliver, early = uploader(host, door), host.capture()
    deliver.deliver_oldest()
    held = host.journal.head().seq - 1
    vars(host.journal)["_most_confirmed"] = 2
    for _ in range(3):
        host.journal.acknowledge(host.journal.record(Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)))
    assert held + 1 < host.journal.oldest()
    before = host.captures.receipts.holds(early)
    host.captures.doubt_after(held)

    assert (before, host.captures.receipts.holds(early)) == (True, False)


def test_what_is_still_here_for_an_archive_stays_while_in_doubt_and_is_delivered_again(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    lost = host.capture()
    owed = {lost}
    deliver = uploader(host, door, is_owed=lambda name: name in owed)
    deliver.deliver_oldest()
    centre.objects.clear()
    host.captures.doubt_after(0)
    owed.clear()
    deliver.let_go_of_what_is_owed_no_more()
    held = host.spool.holds(lost)
    deliver.ask_about_doubted()

    assert held
    assert deliver.deliver_oldest() is Delivery.DELIVERED
    assert list(centre.objects) == [str(lost)]
    assert not host.spool.holds(lost)


def test_a_forged_receipt_ends_no_doubt_and_is_recorded_once(centre: Centre, host: Host, door: HttpsDoor) -> None:
    deliver, doubted = uploader(host, door), host.capture()
    deliver.deliver_oldest()
    host.captures.doubt_after(0)
    centre.receipt_signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))

    assert [deliver.ask_about_doubted() for _ in range(2)] == [False, False]
    assert not host.captures.receipts.holds(doubted)
    assert host.events().count(Event.DELIVERY_REFUSED) == 1


def test_what_is_no_receipt_holds_up_no_other_doubt(centre: Centre, host: Host, door: HttpsDoor) -> None:
    deliver = uploader(host, door)
    objects = [host.capture(bytes([n]), uid=f"1.2.{n}") for n in range(3)]
    for _ in objects:
        deliver.deliver_oldest()
    host.captures.doubt_after(0)
    (first, _), *_ = host.captures.receipts.doubted(3)
    good = centre.receipt_of
    vars(centre)["receipt_of"] = lambda name: (200, b"no receipt") if name == str(first) else good(name)
    woken = list[bool]()
    host.captures.receipts.on_receipt(lambda: woken.append(True))
    vars(deliver)["_receipts"] = host.captures.receipts

    assert [deliver.ask_about_doubted() for _ in range(2)] == [True, False]
    assert [name for name in objects if not host.captures.receipts.holds(name)] == [first]
    assert woken == [True]


def _with_doubted(host: Host, deliver: DeliveryUploader, count: int) -> list[str]:
    """Return the ids of objects that were delivered and are in doubt, in the order in which they are asked about."""
    for number in range(count):
        host.capture(bytes([number]), uid=f"1.2.{number}")
        deliver.deliver_oldest()
    host.captures.doubt_after(0)
    return [str(name) for name, _ in host.captures.receipts.doubted(count)]


def test_however_many_are_answered_by_no_receipt_the_others_are_asked_about_too(
    centre: Centre, host: Host, door: HttpsDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "_ASKED_AT_ONCE", 2)
    deliver = uploader(host, door)
    *bad, last = _with_doubted(host, deliver, 5)
    good, asked = centre.receipt_of, list[str]()

    def answer(name: str) -> tuple[int, bytes]:
        asked.append(name)
        return (200, b"no receipt") if name in bad else good(name)

    vars(centre)["receipt_of"] = answer
    assert [deliver.ask_about_doubted() for _ in range(4)] == [False, False, True, False]

    assert host.captures.receipts.holds(ObjectId.parse(last))
    assert asked == [*bad, last, *bad[:3]]


def test_one_for_which_the_vault_fails_is_not_the_only_one_that_is_asked_about(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    deliver = uploader(host, door)
    first, *others = _with_doubted(host, deliver, 3)
    good = centre.receipt_of
    vars(centre)["receipt_of"] = lambda name: (503, b"{}") if name == first else good(name)

    for _ in range(2):
        with pytest.raises(DoorUnavailable):
            deliver.ask_about_doubted()
    assert [name for name, _ in host.captures.receipts.doubted(3)] == [ObjectId.parse(first)]
    assert all(host.captures.receipts.holds(ObjectId.parse(name)) for name in others)


@pytest.mark.parametrize(
    "answer, error", [((404, b"{}"), DoorUnavailable), ((405, b"{}"), DoorRefused)], ids=["no such path", "no GET"]
)
def test_an_answer_of_who_does_not_know_the_question_voids_no_receipt(
    centre: Centre, host: Host, door: HttpsDoor, answer: tuple[int, bytes], error: type[Exception]
) -> None:
    deliver = uploader(host, door)
    host.capture()
    deliver.deliver_oldest()
    host.captures.doubt_after(0)
    vars(centre)["receipt_of"] = lambda _name: answer

    with pytest.raises(error):
        deliver.ask_about_doubted()
    assert len(host.captures.receipts.doubted(2)) == 1
    assert Event.DELIVERY_REFUSED not in host.events()


def test_a_question_that_is_refused_ends_no_delivery(centre: Centre, host: Host, door: HttpsDoor) -> None:
    deliver, doubted = uploader(host, door, spread=lambda: 0.0), str(host.capture())
    deliver.deliver_oldest()
    host.captures.doubt_after(0)
    good, asked = centre.receipt_of, threading.Event()

    def answer(name: str) -> tuple[int, bytes]:
        if name != doubted:
            return good(name)
        asked.set()
        return 405, b"{}"

    vars(centre)["receipt_of"] = answer
    with in_thread(deliver, deliver.bell.ring):
        assert asked.wait(30)
        later = str(host.capture(uid="1.2.9"))
        deliver.bell.ring()
        centre.wait_for(lambda: later in centre.objects)


def test_a_centre_of_before_is_not_asked_and_nothing_of_it_is_called_safe(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    deliver, doubted = uploader(host, door), host.capture()
    deliver.deliver_oldest()
    host.captures.doubt_after(0)
    vars(deliver)["_reads"] = set[str]().__contains__

    assert not deliver.ask_about_doubted()
    assert not host.captures.receipts.holds(doubted)


def test_a_damaged_spool_file_is_put_aside(host: Host, door: HttpsDoor) -> None:
    host.capture(bytes(2 << 20))
    (file,) = host.files()
    file.write_bytes(file.read_bytes()[:-1])

    assert uploader(host, door).deliver_oldest() is Delivery.REFUSED
    assert host.events()[1:] == [Event.DELIVERY_REFUSED]


def test_an_object_whose_segment_ends_too_early_stays_is_named_and_holds_up_nobody(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    host.capture(bytes(50_000), uid="1.2.1")
    (segment,) = (host.folder / "spool" / "segments").iterdir()
    taken = str(host.capture(bytes(2 << 20), uid="1.2.2"))
    segment.write_bytes(segment.read_bytes()[:20_000])
    deliver = uploader(host, door)

    assert [deliver.deliver_oldest() for _ in range(3)] == [Delivery.REFUSED, Delivery.DELIVERED, Delivery.NOTHING]
    assert list(centre.objects) == [taken]
    assert (host.spool.waiting(), host.events()[2:]) == (1, [Event.OBJECT_DAMAGED, Event.IMAGE_DELIVERED])
    (row,) = host.spool.rows(State.WAITING)
    assert ("Input/output error" in row.why, host.spool.amiss()) == (True, 1)


def test_a_connection_that_was_closed_meanwhile_is_opened_again(centre: Centre, host: Host, door: HttpsDoor) -> None:
    deliver = uploader(host, door)
    host.capture()
    deliver.deliver_oldest()
    door._connection.sock.shutdown(2)
    host.capture(uid="1.2.4")

    assert deliver.deliver_oldest() is Delivery.DELIVERED


def test_a_connection_whose_end_shows_while_it_is_written_to_is_opened_again(
    centre: Centre, host: Host, door: HttpsDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_data: bytes) -> None:
        raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")

    deliver = uploader(host, door)
    host.capture()
    deliver.deliver_oldest()
    monkeypatch.setattr(door._connection.sock, "sendall", ended)
    host.capture(uid="1.2.4")

    assert deliver.deliver_oldest() is Delivery.DELIVERED


def test_a_door_that_is_gone_is_unavailable(centre: Centre, host: Host, door: HttpsDoor) -> None:
    host.capture()
    centre.stop()
    try:
        with pytest.raises(DoorUnavailable):
            uploader(host, door).deliver_oldest()
    finally:
        centre.start()
    assert host.spool.waiting() == 1


def test_a_certificate_of_the_right_ca_for_another_name_is_not_talked_to(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Centre(tmp_path / "other", authority=centre.authority, names_itself=False)
    other.start()
    port = other.host_door.server_address[1]
    door = HttpsDoor("127.0.0.1", port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    try:
        with pytest.raises(DoorUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            door.get("/api/v1/policy/head")
    finally:
        other.stop()
    assert other.requests == []


def test_waits_longer_each_time_up_to_a_limit_and_never_all_at_once() -> None:
    waits = [delay_s(n, 1.0) for n in range(1, 12)]

    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_S
    assert all(w / 2 == delay_s(n, 0.0) for n, w in enumerate(waits, 1))
    assert delay_s(10_000, 1.0) == LONGEST_S
