"""What a read back finds, and what it must not overlook."""

import errno
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.sanitize.engine import read
from edge_agent.sanitize.engine.before import Before, NotSampled, read_changed, sample_before
from edge_agent.sanitize.engine.read import read_back
from shared.errors import Malformed
from shared.policy.wipe import ReadBack
from shared.sanitization.report import MAX_RANGES, NOWHERE, Expected, Extent, Extents
from shared.sanitization.sampling import places, sampled_bytes
from shared.sanitization.stream import Content, Stream
from tests.fakes.clock import FakeClock
from tests.fakes.drive import MemoryDrive
from tests.fakes.watch import Watched

MIB = 1 << 20
SIZE = 6 * MIB + 3 * 512
SEED, SAMPLES = bytes(range(32)), bytes(range(1, 33))
RANDOM = Content.random(SEED)
CLOCK = FakeClock()
ALWAYS = 1 << 30


def wiped() -> MemoryDrive:
    drive = MemoryDrive(SIZE)
    Stream(SEED).fill(0, memoryview(drive.content))
    return drive


def test_the_whole_is_read_and_is_equal() -> None:
    found = read_back(wiped(), RANDOM, ReadBack.WHOLE, SAMPLES, Watched(), CLOCK)

    assert (found.bytes_to_read, found.bytes_read, found.bytes_equal) == (SIZE, SIZE, SIZE)
    assert (found.different, found.unreadable, found.ended) == (NOWHERE, NOWHERE, CLOCK.now())
    assert (found.expected, found.stream_seed, found.sample_seed) == (Expected.STREAM, SEED, None)


@settings(max_examples=20)
@given(st.integers(0, SIZE * 8 - 1))
def test_a_single_flipped_bit_is_found_by_the_whole(bit: int) -> None:
    drive = wiped()
    drive.content[bit // 8] ^= 1 << bit % 8
    found = read_back(drive, RANDOM, ReadBack.WHOLE, SAMPLES, Watched(), CLOCK)

    assert found.different == Extents(1, (Extent(bit // 8 // 512, 1),))
    assert found.bytes_equal == SIZE - 512


@settings(max_examples=20)
@given(st.integers(0, SIZE // 512 - 1), st.binary(min_size=32, max_size=32))
def test_samples_find_just_what_lies_in_them(sector: int, seed: bytes) -> None:
    drive = wiped()
    drive.content[sector * 512] ^= 1
    found = read_back(drive, RANDOM, ReadBack.SAMPLES, seed, Watched(), CLOCK)

    is_sampled = any(one.first <= sector < one.first + one.count for one in places(seed, SIZE, 512))
    assert found.different == (Extents(1, (Extent(sector, 1),)) if is_sampled else NOWHERE)
    assert found.bytes_to_read == found.bytes_read == sampled_bytes(SIZE, 512)
    assert (found.sample_seed, found.ended) == (seed, CLOCK.now())


@pytest.mark.parametrize("why", [errno.EIO, errno.ENODATA])
def test_sectors_that_cannot_be_read_are_listed_and_those_around_are_compared(why: int) -> None:
    drive = wiped()
    drive.bad_reads |= {4095: (ALWAYS, why), 4096: (ALWAYS, why), 5000: (2, why)}
    drive.content[4097 * 512] ^= 1
    found = read_back(drive, RANDOM, ReadBack.WHOLE, SAMPLES, Watched(), CLOCK)

    assert found.unreadable == Extents(2, (Extent(4095, 2),))
    assert found.different == Extents(1, (Extent(4097, 1),))
    assert (found.bytes_read, found.bytes_equal) == (SIZE - 2 * 512, SIZE - 3 * 512)


def test_a_drive_that_only_pretended_differs_everywhere() -> None:
    drive = MemoryDrive(SIZE, drops_writes=True)
    found = read_back(drive, Content.byte("00"), ReadBack.WHOLE, SAMPLES, Watched(), CLOCK)

    assert found.different == Extents(SIZE // 512, (Extent(0, SIZE // 512),))
    assert (found.bytes_equal, found.expected, found.pattern) == (0, Expected.PATTERN, "00")


def test_all_runs_are_counted_and_the_first_are_listed() -> None:
    drive = wiped()
    for sector in range(0, 2 * (MAX_RANGES + 7), 2):
        drive.content[sector * 512] ^= 1
    found = read_back(drive, RANDOM, ReadBack.WHOLE, SAMPLES, Watched(), CLOCK)

    assert found.different.sectors == MAX_RANGES + 7
    assert found.different.listed == tuple(Extent(2 * at, 1) for at in range(MAX_RANGES))
    assert not found.different.is_complete


def test_a_person_stops_it_and_it_has_no_end() -> None:
    found = read_back(wiped(), RANDOM, ReadBack.WHOLE, SAMPLES, Watched(stop_at=MIB), CLOCK)

    assert found.ended is None
    assert 0 < found.bytes_read < SIZE


def test_a_drive_that_goes_away_leaves_it_without_end() -> None:
    drive = wiped()
    drive.bad_reads[5 * 2048] = (ALWAYS, errno.ENXIO)
    found = read_back(drive, RANDOM, ReadBack.WHOLE, SAMPLES, Watched(), CLOCK)

    assert (found.ended, found.bytes_read) == (None, 5 * MIB)


def test_far_too_many_unreadable_sectors_leave_it_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MOST_UNREADABLE_SECTORS", 10)
    drive = wiped()
    drive.bad_reads |= dict.fromkeys(range(11), (ALWAYS, errno.EIO))

    assert read_back(drive, RANDOM, ReadBack.WHOLE, SAMPLES, Watched(), CLOCK).ended is None


# ---- changed


def test_after_a_command_what_held_something_must_be_another_and_the_rest_counts_for_nothing() -> None:
    drive = wiped()
    drive.content[: SIZE // 2] = bytes(SIZE // 2)
    before = Before.parse(sample_before(drive, SAMPLES, Watched()).encode())
    held = [place for place, _ in before.held()]
    untouched = read_changed(drive, before, Watched(), CLOCK)
    drive.content[:] = bytes(SIZE)
    erased = read_changed(drive, before, Watched(), CLOCK)

    total = sum(place.count for place in held) * 512
    assert all(place.first >= SIZE // 2 // 512 - 8 for place in held)
    assert (untouched.bytes_to_read, untouched.bytes_read, untouched.bytes_equal) == (total, total, 0)
    assert untouched.different.sectors == total // 512
    assert (erased.bytes_equal, erased.different, erased.expected) == (total, NOWHERE, Expected.CHANGED)
    assert erased.ended == CLOCK.now()


def test_one_sample_that_is_as_it_was_is_found() -> None:
    drive = wiped()
    before = sample_before(drive, SAMPLES, Watched())
    place = list(before.held())[100][0]
    start, end = place.first * 512, (place.first + place.count) * 512
    kept = bytes(drive.content[start:end])
    drive.content[:] = bytes(SIZE)
    drive.content[start:end] = kept

    assert read_changed(drive, before, Watched(), CLOCK).different == Extents(place.count, (place,))


def test_a_drive_on_which_nothing_was_gives_nothing_to_compare() -> None:
    drive = MemoryDrive(SIZE)
    drive.content[:] = bytes(SIZE)
    found = read_changed(drive, sample_before(drive, SAMPLES, Watched()), Watched(), CLOCK)

    assert (found.bytes_to_read, found.bytes_equal) == (0, 0)


def test_samples_that_could_not_be_read_before_count_for_nothing_and_afterwards_are_listed() -> None:
    drive = wiped()
    drive.bad_reads[0] = (ALWAYS, errno.ENODATA)
    before = sample_before(drive, SAMPLES, Watched())
    last = SIZE // 512 - 1
    drive.bad_reads[last] = (ALWAYS, errno.ENODATA)
    drive.content[:] = bytes(SIZE)
    found = read_changed(drive, before, Watched(), CLOCK)

    assert before.digests[0] is None
    assert found.unreadable == Extents(1, (Extent(last, 1),))
    assert found.bytes_read == found.bytes_equal == found.bytes_to_read - 512


def test_a_drive_that_does_not_answer_is_not_sampled_and_a_stopped_one_neither() -> None:
    drive = wiped()
    drive.bad_reads[0] = (ALWAYS, errno.ENODEV)
    with pytest.raises(NotSampled, match="No such device"):
        sample_before(drive, SAMPLES, Watched())
    with pytest.raises(NotSampled, match="stopped by a person"):
        sample_before(wiped(), SAMPLES, Watched(stop_at=1))


@pytest.mark.parametrize("size", [512, 5 * 512, 1 << 20, 24 << 20, 96 << 20])
def test_no_more_is_held_against_what_was_there_before_than_samples_are_of(size: int) -> None:
    """A judge that finds more read than samples are of believes none of it: so it was of every small medium."""
    drive = MemoryDrive(size)
    before = sample_before(drive, SAMPLES, Watched())
    drive.content[:] = bytes(size)

    checked = read_changed(drive, before, Watched(), FakeClock())

    assert 0 < checked.bytes_read == checked.bytes_equal <= sampled_bytes(size, 512)


def test_kept_samples_hold_digests_and_no_content_and_a_cut_one_is_refused() -> None:
    drive = MemoryDrive(SIZE)
    kept = sample_before(drive, SAMPLES, Watched()).encode()

    assert b"PATIENT" not in kept
    assert sha256(b"PATIENT." * 64).hexdigest()[:32].encode() in kept
    for size in (0, 10, len(kept) - 1):
        with pytest.raises(Malformed):
            Before.parse(kept[:size])
    with pytest.raises(Malformed):
        Before.parse(kept.replace(b'"size_bytes":', b'"size_bytes":9'))
