"""A whole sealed object: nothing of it can be changed, cut, moved or forged unseen."""

import io
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import ObjectId
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.chunked import HEADER_BYTES, SEALED_CHUNK_BYTES, ChunkNotAuthentic, CommitmentMismatch, Truncated
from shared.sealing.hpke import BoxLabel, BoxNotAuthentic
from shared.sealing.index import IndexMismatch, SealedIndex, open_index, seal_index
from shared.sealing.open import ObjectAltered, open_range, open_verified, verify_parts
from shared.sealing.seal import ObjectSealer, StreamSink
from shared.signing import SignatureInvalid, SoftwareSigner, WrongSigner
from tests.shared import made

DATASET = bytes(range(256)) * 160  # 40,960 bytes, two whole chunks and a half
FILE, SEALED = made.sealed_file(DATASET)
SMALL, SMALL_SEALED = made.sealed_file(b"a dataset")
OTHER_BINDING = replace(made.BINDING, object_id=ObjectId(b"\xff" * 16))
OTHER, _ = made.sealed_file(DATASET[::-1], OTHER_BINDING)


def parts_of(file: bytes) -> object_file.ObjectParts:
    return object_file.parse(io.BytesIO(file))


def rebuilt(file: bytes, **parts: bytes) -> bytes:
    """Return `file` with some of wrap, index, record or body replaced."""
    old = parts_of(file)
    body = parts.get("body", made.body_of(file))
    small = {name: parts.get(name, getattr(old, name)) for name in ("wrap", "index", "record")}
    return object_file.head(old.binding) + body + object_file.tail(len(body), **small)


def index_opens(file: bytes) -> bool:
    parts = parts_of(file)
    binding, record = verify_parts(made.stored(parts), made.HOST_SIGNER.public)
    entry = open_index(SealedIndex(parts.index, record.index_commitment), binding, made.INDEX_KEY)
    return entry == made.ENTRY


@given(st.integers(0, 40_000))
def test_an_object_opens_byte_for_byte(size: int) -> None:
    file, sealed = made.sealed_file(DATASET[:size])

    assert made.opened(file) == DATASET[:size]
    assert index_opens(file)
    assert sealed.file_bytes == len(file)


def test_a_flipped_bit_in_any_byte_of_the_file_is_refused() -> None:
    parts = parts_of(SMALL)
    index_at = parts.body_offset + parts.body_bytes + len(parts.wrap)
    in_index = range(index_at, index_at + len(parts.index))
    for at in range(len(SMALL)):
        spoiled = made.flipped(SMALL, 8 * at + at % 8)
        with pytest.raises((Refused, IntegrityFailure)):
            # The index is no part of the dataset's proof; it has its own.
            index_opens(spoiled) if at in in_index else made.opened(spoiled)


@given(st.integers(0, 8 * len(made.body_of(FILE)) - 1))
def test_any_flipped_bit_of_the_body_is_refused(bit: int) -> None:
    with pytest.raises((CommitmentMismatch, ChunkNotAuthentic)):
        made.opened(rebuilt(FILE, body=made.flipped(made.body_of(FILE), bit)))


@given(st.integers(0, len(FILE) - 1))
def test_a_file_that_was_cut_off_is_refused(size: int) -> None:
    with pytest.raises(Malformed):
        made.opened(FILE[:size])


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_body_cut_exactly_at_a_chunks_end_is_refused(chunks: int) -> None:
    body = made.body_of(FILE)[: HEADER_BYTES + chunks * SEALED_CHUNK_BYTES]

    with pytest.raises(Truncated):
        made.opened(rebuilt(FILE, body=body))


@given(st.integers(0, len(made.body_of(FILE)) - 1))
def test_a_body_cut_anywhere_is_refused(size: int) -> None:
    with pytest.raises((Truncated, ChunkNotAuthentic)):
        made.opened(rebuilt(FILE, body=made.body_of(FILE)[:size]))


@pytest.mark.parametrize("order", [p for p in permutations(range(3)) if p != (0, 1, 2)])
def test_reordered_chunks_are_refused(order: tuple[int, ...]) -> None:
    body = made.body_of(FILE)
    chunks = [body[at : at + SEALED_CHUNK_BYTES] for at in range(HEADER_BYTES, len(body), SEALED_CHUNK_BYTES)]

    with pytest.raises(ChunkNotAuthentic):
        made.opened(rebuilt(FILE, body=body[:HEADER_BYTES] + b"".join(chunks[n] for n in order)))


def test_a_swapped_body_is_refused() -> None:
    with pytest.raises(CommitmentMismatch):
        made.opened(rebuilt(FILE, body=made.body_of(OTHER)))


def test_a_swapped_wrap_is_refused() -> None:
    with pytest.raises(BoxNotAuthentic):
        made.opened(rebuilt(FILE, wrap=parts_of(OTHER).wrap))


def test_a_swapped_record_is_refused() -> None:
    with pytest.raises(ObjectAltered, match="names another object"):
        made.opened(rebuilt(FILE, record=parts_of(OTHER).record))


def test_a_swapped_index_is_refused() -> None:
    with pytest.raises(BoxNotAuthentic):
        index_opens(rebuilt(FILE, index=parts_of(OTHER).index))


def test_another_genuine_object_in_its_place_is_refused() -> None:
    with pytest.raises(ObjectAltered, match="names another object"):
        made.opened(OTHER)


def test_a_swapped_binding_is_refused() -> None:
    old = len(object_file.head(made.BINDING))

    with pytest.raises(ObjectAltered, match="binding"):
        made.opened(object_file.head(OTHER_BINDING) + FILE[old:])


def test_a_self_consistent_forgery_is_refused() -> None:
    out = io.BytesIO()
    forger = SoftwareSigner(made.VAULT_SIGNER._key)
    sealer = ObjectSealer(StreamSink(out), made.BINDING)
    sealer.update(b"what the forger would have us see")
    sealer.finish(made.SEALING, made.ENTRY, forger)
    forged = out.getvalue()

    with pytest.raises(WrongSigner):
        made.opened(forged)
    record = bytearray(parts_of(forged).record)
    record[8:24] = made.HOST_SIGNER.public.key_id.raw
    with pytest.raises(SignatureInvalid):
        made.opened(rebuilt(forged, record=bytes(record)))


def test_a_forged_body_and_wrap_under_the_genuine_record_are_refused() -> None:
    out = io.BytesIO()
    sealer = ObjectSealer(StreamSink(out), made.BINDING)
    sealer.update(DATASET[:-1] + b"\x00")
    sealer.finish(made.SEALING, made.ENTRY, made.HOST_SIGNER)
    forged = out.getvalue()

    with pytest.raises(ObjectAltered, match="the sealed body"):
        made.opened(rebuilt(FILE, body=made.body_of(forged), wrap=parts_of(forged).wrap))


def test_a_forged_index_is_refused() -> None:
    forged = seal_index(replace(made.ENTRY, patient_id="P2"), made.BINDING, made.INDEX_KEY.public, bytes(32))

    with pytest.raises(IndexMismatch):
        index_opens(rebuilt(FILE, index=forged.box))


def test_a_replaced_wrap_of_the_same_data_key_opens() -> None:
    bound = made.BINDING.encode()
    data_key = made.DATA_KEY.open(BoxLabel.DATA_KEY, bound, parts_of(FILE).wrap)
    rotated = made.DATA_KEY.public.seal(BoxLabel.DATA_KEY, bound, data_key)

    assert rotated != parts_of(FILE).wrap
    assert made.opened(rebuilt(FILE, wrap=rotated)) == DATASET


def test_nothing_is_given_out_of_an_object_whose_signature_does_not_hold() -> None:
    spoiled = rebuilt(FILE, record=made.flipped(parts_of(FILE).record, 8 * 100))
    parts = parts_of(spoiled)

    with pytest.raises(SignatureInvalid):
        next(open_verified(made.stored(parts), io.BytesIO(), made.HOST_SIGNER.public, made.DATA_KEY))


@given(st.integers(0, 50_000), st.integers(0, 50_000))
def test_a_range_of_an_object_is_a_slice_of_its_dataset(start: int, length: int) -> None:
    parts = parts_of(FILE)
    body = made.body_of(FILE)

    data = open_range(
        made.stored(parts), lambda at, size: body[at : at + size], made.HOST_SIGNER.public, made.DATA_KEY, start, length
    )

    assert data == DATASET[start : start + length]


@given(st.binary(max_size=20))
def test_no_two_objects_share_key_or_salt(dataset: bytes) -> None:
    one, other = made.sealed_file(dataset)[0], made.sealed_file(dataset)[0]

    assert made.body_of(one)[:24] != made.body_of(other)[:24]
    assert made.body_of(one)[HEADER_BYTES:] != made.body_of(other)[HEADER_BYTES:]


@given(st.text(max_size=70))
def test_a_binding_takes_only_what_looks_like_a_uid(uid: str) -> None:
    fits = 1 <= len(uid) <= 64 and all(part.isascii() and part.isdecimal() for part in uid.split("."))
    if not uid.isascii() or len(uid) > 255:
        return
    raw = made.BINDING.encode()[:74] + bytes([len(uid)]) + uid.encode()

    if fits:
        assert Binding.parse(raw).transfer_syntax == uid
    else:
        with pytest.raises(Malformed):
            Binding.parse(raw)
