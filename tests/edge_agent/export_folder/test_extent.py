"""Whether a data set reaches its own end: told from headers, never from values, and never wrongly called cut."""

from io import BytesIO
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.export_folder import extent
from edge_agent.export_folder.extent import MAX_ELEMENTS, Extent
from tests.edge_agent.capture.images import NAMES, load

EXPLICIT, IMPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
)  # fmt: skip
UNDEFINED = 0xFFFFFFFF


def judge(data: bytes, transfer_syntax: str = EXPLICIT) -> Extent:
    source = BytesIO(data)

    def read_at(position: int, count: int) -> bytes:
        source.seek(position)
        return source.read(count)

    return extent.judge(read_at, 0, len(data), transfer_syntax)


def long(group: int, element: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    return pack("<HH2sHI", group, element, vr, 0, len(value) if length is None else length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


SEQUENCE_END = pack("<HHI", 0xFFFE, 0xE0DD, 0)
ITEM_END = pack("<HHI", 0xFFFE, 0xE00D, 0)
INNER = b"\x08\x00\x50\x11UI\x02\x001\x00"


@pytest.mark.parametrize("name", NAMES)
def test_real_data_sets_are_whole(name: str) -> None:
    image = load(name)
    expected = Extent.UNKNOWN if image.transfer_syntax == DEFLATED else Extent.WHOLE

    assert judge(image.dataset, image.transfer_syntax) is expected


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm"])
@pytest.mark.parametrize("missing", [1, 7, 100, 2000])
def test_real_data_sets_without_their_end_are_cut(name: str, missing: int) -> None:
    image = load(name)

    assert judge(image.dataset[:-missing], image.transfer_syntax) is Extent.CUT


def test_nothing_at_all_is_cut() -> None:
    assert judge(b"") is Extent.CUT


def test_undefined_lengths_are_followed_inside() -> None:
    nested = long(8, 0x1140, b"SQ", item(INNER, UNDEFINED) + ITEM_END + SEQUENCE_END, UNDEFINED)

    assert judge(nested) is Extent.WHOLE
    assert judge(nested[: -len(SEQUENCE_END)]) is Extent.CUT


def test_fragments_are_followed() -> None:
    pixels = long(0x7FE0, 0x10, b"OB", item(b"") + item(b"ab") + SEQUENCE_END, UNDEFINED)

    assert judge(pixels) is Extent.WHOLE
    assert judge(pixels[:-8]) is Extent.CUT


def test_nested_ten_thousand_deep_takes_no_stack() -> None:
    deep = long(8, 0x1140, b"SQ", item(b"", UNDEFINED), UNDEFINED) * 10_000

    assert judge(deep) is Extent.CUT


@pytest.mark.parametrize(
    "data",
    [
        INNER + b"\x00" * 20,
        long(8, 0x1140, b"UN", item(b""), UNDEFINED) + SEQUENCE_END,
        SEQUENCE_END,
        pack("<HHI", 0xFFFE, 0x1234, 0),
        INNER * (MAX_ELEMENTS + 1),
    ],
)
def test_what_makes_no_sense_cannot_be_told(data: bytes) -> None:
    assert judge(data) is Extent.UNKNOWN


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED, "1.2.3"]))
def test_any_bytes_are_judged(data: bytes, transfer_syntax: str) -> None:
    assert judge(data, transfer_syntax) in Extent


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=8))
def test_whatever_the_values_are_a_whole_data_set_is_not_called_cut(values: list[bytes]) -> None:
    assert judge(b"".join(long(9, number, b"OB", value) for number, value in enumerate(values))) is Extent.WHOLE
