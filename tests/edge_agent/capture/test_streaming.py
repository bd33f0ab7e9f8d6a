"""Large images, and many at once: each goes through in little memory, and none gets bytes of another."""

import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography.cobblestone import Cobblestone256Encryptor

from edge_agent.capture.crowd import Limits
from edge_agent.capture.listener import DicomListener
from shared.audit.events import Event
from shared.dicom.dimse import Status
from shared.policy.document import Modality
from shared.sealing import object_file
from shared.sealing.object_file import BodyWindow
from shared.sealing.open import StoredObject, open_verified
from tests.edge_agent.capture.malformed import (
    DEPARTMENT,
    END,
    PIXEL_DATA,
    SEQUENCE_END,
    START,
    UNDEFINED,
    explicit,
    item,
)
from tests.edge_agent.capture.test_attributes import EXPLICIT
from tests.edge_agent.capture.test_listener import listening
from tests.edge_agent.capture.wire import COMMAND, LAST, Peer, associate_request, command, p_data, pdv
from tests.fakes.centre import open_object
from tests.fakes.host import CT, Host

JPEG_2000 = "1.2.840.10008.1.2.4.90"
_PIECE_BYTES, _FRAGMENT_BYTES = 128 << 10, 4 << 10
_NOISE = random.Random(2).randbytes(4 << 20)
# What sender and receiver hold together, and what the process may grow by with all that they free again.
_HELD_BYTES, _GROWTH_BYTES = 2 << 20, 16 << 20


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


def noise(size_bytes: int, piece_bytes: int) -> Iterator[bytes]:
    """Yield pieces that are unlike their neighbours."""
    for number in range(size_bytes // piece_bytes):
        start = number * 4099 % (len(_NOISE) - piece_bytes)
        yield _NOISE[start : start + piece_bytes]


def native(size_bytes: int) -> Iterator[bytes]:
    yield START + DEPARTMENT + END + explicit(PIXEL_DATA, b"OW", length=size_bytes)
    yield from noise(size_bytes, _PIECE_BYTES)


def in_fragments(size_bytes: int) -> Iterator[bytes]:
    yield START + DEPARTMENT + END + explicit(PIXEL_DATA, b"OB", length=UNDEFINED) + item()
    yield from (item(fragment) for fragment in noise(size_bytes, _FRAGMENT_BYTES))
    yield SEQUENCE_END


def take_out_the_only_object(host: Host) -> bytes:
    """Return the SHA-256 of the data set of what was captured, opened piece by piece, and make room for the next."""
    (spooled,) = host.spool.everything()
    digest = sha256()
    with host.spool.open(spooled) as file:
        parts = object_file.parse(file)
        stored = StoredObject(parts.binding.object_id, parts.binding.encode(), parts.wrap, parts.record)
        for piece in open_verified(stored, BodyWindow(file, parts), host.signer.public, host.keys.data):
            digest.update(piece)
    with host.database.transaction() as connection:
        host.spool.forget(connection, spooled)
    host.spool.let_go(spooled)
    return digest.digest()


@pytest.mark.parametrize(
    "size_bytes",
    [pytest.param(300 << 20, id="300 MiB"), pytest.param((4 << 30) - (1 << 20), id="4 GiB", marks=pytest.mark.soak)],
)
def test_a_large_native_image_streams_through_in_little_memory(host: Host, size_bytes: int) -> None:
    assert_streams(host, EXPLICIT, native(size_bytes))


@pytest.mark.parametrize(
    "size_bytes", [pytest.param(64 << 20, id="64 MiB"), pytest.param(4 << 30, id="4 GiB", marks=pytest.mark.soak)]
)
def test_a_large_image_in_thousands_of_fragments_does_too(host: Host, size_bytes: int) -> None:
    assert_streams(host, JPEG_2000, in_fragments(size_bytes))


def assert_streams(host: Host, transfer_syntax: str, pieces: Iterator[bytes]) -> None:
    seen = streamed(host, transfer_syntax, pieces)

    assert seen.status == Status.SUCCESS
    assert take_out_the_only_object(host) == seen.sent_sha256
    assert seen.held_bytes < _HELD_BYTES
    assert seen.grown_bytes < _GROWTH_BYTES


@dataclass(frozen=True)
class Seen:
    status: int
    sent_sha256: bytes
    held_bytes: int  # by Python, at the most
    grown_bytes: int  # what the process had more of at some time than before


def streamed(host: Host, transfer_syntax: str, pieces: Iterator[bytes]) -> Seen:
    digest, process = sha256(), psutil.Process()
    with listening(host) as listener:
        peer = associated(listener, transfer_syntax)
        peer.send(p_data(pdv(command(), COMMAND | LAST)))
        tracemalloc.start()
        before = most = process.memory_info().rss
        for number, piece in enumerate(pieces):
            digest.update(piece)
            peer.send(p_data(pdv(piece, 0)))
            if number % 64 == 0:
                most = max(most, process.memory_info().rss)
        peer.send(p_data(pdv(b"", LAST)))
        status = peer.status()
        _, held_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        peer.close()
    return Seen(status, digest.digest(), held_bytes, most - before)


class _Hoarding:
    """Keeps what it seals."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._real, self._kept = Cobblestone256Encryptor(key, context), list[bytes]()

    def update_into(self, data: Any, buf: Any, /) -> int:
        self._kept.append(bytes(data))
        return self._real.update_into(data, buf)

    def finalize(self) -> bytes:
        return self._real.finalize()


def test_control_a_part_that_keeps_an_image_in_memory_would_be_seen(tmp_path: Path) -> None:
    host = Host(tmp_path / "host", encryptor=_Hoarding)
    host.put_in_force()

    assert streamed(host, EXPLICIT, native(20 << 20)).held_bytes > _HELD_BYTES


def associated(listener: DicomListener, transfer_syntax: str) -> Peer:
    assert listener.port is not None
    peer = Peer(listener.port, associate=False)
    peer.send(associate_request("CT1", (CT, transfer_syntax)))
    assert peer.receive()[0] == 2
    return peer


# ---- many at once


@dataclass
class Sender:
    peer: Peer
    pieces: list[bytes]  # that it has still to send

    @classmethod
    def of(cls, peer: Peer, instance: str, dataset: bytes, pdu_bytes: int) -> "Sender":
        pieces = [dataset[at : at + pdu_bytes] for at in range(0, len(dataset), pdu_bytes)]
        data = [p_data(pdv(piece, 0)) for piece in pieces]
        return cls(peer, [p_data(pdv(command(instance=instance), COMMAND | LAST)), *data, p_data(pdv(b"", LAST))])


def test_as_many_associations_as_there_may_be_send_at_once_and_mix_nothing_up(host: Host) -> None:
    policy = host.store.in_force()
    assert policy is not None
    known = Modality("MR", "", addresses=("127.0.9.0/24",))
    host.store.switch(replace(policy, modalities=(Modality("CT1", ""), known)), host.store.in_force_versions())
    places = [("CT1", f"127.0.0.{number % 2 + 1}") for number in range(Limits.associations)]
    places += [("MR", f"127.0.9.{number % 2 + 1}") for number in range(Limits.associations)]
    rng = random.Random(32)
    datasets = [
        START + DEPARTMENT + END + explicit(PIXEL_DATA, b"OW", rng.randbytes(rng.randrange(1, 400_000))) for _ in places
    ]
    with listening(host) as listener:
        assert listener.port is not None
        peers = [Peer(listener.port, calling, source=source) for calling, source in places]
        senders = [
            Sender.of(peer, f"1.2.{number}", dataset, rng.randrange(500, 30_000))
            for number, (peer, dataset) in enumerate(zip(peers, datasets, strict=True))
        ]
        # One piece of each in turn, in another order every time; the last pieces only when all others are through.
        while waiting := [sender for sender in senders if len(sender.pieces) > 1]:
            rng.shuffle(waiting)
            for sender in waiting:
                sender.peer.send(sender.pieces.pop(0))
        assert host.spool.waiting() == 0
        for sender in senders:
            sender.peer.send(sender.pieces.pop())
        statuses = [peer.status() for peer in peers]
        for peer in peers:
            peer.close()

    assert statuses == [Status.SUCCESS] * len(places)
    kept = []
    for spooled in host.spool.everything():
        with host.spool.open(spooled) as file:
            kept.append(open_object(file.read(), host.signer.public, host.keys)[0])
    assert sorted(kept) == sorted(datasets)
    assert host.events() == [Event.IMAGE_CAPTURED] * len(places)
