"""Associations with peers that break off, lie, dawdle or flood: one outcome an image, and the listener serves on."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.capture.association import Patience
from edge_agent.capture.crowd import Limits
from edge_agent.capture.listener import DicomListener
from shared.audit.events import Event
from shared.dicom import dimse
from shared.dicom.dimse import CommandField, Status
from shared.policy.document import Modality
from tests.edge_agent.capture.test_listener import listening
from tests.edge_agent.capture.wire import (
    COMMAND,
    LAST,
    Peer,
    associate_request,
    command,
    element,
    p_data,
    pdu,
    pdv,
)
from tests.fakes.centre import open_object
from tests.fakes.host import Host

HASTY = Patience(request_s=1, idle_s=1, stall_s=0.8, pace_s=0.6, pace_bytes=1 << 16)
STORE = p_data(pdv(command(), COMMAND | LAST))
ECHO = p_data(pdv(command(CommandField.C_ECHO_RQ, dimse.VERIFICATION, "", 0x0101), COMMAND | LAST, 3))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


@contextmanager
def serving(host: Host) -> Iterator[DicomListener]:
    """Serve, and see at the end that it still does."""
    with listening(host) as listener:
        yield listener
        peer = peer_of(listener)
        peer.send(ECHO)
        assert peer.status() == Status.SUCCESS
        peer.close()


def peer_of(listener: DicomListener, *, associate: bool = True) -> Peer:
    assert listener.port is not None
    return Peer(listener.port, associate=associate)


def until(condition: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opened(host: Host) -> list[bytes]:
    datasets = []
    for spooled in host.spool.everything():
        with host.spool.open(spooled) as file:
            datasets.append(open_object(file.read(), host.signer.public, host.keys)[0])
    return datasets


@pytest.mark.parametrize("size", [1, 7, 100, 16_378])
def test_however_the_pdvs_fall_the_dataset_is_what_was_sent(host: Host, size: int) -> None:
    dataset = bytes(range(256)) * 20
    pieces = [dataset[start : start + size] for start in range(0, len(dataset), size)]
    with serving(host) as listener:
        peer = peer_of(listener)
        stream = STORE + b"".join(p_data(pdv(piece, 0)) for piece in pieces) + p_data(pdv(b"", LAST))
        peer.send(stream)
        status = peer.status()
        peer.close()

    assert status == Status.SUCCESS
    assert opened(host) == [dataset]


def test_command_and_data_may_share_a_pdu_and_messages_may_queue(host: Host) -> None:
    both = [p_data(pdv(command(instance=f"1.2.{number}"), COMMAND | LAST), pdv(b"whole", LAST)) for number in range(3)]
    with serving(host) as listener:
        peer = peer_of(listener)
        peer.send(b"".join(both))
        statuses = [peer.status() for _ in range(3)]
        peer.close()

    assert statuses == [Status.SUCCESS] * 3
    assert opened(host) == [b"whole"] * 3


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        p_data(pdv(b"some", 0)),
        p_data(pdv(b"some", 0))[:-2],
        pdu(7, bytes(4)),
        pdu(5, bytes(4)),
        STORE,
        p_data(pdv(b"other context", LAST, 3)),
        b"\x04\x00\xff\xff\xff\xff",
        b"\xff" * 100,
    ],
    ids=["nothing", "a part", "half a PDU", "abort", "release", "a command", "another context", "a lie", "garbage"],
)
def test_an_association_that_dies_in_an_image_is_one_refused_image(host: Host, rest: bytes) -> None:
    with serving(host) as listener:
        peer = peer_of(listener)
        peer.send(STORE + rest)
        peer.socket.shutdown(socket.SHUT_WR)
        last = peer.receive()
        until(lambda: Event.IMAGE_REFUSED in host.events())
        peer.close()

    assert last[0] in (0, 7)
    assert host.left_behind() == []
    assert [event for event in host.events() if event is not Event.INTERCEPTION_ATTEMPTED] == [Event.IMAGE_REFUSED]


@pytest.mark.parametrize(
    "data, answer",
    [
        (p_data(pdv(b"data first", LAST)), (7, b"\x00\x00\x02\x05")),
        (p_data(pdv(command(), COMMAND | LAST, 9)), (7, b"\x00\x00\x02\x06")),
        (p_data(pdv(b"\x00" * 30, COMMAND | LAST)), (7, bytes(4))),
        (p_data(pdv(command(), COMMAND), pdv(b"", LAST)), (7, b"\x00\x00\x02\x05")),
        (p_data(pdv(bytes(15_000), COMMAND)) * 2, (7, bytes(4))),
        (p_data(pdv(command(0x8001), COMMAND | LAST)), (7, bytes(4))),
        (associate_request(), (7, b"\x00\x00\x02\x02")),
        (pdu(6, bytes(4)), (7, b"\x00\x00\x02\x02")),
        (pdu(9, b""), (7, b"\x00\x00\x02\x01")),
        (pdu(5, bytes(4)), (6, bytes(4))),
    ],
)
def test_what_is_out_of_place_is_answered_as_ps3_8_says(host: Host, data: bytes, answer: tuple[int, bytes]) -> None:
    with serving(host) as listener:
        peer = peer_of(listener)
        peer.send(data)
        received = peer.receive()
        ended = peer.receive()
        peer.close()

    assert (received, ended) == (answer, (0, b""))
    is_garbage = answer[1] in (b"\x00\x00\x02\x01", b"\x00\x00\x02\x06")
    assert host.events() == ([Event.INTERCEPTION_ATTEMPTED] if is_garbage else [])


@pytest.mark.parametrize(
    "data, answer",
    [
        (associate_request(version=2), (3, bytes((0, 1, 2, 2)))),
        (associate_request(application_context="1.2.3"), (3, bytes((0, 1, 1, 2)))),
        (associate_request("STRANGER"), (3, bytes((0, 1, 1, 3)))),
        (STORE, (7, b"\x00\x00\x02\x02")),
        (pdu(1, bytes(68)), (3, bytes((0, 1, 2, 2)))),
        (pdu(1, b"\x00\x01" + bytes(66)), (7, b"\x00\x00\x02\x06")),
    ],
)
def test_what_is_no_request_of_ours_is_answered(host: Host, data: bytes, answer: tuple[int, bytes]) -> None:
    with serving(host) as listener:
        peer = peer_of(listener, associate=False)
        peer.send(data)
        received = peer.receive()
        peer.close()

    assert received == answer


def test_whom_a_new_policy_leaves_out_is_aborted_at_the_next_request_and_nobody_else_is(host: Host) -> None:
    host.put_in_force(1, ("CT1", "MR 2"))
    with listening(host) as listener:
        assert listener.port is not None
        out, stays = Peer(listener.port, "CT1"), Peer(listener.port, "MR 2")
        out.send(STORE + p_data(pdv(b"wh", 0)))
        stays.send(ECHO)
        before = stays.status()
        until(lambda: host.pipeline.examination._coming_in)
        host.put_in_force(2, ("MR 2",))
        listener.bell.ring()
        until(lambda: "dicom.association-dismissed" in host.log.names())
        out.send(p_data(pdv(b"ole", LAST)))
        on_its_way = out.status()
        out.send(STORE)
        number, abort = out.receive()
        stays.send(ECHO)
        after = stays.status()
        for peer in (out, stays):
            peer.close()
        until(lambda: len(host.events()) == 2)

    assert (before, on_its_way, after) == (Status.SUCCESS,) * 3
    assert (number, abort[2]) == (7, 0)
    assert opened(host) == [b"whole"]
    assert host.events() == [Event.IMAGE_CAPTURED, Event.ASSOCIATION_REFUSED]
    assert (host.records()[-1].who[0].name, host.records()[-1].reason) == ("CT1", "calling AE title is not listed")


def test_an_unknown_command_is_refused_and_its_data_set_passed_over(host: Host) -> None:
    find = command(0x0020, instance="")
    with serving(host) as listener:
        peer = peer_of(listener)
        peer.send(p_data(pdv(find, COMMAND | LAST)) + p_data(pdv(b"query", LAST)))
        status = peer.status()
        peer.send(STORE + p_data(pdv(b"image", LAST)))
        after = peer.status()
        peer.close()

    assert (status, after) == (Status.UNRECOGNISED_OPERATION, Status.SUCCESS)


def test_a_cancel_gets_no_answer(host: Host) -> None:
    cancel = element(0x0100, b"\xff\x0f") + element(0x0120, b"\x07\x00") + element(0x0800, b"\x01\x01")
    with serving(host) as listener:
        peer = peer_of(listener)
        peer.send(p_data(pdv(cancel, COMMAND | LAST)) + ECHO)
        status = peer.status()
        peer.close()

    assert status == Status.SUCCESS


def test_a_full_disk_is_answered_after_the_rest_of_the_image_went_by(host: Host) -> None:
    with serving(host) as listener:
        peer = peer_of(listener)
        host.free_bytes = 0
        peer.send(STORE + p_data(pdv(bytes(16_000), 0)) * 50 + p_data(pdv(b"", LAST)))
        refused = peer.status()
        host.free_bytes = 1 << 40
        peer.send(STORE + p_data(pdv(b"image", LAST)))
        taken = peer.status()
        peer.close()

    assert (refused, taken) == (Status.OUT_OF_RESOURCES, Status.SUCCESS)
    assert host.events() == [Event.IMAGE_REFUSED, Event.IMAGE_CAPTURED]


def test_more_associations_than_are_served_are_turned_away_for_now_and_that_is_recorded(host: Host) -> None:
    with serving(host) as listener:
        peers = [peer_of(listener) for _ in range(Limits.associations_of_one)]
        late = peer_of(listener, associate=False)
        late.send(associate_request())
        answer = late.receive()
        for peer in (late, *peers):
            peer.close()
        until(lambda: not listener._connections)
        attempts = listener._interception.count()

    assert answer == (3, bytes((0, 2, 3, 2)))
    (record,) = host.records()
    assert (record.event, record.who[0].name) == (Event.ASSOCIATION_REFUSED, "CT1")
    assert attempts == 0, "policy lets it send"


def test_connections_that_ask_for_nothing_are_bounded_and_dropped(host: Host) -> None:
    host.patience = Patience(request_s=2)
    with serving(host) as listener:
        silent = [peer_of(listener, associate=False) for _ in range(2 * Limits.connections_of_one)]
        assert len(listener._connections) <= Limits.connections_of_one
        for peer in silent:
            assert peer.receive()[0] in (0, 7)
            peer.close()
        until(lambda: not listener._connections)


def test_a_flood_from_one_address_shuts_out_neither_others_nor_listed_ones(host: Host) -> None:
    policy = host.store.in_force()
    assert policy is not None
    listed = replace(policy, modalities=(Modality("CT1", ""), Modality("MR", "", addresses=("127.0.0.9",))))
    host.store.switch(listed, host.store.in_force_versions())
    with serving(host) as listener:
        assert listener.port is not None
        silent = [
            Peer(listener.port, associate=False, source=f"127.0.0.{number}")
            for number in (2, 3, 4, 5)
            for _ in range(Limits.connections)
        ]
        until(lambda: len(listener._connections) == Limits.connections)
        known = Peer(listener.port, associate=False, source="127.0.0.9")
        known.send(associate_request("MR"))
        answer, _ = known.receive()
        for peer in (known, *silent):
            peer.close()
        until(lambda: not listener._connections)

    assert answer == 2


@pytest.mark.parametrize("begun", [b"", ECHO[:3], STORE, STORE + p_data(pdv(b"part", 0))])
def test_a_peer_that_falls_silent_is_aborted(host: Host, begun: bytes) -> None:
    host.patience = HASTY
    with serving(host) as listener:
        peer = peer_of(listener)
        if begun:
            peer.send(begun)
        answer = peer.receive()
        peer.close()

    assert answer == (7, b"\x00\x00\x02\x00")
    assert host.left_behind() == []


@pytest.mark.parametrize("associated", [False, True])
def test_a_peer_that_sends_a_byte_now_and_then_is_aborted(host: Host, associated: bool) -> None:
    host.patience = HASTY
    with serving(host) as listener:
        peer = peer_of(listener, associate=associated)
        stream = STORE + p_data(pdv(bytes(500), 0)) if associated else associate_request()
        sent = 0
        with suppress(OSError):
            while sent < len(stream):
                peer.send(stream[sent : sent + 1])
                sent += 1
                time.sleep(0.05)
        peer.close()

    assert sent < len(stream)
    assert host.spool.waiting() == 0


def test_stopping_ends_an_image_on_its_way_and_records_it(host: Host) -> None:
    with listening(host) as listener:
        peer = peer_of(listener)
        peer.send(STORE + p_data(pdv(b"part", 0)))
        until(host.left_behind)
    answer = peer.receive()
    peer.close()

    assert answer == (7, b"\x00\x00\x02\x00")
    assert (host.left_behind(), host.events()) == ([], [Event.IMAGE_REFUSED])
