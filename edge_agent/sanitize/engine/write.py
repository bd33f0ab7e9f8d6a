"""Writes one pass over a whole drive: one thread makes what is to be written while another writes what was made.

What was flushed counts, and nothing else. A sector that cannot be written is retried, listed and left behind. That the
drive said yes to all of it proves nothing yet; `read.py` does.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from edge_agent import SOFTWARE
from edge_agent.sanitize.drive import Watch
from edge_agent.sanitize.engine.device import Device, described
from edge_agent.sanitize.engine.direct import CHUNK_BYTES, DEPTH, buffers
from edge_agent.sanitize.engine.narrowing import Narrowed, Stopped, narrowed
from edge_agent.sanitize.engine.pass_state import PassState
from edge_agent.sanitize.engine.runs import Runs
from shared.clock import Clock
from shared.errors import Refused
from shared.sanitization.report import Extents, Step, StepOutcome
from shared.sanitization.technique import Technique

FLUSH_BYTES = 512 << 20
MOST_UNWRITABLE_SECTORS = 1 << 16

Keep = Callable[[PassState], None]


class AnotherDrive(Refused):
    """A pass goes on only on a drive of the size that it began on."""

    def __init__(self, *, begun: int, found: int) -> None:
        super().__init__(f"the pass began on a drive of {begun} bytes, and this one has {found}; begin the wipe anew")
        self.begun, self.found = begun, found


@dataclass(frozen=True)
class _Chunk:
    """`is_last` of those that are flushed together."""

    start: int
    size: int
    is_last: bool


def write_pass(
    device: Device, state: PassState, watch: Watch, clock: Clock, keep: Keep, *, flush_bytes: int = FLUSH_BYTES
) -> Step:
    """Write what `state` has left. `keep` makes durable how far it is, before the first write and after each flush.

    Raises AnotherDrive, and what `keep` raises.
    """
    if state.size_bytes != device.size_bytes:
        raise AnotherDrive(begun=state.size_bytes, found=device.size_bytes)
    keep(state)
    writing = _Writing(device, state, watch, keep, flush_bytes)
    try:
        writing.run()
        outcome, detail = StepOutcome.DONE, ""
    except Stopped:
        outcome, detail = StepOutcome.INTERRUPTED, "stopped by a person"
    except _TooManyBad:
        outcome, detail = StepOutcome.FAILED, f"more than {MOST_UNWRITABLE_SECTORS} sectors cannot be written"
    except OSError as exc:
        outcome, detail = StepOutcome.FAILED, f"the drive is gone or no longer writable: {described(exc)}"
    state = replace(writing.state, retries=writing.retries, unwritable=writing.unwritable)
    written = state.position - writing.state.unwritable.sectors * device.sector_bytes
    return _step(state, written, outcome, detail, clock)


class _TooManyBad(Exception):
    """Going on would take a drive that is broken for weeks, and no certificate would come of it."""


class _Writing:
    """One run over what `state` has left; `state` is always what was flushed last."""

    def __init__(self, device: Device, state: PassState, watch: Watch, keep: Keep, flush_bytes: int) -> None:
        self.state = state
        self._device, self._watch, self._keep, self._flush_bytes = device, watch, keep, flush_bytes
        self._bad, self.retries, self._taken = Runs(state.unwritable), state.retries, state.position

    @property
    def unwritable(self) -> Extents:
        return self._bad.extents()

    def run(self) -> None:
        """Raises Stopped, _TooManyBad, OSError."""
        writer = ThreadPoolExecutor(1, "wipe")
        try:
            self._write(writer)
        except Stopped:
            if self._taken > self.state.position:
                self._device.flush()
                self._mark()
            raise
        finally:
            writer.shutdown(cancel_futures=True)

    def _write(self, writer: ThreadPoolExecutor) -> None:
        source, ring = self.state.content.source(), buffers(DEPTH, CHUNK_BYTES)
        pending: deque[tuple[_Chunk, Future[Narrowed]]] = deque()
        for number, chunk in enumerate(_chunks(self._taken, self.state.size_bytes, self._flush_bytes)):
            if self._watch.is_stopped:
                break
            if len(pending) == DEPTH:
                self._settle(*pending.popleft())
            buffer = ring[number % DEPTH][: chunk.size]
            source.fill(chunk.start, buffer)
            pending.append((chunk, writer.submit(self._put, chunk, buffer)))
        while pending:
            self._settle(*pending.popleft())
        if self._taken < self.state.size_bytes:
            raise Stopped

    def _put(self, chunk: _Chunk, data: memoryview) -> Narrowed:
        found = narrowed(
            lambda start, size: self._device.write(chunk.start + start, data[start : start + size]),
            chunk.size, self._device.sector_bytes, lambda: self._watch.is_stopped,
        )  # fmt: skip
        if chunk.is_last:
            self._device.flush()
        return found

    def _settle(self, chunk: _Chunk, future: Future[Narrowed]) -> None:
        found, sector = future.result(), self._device.sector_bytes
        for failed in found.failed:
            self._bad.add(chunk.start // sector + failed)
        self.retries += found.retries
        if self._bad.sectors > MOST_UNWRITABLE_SECTORS:
            raise _TooManyBad
        self._taken = chunk.start + chunk.size
        self._watch.at(self._taken, self.state.size_bytes)
        if chunk.is_last:
            self._mark()

    def _mark(self) -> None:
        self.state = replace(self.state, position=self._taken, retries=self.retries, unwritable=self.unwritable)
        self._keep(self.state)


def _chunks(position: int, size_bytes: int, flush_bytes: int) -> Iterator[_Chunk]:
    since = 0
    while position < size_bytes:
        size = min(CHUNK_BYTES, size_bytes - position)
        since += size
        is_last = since >= flush_bytes or position + size == size_bytes
        yield _Chunk(position, size, is_last)
        position, since = position + size, 0 if is_last else since


def _step(state: PassState, written: int, outcome: StepOutcome, detail: str, clock: Clock) -> Step:
    return Step(
        technique=Technique.OVERWRITE,
        part=state.part,
        tool=SOFTWARE,
        outcome=outcome,
        accepted=written > 0,
        progress_seen=written > 0,
        completed=outcome is StepOutcome.DONE and written == state.size_bytes,
        pattern=state.content.pattern,
        commitment=state.content.commitment,
        seed=state.content.seed,
        bytes_total=state.size_bytes,
        bytes_written=written,
        retries=state.retries,
        unwritable=state.unwritable,
        resumed=state.resumed,
        started=state.started,
        ended=clock.now(),
        detail=detail,
        facts={},
    )
