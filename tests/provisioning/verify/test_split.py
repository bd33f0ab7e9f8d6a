"""Finding the dataset in whatever an archive made of a file."""

import io
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.verify.part10 import split
from shared.errors import Malformed
from tests.edge_agent.capture.images import NAMES, load
from tests.provisioning.verify.evidence import EXPLICIT_LITTLE, part10

DATASET = bytes.fromhex("08000500") + b"CS\x0a\x00ISO_IR 100"
SHORT_VRS, LONG_VRS = (b"UI", b"SH", b"AE", b"UL"), (b"OB", b"UT", b"UN")


def element(number: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH2s", 2, number, vr)
    return head + (struct.pack("<HI", 0, len(value)) if vr in LONG_VRS else struct.pack("<H", len(value))) + value


others = st.builds(
    element, st.integers(0x11, 0xFFFF), st.sampled_from(SHORT_VRS + LONG_VRS), st.binary(max_size=20)
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_real_files_are_split_where_their_dataset_begins(name: str) -> None:
    image = load(name)
    data = image.path.read_bytes()

    found = split(io.BytesIO(data))

    assert data[found.dataset_offset :] == image.dataset
    assert found.transfer_syntax == image.transfer_syntax


@given(
    st.lists(others, max_size=4), st.lists(others, max_size=4), st.booleans(),
    st.sampled_from(["none", "right", "odd"]), st.binary(min_size=128, max_size=128),
)  # fmt: skip
def test_however_group_0002_is_written_the_dataset_is_found(
    before: list[bytes], after: list[bytes], preamble: bool, length: str, start: bytes
) -> None:
    group = b"".join([*before, element(0x10, b"UI", EXPLICIT_LITTLE.encode() + b"\x00"), *after])
    stated = {"none": b"", "right": element(0, b"UL", struct.pack("<I", len(group)))}
    head = stated.get(length, element(0, b"UL", struct.pack("<I", 0xFFFFFFFF)))
    file = (start + b"DICM") * preamble + head + group

    found = split(io.BytesIO(file + DATASET))

    assert (found.dataset_offset, found.transfer_syntax) == (len(file), EXPLICIT_LITTLE)


@given(st.binary(max_size=400))
def test_anything_else_is_a_dataset_alone_or_refused(data: bytes) -> None:
    try:
        found = split(io.BytesIO(data))
    except Malformed:
        return

    assert 0 <= found.dataset_offset <= len(data)
    assert (found.transfer_syntax is None) == (found.dataset_offset == 0)


@given(st.data())
def test_a_damaged_head_never_leads_outside_the_file(data: st.DataObject) -> None:
    file = bytearray(part10(DATASET))
    file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))

    with suppress(Malformed):
        assert split(io.BytesIO(bytes(file))).dataset_offset <= len(file)


def test_the_dataset_of_a_deflated_file_may_look_like_anything() -> None:
    looks_like_group_2 = element(0x16, b"AE", b"OTHER ")

    found = split(io.BytesIO(part10(looks_like_group_2)))

    assert found.dataset_offset == len(part10(b""))


def test_a_group_0002_without_a_transfer_syntax_is_refused() -> None:
    with pytest.raises(Malformed):
        split(io.BytesIO(bytes(128) + b"DICM" + element(0x16, b"AE", b"OTHER ") + DATASET))
