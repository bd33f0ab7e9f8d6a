"""Passes over a drive in memory that fails in all the ways a drive has; what belongs there is recomputed apart."""

import errno
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.sanitize.engine import write
from edge_agent.sanitize.engine.narrowing import RETRIES
from edge_agent.sanitize.engine.pass_state import PassState
from edge_agent.sanitize.engine.read import read_back
from edge_agent.sanitize.engine.write import AnotherDrive, write_pass
from shared.errors import Malformed
from shared.policy.wipe import ReadBack
from shared.sanitization.report import Checked, Extent, Extents, Step, StepOutcome
from shared.sanitization.stream import Content, Stream
from tests.fakes.clock import FakeClock
from tests.fakes.drive import MemoryDrive
from tests.fakes.watch import Watched

MIB = 1 << 20
SIZE = 9 * MIB + 5 * 512
SEED = bytes(range(32))
RANDOM = Content.random(SEED)
CLOCK = FakeClock()
ALWAYS = 1 << 30


def stream(size: int = SIZE) -> bytes:
    whole = bytearray(size)
    Stream(SEED).fill(0, memoryview(whole))
    return bytes(whole)


def begun(drive: MemoryDrive, content: Content = RANDOM) -> PassState:
    return PassState.begin(content, "pass 1 of 1", drive.size_bytes, CLOCK.now())


def written(
    drive: MemoryDrive, state: PassState | None = None, watch: Watched | None = None, flush_bytes: int = 3 * MIB
) -> tuple[Step, list[PassState]]:
    kept: list[PassState] = []
    step = write_pass(
        drive, state or begun(drive), watch or Watched(), CLOCK, kept.append, flush_bytes=flush_bytes
    )  # fmt: skip
    return step, kept


def checked(drive: MemoryDrive, content: Content = RANDOM) -> Checked:
    return read_back(drive, content, ReadBack.WHOLE, bytes(32), Watched(), CLOCK)


@pytest.mark.parametrize("content", [RANDOM, Content.byte("00"), Content.byte("a5")])
@pytest.mark.parametrize("size", [512, MIB, SIZE])
def test_a_pass_puts_what_belongs_there_on_every_sector_and_flushes_it(content: Content, size: int) -> None:
    drive, watch = MemoryDrive(size), Watched()
    step, kept = written(drive, begun(drive, content), watch)

    assert drive.durable == (stream(size) if content is RANDOM else bytes.fromhex(content.pattern) * size)
    assert (step.outcome, step.completed, step.bytes_written) == (StepOutcome.DONE, True, size)
    assert (step.pattern, step.seed, step.commitment) == (content.pattern, content.seed, content.commitment)
    assert kept[0].position == 0  # the commitment is kept before the first write
    assert kept[-1].position == size
    assert watch.told[-1] == (size, size)


def test_what_is_kept_was_flushed_at_that_very_time() -> None:
    drive = MemoryDrive(SIZE)
    durable: list[bool] = []

    def keep(state: PassState) -> None:
        durable.append(drive.durable[: state.position] == stream()[: state.position])

    write_pass(drive, begun(drive), Watched(), CLOCK, keep, flush_bytes=2 * MIB)

    assert durable == [True] * 6


def test_a_bad_sector_is_retried_listed_and_left_behind_and_its_neighbours_are_written() -> None:
    drive = MemoryDrive(SIZE)
    drive.bad_writes |= {2047: (ALWAYS, errno.EIO), 2048: (ALWAYS, errno.ENOSPC), 9000: (ALWAYS, errno.EREMOTEIO)}
    step, _ = written(drive)

    assert (step.outcome, step.completed) == (StepOutcome.DONE, False)
    assert step.unwritable == Extents(3, (Extent(2047, 2), Extent(9000, 1)))
    assert step.bytes_written == SIZE - 3 * 512
    assert step.retries == 3 * RETRIES
    expected = bytearray(stream())
    for sector in (2047, 2048, 9000):
        expected[sector * 512 : sector * 512 + 512] = b"PATIENT." * 64
    assert drive.durable == expected
    assert checked(drive).different == step.unwritable


def test_a_sector_that_takes_it_at_last_is_no_bad_one_and_the_retries_are_told() -> None:
    drive = MemoryDrive(SIZE)
    drive.bad_writes[700] = (11 + RETRIES, errno.EIO)  # a chunk, eleven halves, the sector and two retries
    step, _ = written(drive)

    assert (step.outcome, step.completed, step.retries) == (StepOutcome.DONE, True, RETRIES)
    assert drive.durable == stream()


def test_a_drive_that_goes_away_ends_it_as_failed_with_what_was_flushed() -> None:
    drive = MemoryDrive(SIZE, takes_bytes=5 * MIB)
    step, kept = written(drive)

    assert (step.outcome, step.completed) == (StepOutcome.FAILED, False)
    assert step.bytes_written == kept[-1].position == 3 * MIB
    assert "ENODEV" in step.detail


def test_a_flush_that_fails_ends_it_and_nothing_since_the_last_one_counts() -> None:
    drive = MemoryDrive(SIZE, fails_flush=True)
    step, kept = written(drive)

    assert (step.outcome, step.accepted, step.bytes_written) == (StepOutcome.FAILED, False, 0)
    assert [state.position for state in kept] == [0]


def test_a_drive_with_far_too_many_bad_sectors_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "MOST_UNWRITABLE_SECTORS", 100)
    drive = MemoryDrive(SIZE, bad_writes=dict.fromkeys(range(2000, 2101), (ALWAYS, errno.EIO)))
    step, _ = written(drive)

    assert step.outcome is StepOutcome.FAILED
    assert step.unwritable == Extents(101, (Extent(2000, 101),))


def test_a_person_stops_it_and_it_goes_on_where_it_was_flushed() -> None:
    drive = MemoryDrive(SIZE)
    step, kept = written(drive, watch=Watched(stop_at=MIB), flush_bytes=SIZE)

    assert (step.outcome, step.completed) == (StepOutcome.INTERRUPTED, False)
    assert MIB <= kept[-1].position < SIZE
    assert step.bytes_written == kept[-1].position
    drive.cut_power()
    again, _ = written(drive, kept[-1].resuming())
    assert (again.outcome, again.completed, again.resumed) == (StepOutcome.DONE, True, 1)
    assert drive.durable == stream()


def test_a_person_stops_it_while_bad_sectors_are_tried_one_by_one() -> None:
    drive = MemoryDrive(SIZE, bad_writes=dict.fromkeys(range(2 * 2048, 3 * 2048), (ALWAYS, errno.EIO)))
    step, kept = written(drive, watch=Watched(stop_at=2 * MIB), flush_bytes=SIZE)

    assert step.outcome is StepOutcome.INTERRUPTED
    assert kept[-1].position == 2 * MIB


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, SIZE), max_size=4),
    st.dictionaries(st.integers(0, SIZE // 512 - 1), st.just((ALWAYS, errno.EIO)), max_size=3),
)
def test_however_often_power_is_cut_the_resumed_pass_leaves_nothing_out(
    cuts: list[int], bad: dict[int, tuple[int, int]]
) -> None:
    drive = MemoryDrive(SIZE, bad_writes=bad)
    state = begun(drive)
    for cut in cuts:
        drive.takes_bytes = drive_taken(drive) + cut
        _, kept = written(drive, state, flush_bytes=2 * MIB)
        drive.cut_power()
        state = PassState.parse(kept[-1].encode()).resuming()
    step, _ = written(drive, state)

    assert (step.outcome, step.resumed) == (StepOutcome.DONE, len(cuts))
    assert step.completed is not bool(bad)
    found = checked(drive)
    assert found.different == step.unwritable
    assert found.bytes_equal == step.bytes_written == SIZE - 512 * len(bad)


def drive_taken(drive: MemoryDrive) -> int:
    return drive._taken


def test_control_a_pass_that_goes_on_behind_what_was_flushed_is_found_by_the_read_back() -> None:
    drive = MemoryDrive(SIZE, takes_bytes=5 * MIB)
    _, kept = written(drive)
    drive.cut_power()
    step, _ = written(drive, replace(kept[-1], position=5 * MIB))

    assert step.outcome is StepOutcome.DONE
    assert checked(drive).different == Extents(4096, (Extent(3 * 2048, 4096),))


def test_a_drive_of_another_size_is_not_gone_on_with() -> None:
    drive = MemoryDrive(SIZE)
    with pytest.raises(AnotherDrive, match="begin the wipe anew"):
        written(drive, replace(begun(drive), size_bytes=SIZE + 512))

    assert drive.content == drive.durable == b"PATIENT." * (SIZE // 8)


def test_what_cannot_be_kept_ends_the_pass_before_it_wrote() -> None:
    drive = MemoryDrive(SIZE)

    def keep(_: PassState) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with pytest.raises(OSError, match="no room"):
        write_pass(drive, begun(drive), Watched(), CLOCK, keep)
    assert drive.content == b"PATIENT." * (SIZE // 8)


@given(st.integers(0, 1 << 40), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=5))
def test_a_state_that_was_kept_comes_back_and_no_flipped_character_of_it_does(
    size: int, gaps: list[tuple[int, int]]
) -> None:
    at, runs = 0, []
    for gap, count in gaps:
        runs.append(Extent(at + gap, count))
        at += gap + count
    unwritable = Extents(sum(run.count for run in runs), tuple(runs))
    state = replace(PassState.begin(RANDOM, "", size, CLOCK.now()), position=size // 2, unwritable=unwritable)

    assert PassState.parse(state.encode()) == state
    with pytest.raises(Malformed):
        PassState.parse(replace(state, position=size + 1).encode())
    with pytest.raises(Malformed):
        PassState.parse(state.encode()[:-1])


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_spoilt_state_is_read_as_another_or_not_at_all(at: int, bit: int) -> None:
    spoilt = bytearray(begun(MemoryDrive(512)).encode())
    spoilt[at % len(spoilt)] ^= 1 << bit
    with suppress(Malformed):
        assert PassState.parse(bytes(spoilt)) != begun(MemoryDrive(512))
