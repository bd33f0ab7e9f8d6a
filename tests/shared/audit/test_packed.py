"""A packed batch is the batch that its JSON is, in one encoding."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.batch import MAX_RECORDS, MAX_STATEMENT_BYTES, Batch, sign_batch, verify_batch
from shared.audit.packed import MAGIC, pack, unpack
from shared.audit.record import GENESIS, MAX_SEALED_BYTES, StoredRecord
from shared.errors import IntegrityFailure, Malformed
from tests.shared import made

CHAIN = made.chain(4)
BATCH = sign_batch(str(made.HOST), GENESIS, CHAIN, made.HOST_SIGNER)
PACKED = pack(BATCH)
SMALL = Batch((StoredRecord(b"{}", None), StoredRecord(b"", b"box")), b"signed")

records = st.builds(StoredRecord, st.binary(max_size=40), st.none() | st.binary(min_size=1, max_size=40))


@given(st.builds(Batch, st.lists(records, max_size=6).map(tuple), st.binary(max_size=40)))
def test_what_is_packed_is_unpacked(batch: Batch) -> None:
    assert unpack(pack(batch)) == batch


def test_a_batch_is_the_same_in_both_forms() -> None:
    assert unpack(PACKED) == Batch.parse(BATCH.encode()) == BATCH


def test_the_layout_is_that_of_the_page() -> None:
    assert (
        pack(SMALL)
        == MAGIC + bytes.fromhex("0001 0002 0006") + b"signed" + bytes.fromhex("0002 0000 0000 0003") + b"{}" + b"box"
    )


@given(st.data())
def test_whatever_the_bytes_there_is_one_encoding_or_none(data: st.DataObject) -> None:
    whole = pack(SMALL)
    at = data.draw(st.integers(0, len(whole)))
    spoiled = whole[:at] + data.draw(st.binary(max_size=3)) + whole[data.draw(st.integers(at, at + 3)) :]

    try:
        batch = unpack(spoiled)
    except Malformed:
        return
    assert pack(batch) == spoiled


def test_a_cut_batch_is_refused() -> None:
    for size in range(len(PACKED)):
        with pytest.raises(Malformed):
            unpack(PACKED[:size])


def test_a_batch_that_goes_on_is_refused() -> None:
    with pytest.raises(Malformed, match="not those of its parts"):
        unpack(PACKED + b"\x00")


@given(st.integers(0, 8 * len(PACKED) - 1))
def test_a_flipped_bit_is_refused_or_lies_in_a_private_part(bit: int) -> None:
    try:
        batch = unpack(made.flipped(PACKED, bit))
        verify_batch(batch, str(made.HOST), made.HOST_SIGNER.public)
    except (Malformed, IntegrityFailure):
        return

    assert [one.public for one in batch.records] == [one.public for one in CHAIN]


@pytest.mark.parametrize(
    "batch",
    [
        Batch((StoredRecord(b"{}", None),) * (MAX_RECORDS + 1), b"signed"),
        Batch((StoredRecord(b"{}", bytes(MAX_SEALED_BYTES + 1)),), b"signed"),
        replace(SMALL, statement=bytes(MAX_STATEMENT_BYTES + 1)),
        Batch((StoredRecord(bytes(60_000), None),) * 300, b"signed"),
    ],
    ids=["records", "sealed part", "statement", "bytes"],
)
def test_a_batch_beyond_a_limit_is_refused(batch: Batch) -> None:
    with pytest.raises(Malformed):
        unpack(pack(batch))


def test_a_batch_at_its_limits_is_read() -> None:
    most = Batch((StoredRecord(b"{}", bytes(MAX_SEALED_BYTES)),) * 400, bytes(MAX_STATEMENT_BYTES))
    many = Batch((StoredRecord(b"", None),) * MAX_RECORDS, b"")

    assert unpack(pack(most)) == most
    assert unpack(pack(many)) == many


@pytest.mark.parametrize("version", [0, 2, 256])
def test_another_version_is_refused_by_its_number(version: int) -> None:
    other = PACKED[: len(MAGIC)] + struct.pack(">H", version) + PACKED[len(MAGIC) + 2 :]

    with pytest.raises(Malformed, match=f"version {version}"):
        unpack(other)
