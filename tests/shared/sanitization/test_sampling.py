from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.sanitization.report import Extent
from shared.sanitization.sampling import SECTIONS, places, sampled_bytes

seeds = st.binary(min_size=32, max_size=32)
SEED = bytes(32)


@given(seeds, st.integers(1, 200_000), st.sampled_from([512, 4096]), st.sampled_from([None, 1, 8]))
@example(SEED, 22, 512, None)
@example(SEED, 7_814_037_168, 512, None)
@example(SEED, 7_814_037_168, 512, 8)
def test_samples_rise_lie_apart_and_hold_both_ends(seed: bytes, sectors: int, sector: int, sample: int | None) -> None:
    found = list(places(seed, sectors * sector, sector, sample))

    end = 0
    for one in found:
        assert one.first >= end
        assert one.count > 0
        end = one.first + one.count
    assert found[0].first == 0
    assert end == sectors


@given(seeds, st.integers(0, 200_000), st.sampled_from([512, 4096]))
def test_they_are_a_tenth_of_the_medium_at_least_and_no_seed_makes_them_fewer(
    seed: bytes, sectors: int, sector: int
) -> None:
    read = sum(one.count for one in places(seed, sectors * sector, sector)) * sector

    assert read == sampled_bytes(sectors * sector, sector)
    assert read * 10 >= sectors * sector


@settings(max_examples=20)
@given(seeds, st.integers(20_002, 1_000_000))
def test_each_of_a_thousand_sections_has_two_samples_of_a_twentieth(seed: bytes, sectors: int) -> None:
    between = list(places(seed, sectors * 512, 512))[1:-1]

    assert len(between) == 2 * SECTIONS
    for number in range(SECTIONS):
        start, end = (1 + at * (sectors - 2) // SECTIONS for at in (number, number + 1))
        for sample in between[2 * number : 2 * number + 2]:
            assert start <= sample.first
            assert sample.first + sample.count <= end
            assert sample.count * 20 >= end - start


def test_every_sector_of_a_section_is_read_by_some_seed() -> None:
    seen: set[int] = set()
    for number in range(400):
        for one in places(number.to_bytes(32, "big"), 42 * 512, 512):
            seen |= set(range(one.first, one.first + one.count))

    assert seen == set(range(42))


def test_another_seed_reads_other_places() -> None:
    assert list(places(SEED, 1 << 30, 512)) != list(places(bytes(31) + b"\x01", 1 << 30, 512))


def test_a_medium_too_small_for_sections_is_read_whole() -> None:
    assert list(places(SEED, 21 * 512, 512)) == [Extent(0, 21)]
    assert list(places(SEED, 0, 512)) == []
