"""The head of an entry: one encoding, nothing of another epoch, and a digest that tells a whole one from a torn one."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.spool.entry import (
    BLOCK_BYTES,
    EPOCH_BYTES,
    MAX_NOTE_BYTES,
    EntryHead,
    Note,
    digest_of,
    entry_bytes,
    verify_entry,
)
from shared.errors import Malformed

EPOCH = bytes(range(EPOCH_BYTES))
heads = st.builds(
    EntryHead,
    st.just(EPOCH),
    st.integers(1, 2**63),
    st.integers(0, 2**40),
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=MAX_NOTE_BYTES),
)


def block(head: EntryHead) -> bytes:
    return head.encode().ljust(BLOCK_BYTES, b"\x00")


@given(heads)
def test_what_parses_prints_back_unchanged(head: EntryHead) -> None:
    assert EntryHead.parse(block(head), EPOCH) == head


@given(heads, st.binary(min_size=EPOCH_BYTES, max_size=EPOCH_BYTES))
def test_a_head_of_another_epoch_is_none(head: EntryHead, epoch: bytes) -> None:
    assert (EntryHead.parse(block(head), epoch) is None) == (epoch != EPOCH)


@given(st.binary(max_size=BLOCK_BYTES + 10))
def test_other_bytes_are_no_head(data: bytes) -> None:
    assert EntryHead.parse(data, EPOCH) is None


@given(st.binary(max_size=100), st.binary(max_size=2000), st.data())
def test_a_change_in_note_or_small_parts_is_noticed(note: bytes, small: bytes, data: st.DataObject) -> None:
    head = EntryHead(EPOCH, 1, 10, digest_of(note, small), note)
    verify_entry(head, small)
    if small:
        at = data.draw(st.integers(0, len(small) - 1))
        with pytest.raises(Malformed):
            verify_entry(head, small[:at] + bytes([small[at] ^ 1]) + small[at + 1 :])
    with pytest.raises(Malformed):
        verify_entry(head, small + b"\x00")


def test_the_digest_is_that_of_note_and_small_parts() -> None:
    assert digest_of(b"note", b"parts") == sha256(b"noteparts").digest()


@pytest.mark.parametrize("size, room", [(0, 1), (1, 2), (4096, 2), (4097, 3)])
def test_an_entry_fills_whole_blocks(size: int, room: int) -> None:
    assert entry_bytes(size) == room * BLOCK_BYTES


@given(
    st.text(max_size=64, alphabet=st.characters(exclude_categories=["Cs"])),
    st.text("0123456789.", max_size=64),
    st.booleans(),
    st.booleans(),
)
def test_a_note_prints_back_unchanged(ae_title: str, sop_class: str, owed: bool, brought: bool) -> None:
    note = Note(ae_title, sop_class, owed, brought)

    assert Note.parse(note.encode()) == note
    assert note.counts_unregistered is not (owed or brought)
    assert len(note.encode()) <= MAX_NOTE_BYTES
