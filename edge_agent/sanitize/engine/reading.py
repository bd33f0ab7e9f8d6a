"""Reads places of a drive one after another, while another thread reads ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from edge_agent.sanitize.engine.device import Device
from edge_agent.sanitize.engine.direct import CHUNK_BYTES, DEPTH, buffers
from edge_agent.sanitize.engine.narrowing import Narrowed, Stopped, narrowed
from shared.sanitization.report import Extent


@dataclass(frozen=True)
class Place:
    start: int
    size: int


@dataclass(frozen=True)
class Piece:
    """What was read of one place; `unreadable` counts sectors from its start, and what `data` has there means nothing.

    `data` is good until the next piece is asked for.
    """

    start: int
    data: memoryview
    unreadable: list[int]


def all_of(size_bytes: int) -> Iterator[Place]:
    for start in range(0, size_bytes, CHUNK_BYTES):
        yield Place(start, min(CHUNK_BYTES, size_bytes - start))


def these(extents: Iterable[Extent], sector_bytes: int) -> Iterator[Place]:
    for one in extents:
        for place in all_of(one.count * sector_bytes):
            yield Place(one.first * sector_bytes + place.start, place.size)


def pieces(device: Device, places: Iterable[Place], is_stopped: Callable[[], bool]) -> Iterator[Piece]:
    """Yield what is read, in order.

    Raises OSError where it is not about a sector, and Stopped.
    """
    ring, pending = buffers(DEPTH, CHUNK_BYTES), deque[tuple[Place, memoryview, Future[Narrowed]]]()
    reader = ThreadPoolExecutor(1, "read-back")
    try:
        for number, place in enumerate(places):
            if is_stopped():
                raise Stopped
            if len(pending) == DEPTH:
                yield _piece(*pending.popleft())
            buffer = ring[number % DEPTH][: place.size]
            pending.append((place, buffer, reader.submit(_got, device, place, buffer, is_stopped)))
        while pending:
            yield _piece(*pending.popleft())
    finally:
        reader.shutdown(cancel_futures=True)


def _piece(place: Place, data: memoryview, future: Future[Narrowed]) -> Piece:
    return Piece(place.start, data, future.result().failed)


def _got(device: Device, place: Place, into: memoryview, is_stopped: Callable[[], bool]) -> Narrowed:
    return narrowed(
        lambda start, size: device.read(place.start + start, into[start : start + size]),
        place.size, device.sector_bytes, is_stopped,
    )  # fmt: skip
