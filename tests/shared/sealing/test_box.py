"""HPKE boxes: only the private key opens them, and only beside what they belong to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IntegrityFailure, Malformed, Refused
from shared.sealing.hpke import (
    PUBLIC_KEY_BYTES,
    AlreadyUsed,
    BoxLabel,
    BoxNotAuthentic,
    SealedBox,
    SealingPrivateKey,
    SealingPublicKey,
    WrongKey,
)
from tests.shared.made import DATA_KEY, INDEX_KEY, flipped
from tests.vectors.second_reader import open_box

BOUND, SECRET = b"a binding", b"a data key of thirty-two bytes.."
BOX = DATA_KEY.public.seal(BoxLabel.DATA_KEY, BOUND, SECRET)


@given(st.sampled_from(list(BoxLabel)), st.binary(max_size=100), st.binary(max_size=2000))
def test_what_is_sealed_opens(label: BoxLabel, bound: bytes, plaintext: bytes) -> None:
    assert DATA_KEY.open(label, bound, DATA_KEY.public.seal(label, bound, plaintext)) == plaintext


def test_a_flipped_bit_in_any_byte_is_refused() -> None:
    for at in range(len(BOX)):
        with pytest.raises((Refused, IntegrityFailure)):
            DATA_KEY.open(BoxLabel.DATA_KEY, BOUND, flipped(BOX, 8 * at + at % 8))


@given(st.integers(0, len(BOX) - 1))
def test_any_cut_is_refused(size: int) -> None:
    with pytest.raises(Malformed):
        DATA_KEY.open(BoxLabel.DATA_KEY, BOUND, BOX[:size])


@given(st.binary(min_size=1, max_size=40))
def test_trailing_bytes_are_refused(more: bytes) -> None:
    with pytest.raises(Malformed):
        DATA_KEY.open(BoxLabel.DATA_KEY, BOUND, BOX + more)


@given(st.binary(max_size=100).filter(lambda bound: bound != BOUND))
def test_a_box_moved_beside_something_else_is_refused(bound: bytes) -> None:
    with pytest.raises(BoxNotAuthentic):
        DATA_KEY.open(BoxLabel.DATA_KEY, bound, BOX)


@pytest.mark.parametrize("label", [BoxLabel.INDEX, BoxLabel.AUDIT_PRIVATE])
def test_a_box_offered_as_another_kind_is_refused(label: BoxLabel) -> None:
    with pytest.raises(BoxNotAuthentic):
        DATA_KEY.open(label, BOUND, BOX)


def test_another_key_is_refused_and_named() -> None:
    with pytest.raises(WrongKey) as refusal:
        INDEX_KEY.open(BoxLabel.DATA_KEY, BOUND, BOX)
    assert (refusal.value.needed, refusal.value.given) == (DATA_KEY.public.key_id, INDEX_KEY.public.key_id)


def test_a_box_renamed_to_another_key_is_refused() -> None:
    parsed = SealedBox.parse(BOX)

    with pytest.raises(BoxNotAuthentic):
        INDEX_KEY.open(BoxLabel.DATA_KEY, BOUND, SealedBox(INDEX_KEY.public.key_id, parsed.enc, parsed.ct).encode())


@given(st.binary(min_size=1120, max_size=1120), st.binary(min_size=16, max_size=80))
def test_a_made_up_box_is_refused(enc: bytes, ct: bytes) -> None:
    with pytest.raises(BoxNotAuthentic):
        DATA_KEY.open(BoxLabel.DATA_KEY, BOUND, SealedBox(DATA_KEY.public.key_id, enc, ct).encode())


# Points of low order of Curve25519 (RFC 7748 section 6.1; the list is in draft-irtf-cfrg-cpace, appendix).
LOW_ORDER = [
    bytes(32), b"\x01" + bytes(31),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]  # fmt: skip


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_a_key_of_low_order_is_refused_before_anything_is_sealed_to_it(point: bytes) -> None:
    with pytest.raises(Malformed):
        SealingPublicKey(DATA_KEY.public.raw[:1184] + point)


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_a_box_with_a_share_of_low_order_is_refused(point: bytes) -> None:
    parsed = SealedBox.parse(BOX)

    with pytest.raises(BoxNotAuthentic):
        DATA_KEY.open(BoxLabel.DATA_KEY, BOUND, SealedBox(parsed.key_id, parsed.enc[:1088] + point, parsed.ct).encode())


@given(st.binary(min_size=PUBLIC_KEY_BYTES, max_size=PUBLIC_KEY_BYTES) | st.binary(max_size=40))
def test_random_bytes_are_no_public_key(raw: bytes) -> None:
    with pytest.raises(Malformed):
        SealingPublicKey(raw)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(Malformed):
        SealingPrivateKey(bytes(size))


def test_two_boxes_of_one_secret_have_nothing_in_common() -> None:
    again = DATA_KEY.public.seal(BoxLabel.DATA_KEY, BOUND, SECRET)

    assert SealedBox.parse(again).enc != SealedBox.parse(BOX).enc
    assert SealedBox.parse(again).ct != SealedBox.parse(BOX).ct


@given(st.sampled_from(list(BoxLabel)), st.binary(max_size=100), st.binary(max_size=2000))
def test_what_is_sealed_by_an_encapsulation_made_before_opens(label: BoxLabel, bound: bytes, plaintext: bytes) -> None:
    seed = bytes(range(32))
    key = SealingPrivateKey(seed)
    box = key.public.encapsulate().seal(label, bound, plaintext)

    assert key.open(label, bound, box) == plaintext
    assert open_box(box, seed, label.value, bound) == plaintext


def test_an_encapsulation_seals_one_box() -> None:
    encapsulation = DATA_KEY.public.encapsulate()
    encapsulation.seal(BoxLabel.DATA_KEY, BOUND, SECRET)

    with pytest.raises(AlreadyUsed):
        encapsulation.seal(BoxLabel.DATA_KEY, BOUND, SECRET)


def test_an_encapsulation_that_was_destroyed_seals_none() -> None:
    encapsulation = DATA_KEY.public.encapsulate()
    encapsulation.destroy()

    with pytest.raises(AlreadyUsed):
        encapsulation.seal(BoxLabel.DATA_KEY, BOUND, SECRET)
