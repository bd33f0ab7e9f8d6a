"""The head of a file: read from whatever bytes come, to the right offset or not at all."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.export_folder import part10
from edge_agent.export_folder.part10 import MAX_HEAD_BYTES, Head, HeadCut, NotDicom
from shared.errors import Malformed
from tests.edge_agent.capture.images import NAMES, load

UIDS = (b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3.4", b"1.2.840.10008.1.2.1")


def element(number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    if vr in part10.LONG_VRS:
        return struct.pack("<HH2sHI", 2, number, vr, 0, length) + value
    return struct.pack("<HH2sH", 2, number, vr, length & 0xFFFF) + value


def padded(uid: bytes) -> bytes:
    return uid + b"\x00" * (len(uid) % 2)


def meta(*more: bytes, uids: tuple[bytes, bytes, bytes] = UIDS, group_length: int | None = None) -> bytes:
    body = b"".join(element(number, b"UI", padded(uid)) for number, uid in zip((2, 3, 16), uids, strict=True))
    body = element(1, b"OB", b"\x00\x01") + body + b"".join(more)
    length = len(body) if group_length is None else group_length
    return bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<I", length)) + body


DATASET = b"\x08\x00\x16\x00UI\x00\x00"
WHOLE = meta() + DATASET


@pytest.mark.parametrize("name", NAMES)
def test_reads_real_files(name: str) -> None:
    image = load(name)
    data = image.path.read_bytes()
    head = part10.parse(data, whole=True)

    assert (head.sop_class_uid, head.sop_instance_uid) == (image.sop_class, image.sop_instance)
    assert head.transfer_syntax == image.transfer_syntax
    assert data[head.dataset_start :] == image.dataset


def test_reads_what_the_page_shows() -> None:
    assert part10.parse(WHOLE, whole=True) == Head(
        "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", len(meta())
    )


def test_the_preamble_may_hold_anything() -> None:
    assert part10.parse(b"II*\x00" * 32 + WHOLE[128:], whole=True).sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize("wrong", [0, 1, 0xFFFFFFFF])
def test_a_wrong_group_length_moves_nothing(wrong: int) -> None:
    data = meta(group_length=wrong) + DATASET

    assert data[part10.parse(data, whole=True).dataset_start :] == DATASET


def test_a_head_that_is_cut_anywhere_is_cut_and_not_something_else() -> None:
    for size in range(len(meta())):
        with pytest.raises(HeadCut):
            part10.parse(WHOLE[:size], whole=False)


@pytest.mark.parametrize(
    "data",
    [
        bytes(128) + b"DIKM" + WHOLE[132:],
        DATASET * 50,
        WHOLE[132:] + bytes(200),  # File Meta Information without preamble and prefix
        bytes(128) + b"DICM" + DATASET,  # none at all
        bytes(128) + b"DICM" + WHOLE[144:],  # without its length
        meta(uids=(b"", UIDS[1], UIDS[2])) + DATASET,
        meta(uids=(UIDS[0], b"DOE^JANE", UIDS[2])) + DATASET,
        meta(uids=(UIDS[0], UIDS[1], b"1" * 66)) + DATASET,
        meta(element(16, b"UI", padded(UIDS[2]))) + DATASET,  # twice
        meta(element(0x102, b"OB", b"", 0xFFFFFFFF)) + DATASET,  # of undefined length
        meta(element(0x102, b"SQ", b"", 0xFFFFFFFF)) + DATASET,
        meta(element(0x102, b"OB", b"", MAX_HEAD_BYTES)) + DATASET,
        meta(element(0x102, b"ob", b"")) + DATASET,
        WHOLE.replace(b"\x10\x00UI", b"\x10\x00SH"),  # wrong VR
        bytes(128) + b"DICM" + struct.pack("<HHI", 2, 0, 4) + struct.pack("<I", 0) + DATASET,  # implicit VR
    ],
)
def test_what_is_no_head_is_refused_and_not_waited_for(data: bytes) -> None:
    with pytest.raises(NotDicom):
        part10.parse(data, whole=False)


def test_a_refusal_quotes_no_value() -> None:
    with pytest.raises(NotDicom) as refused:
        part10.parse(meta(uids=(UIDS[0], b"DOE^JANE", UIDS[2])) + DATASET, whole=True)

    assert "DOE" not in str(refused.value)


def test_group_0002_is_followed_no_further_than_its_limit() -> None:
    many = b"".join(element(number, b"SH", b"") for number in range(0x200, 0xFFFF))

    with pytest.raises(NotDicom, match="longer than"):
        part10.parse((meta(many) + DATASET)[:MAX_HEAD_BYTES], whole=False)


def test_a_file_without_a_data_set_ends_with_its_head() -> None:
    assert part10.parse(meta(), whole=True).dataset_start == len(meta())


@given(st.binary(max_size=400))
def test_hostile_bytes_behind_the_prefix_are_read_or_refused(data: bytes) -> None:
    check(bytes(128) + b"DICM" + data)


@given(st.data())
def test_a_head_with_some_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(128, len(changed) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(changed))


@given(st.sampled_from([b"OB", b"UN", b"SQ", b"UI", b"XX", b"\x00\x00"]), st.integers(0, 2**32 - 1))
def test_an_element_of_any_vr_and_length_is_read_or_refused(vr: bytes, length: int) -> None:
    check(meta(element(0x102, vr, b"\x00" * 20, length)) + DATASET)


def check(data: bytes) -> None:
    for whole in (True, False):
        try:
            head = part10.parse(data, whole=whole)
        except Malformed:
            continue
        assert 132 <= head.dataset_start <= min(len(data), MAX_HEAD_BYTES)
        assert data[head.dataset_start : head.dataset_start + 2] != b"\x02\x00"
