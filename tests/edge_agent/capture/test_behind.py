"""The digest of a large data set on a thread of its own: the same digest, and no thread left over."""

import threading
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.behind import WORTH_IT_BYTES, HashedBehind
from edge_agent.capture.pipeline import ImageHeader
from tests.fakes.centre import open_object
from tests.fakes.host import Host

DATASET = bytes(range(256)) * ((WORTH_IT_BYTES >> 8) + 5000)
HEADER = ImageHeader("CT1", "1.2.3", "1.2.840.10008.1.2.1")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 700_000), max_size=6))
def test_it_is_the_digest_of_all_that_came_before_and_after(sizes: list[int]) -> None:
    pieces = [DATASET[:size] for size in sizes]
    begun = sha256(b"before")
    behind = HashedBehind(begun)
    for piece in pieces:
        behind.update(piece)

    assert behind.digest() == sha256(b"before" + b"".join(pieces)).digest()
    assert behind.digest() == begun.digest()


def test_what_hashing_raises_comes_out_and_holds_up_nobody() -> None:
    class Broken:
        def update(self, _data: bytes | memoryview, /) -> None:
            raise MemoryError

        def digest(self) -> bytes:
            return b""

    behind = HashedBehind(Broken())
    for _ in range(20):
        behind.update(DATASET[:300_000])
    with pytest.raises(MemoryError):
        behind.digest()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


def hashing() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "capture-digest"]


@pytest.mark.parametrize("piece", [100_000, 1 << 20, len(DATASET)])
def test_a_large_image_is_the_same_and_leaves_no_thread(host: Host, piece: int) -> None:
    with host.pipeline.begin(HEADER) as capture:
        for at in range(0, len(DATASET), piece):
            capture.update(memoryview(DATASET)[at : at + piece])
        capture.finish()

    (spooled,) = host.spool.everything()
    with host.spool.open(spooled) as file:
        opened, _, parts = open_object(file.read(), host.signer.public, host.keys)
    assert opened == DATASET
    assert parts.record
    assert not hashing()


def broken_off(host: Host) -> None:
    with host.pipeline.begin(HEADER) as capture:
        for at in range(0, len(DATASET), 1 << 20):
            capture.update(memoryview(DATASET)[at : at + (1 << 20)])
        assert hashing()
        raise ConnectionError


def test_a_large_image_that_breaks_off_leaves_no_thread(host: Host) -> None:
    with pytest.raises(ConnectionError):
        broken_off(host)
    assert not hashing()
