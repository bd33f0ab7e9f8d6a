import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import Malformed
from shared.fields import Fields
from shared.sanitization.stream import Content, Repeated, Stream
from tests.shared.sanitization.openssl import by_openssl

SEED = bytes(range(32))


def streamed(seed: bytes, offset: int, size: int) -> bytes:
    into = bytearray(size)
    Stream(seed).fill(offset, memoryview(into))
    return bytes(into)


@pytest.mark.parametrize("sector", [0, 1, 7_814_037_167])
def test_openssl_recomputes_any_sector_from_the_seed(sector: int) -> None:
    assert streamed(SEED, sector * 512, 512) == by_openssl(SEED, sector * 512, 512)


def test_what_the_page_tells_a_stranger_to_type_makes_that_sector() -> None:
    page = (Path(__file__).parents[3] / "docs/formats/wipe-stream.md").read_text().partition("## 4.")[2]
    typed = "\n".join(line[4:] for line in page.splitlines() if line.startswith("    "))
    made = subprocess.run(
        ["bash", "-c", typed], env={**os.environ, "seed": SEED.hex()}, capture_output=True, check=True
    ).stdout

    assert made == streamed(SEED, 7_814_037_167 * 512, 512)


@given(st.integers(0, 1 << 44), st.integers(0, 5000), st.integers(0, 5000))
@example((1 << 44) - 5, 17, 3)
def test_the_stream_is_one_wherever_it_is_entered(offset: int, first: int, second: int) -> None:
    assert streamed(SEED, offset, first + second) == (
        streamed(SEED, offset, first) + streamed(SEED, offset + first, second)
    )


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 300)), min_size=1))
def test_one_reader_may_jump(places: list[tuple[int, int]]) -> None:
    stream = Stream(SEED)
    for offset, size in places:
        into = bytearray(size)
        stream.fill(offset, memoryview(into))

        assert bytes(into) == streamed(SEED, offset, size)


def test_more_than_the_zeros_at_hand_is_filled_too() -> None:
    whole = streamed(SEED, 0, (2 << 20) + 48)

    assert whole[-48:] == streamed(SEED, 2 << 20, 48)
    assert len({whole[at : at + 16] for at in range(0, len(whole), 1 << 16)}) == 33


@given(st.binary(min_size=32, max_size=32), st.integers(0, 255))
def test_another_seed_is_another_stream(seed: bytes, bit: int) -> None:
    other = bytearray(seed)
    other[bit // 8] ^= 1 << bit % 8

    assert streamed(seed, 0, 512) != streamed(bytes(other), 0, 512)


def test_the_commitment_is_the_digest_of_the_seed_and_a_byte_has_none() -> None:
    assert Content.random(SEED).commitment == sha256(SEED).digest()
    assert Content.byte("ff").commitment is None


def test_a_byte_is_everywhere() -> None:
    into = bytearray((1 << 20) + 5)
    Repeated(0xA5).fill(123, memoryview(into))

    assert into == b"\xa5" * len(into)


@pytest.mark.parametrize(
    "pattern, seed",
    [("random", None), ("00", SEED), ("random", SEED[:-1]), ("0", None), ("FF", None), ("000", None), ("", None)],
)
def test_content_is_a_byte_or_a_whole_seed(pattern: str, seed: bytes | None) -> None:
    with pytest.raises(ValueError, match="seed"):
        Content(pattern, seed)
    with pytest.raises(Malformed):
        Content.parse(Fields({"pattern": pattern, "seed": None if seed is None else seed.hex()}, "content"))


@pytest.mark.parametrize("content", [Content.random(SEED), Content.byte("5a")])
def test_content_that_was_kept_comes_back(content: Content) -> None:
    assert Content.parse(Fields(content.json(), "content")) == content
