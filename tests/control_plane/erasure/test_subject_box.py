"""A private part sealed to everybody whom it is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.erasure.subject_box import SubjectBox, SubjectBoxNotAuthentic, SubjectOpener, SubjectSealer
from shared.errors import Malformed
from shared.sealing.hpke import BoxLabel

BOUND, PLAIN = bytes(32), b"salt and what names somebody"
SECRETS = st.dictionaries(
    st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), min_size=1, max_size=5
)


def sealed(secrets: dict[bytes, bytes]) -> bytes:
    return SubjectSealer(secrets).seal(BoxLabel.AUDIT_PRIVATE, BOUND, PLAIN)


def opened(secrets: dict[bytes, bytes], box: bytes, bound: bytes = BOUND) -> bytes:
    return SubjectOpener(secrets).open(BoxLabel.AUDIT_PRIVATE, bound, box)


@given(SECRETS)
def test_it_opens_with_the_secrets_of_all_and_with_one_fewer_for_nobody(secrets: dict[bytes, bytes]) -> None:
    box = sealed(secrets)

    assert opened(secrets, box) == PLAIN
    assert SubjectBox.parse(box).key_ids == tuple(sorted(secrets))
    for gone in secrets:
        with pytest.raises(SubjectBoxNotAuthentic):
            opened({key_id: secret for key_id, secret in secrets.items() if key_id != gone}, box)
        with pytest.raises(SubjectBoxNotAuthentic):
            opened({**secrets, gone: bytes(31) + b"\1"}, box)


@given(SECRETS, st.data())
def test_a_box_that_was_changed_or_moved_opens_for_nobody(secrets: dict[bytes, bytes], data: st.DataObject) -> None:
    box = bytearray(sealed(secrets))
    box[data.draw(st.integers(0, len(box) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises((SubjectBoxNotAuthentic, Malformed)):
        opened(secrets, bytes(box))
    with pytest.raises(SubjectBoxNotAuthentic):
        opened(secrets, sealed(secrets), bound=bytes(31) + b"\1")


@given(st.binary(max_size=100) | st.binary(max_size=90).map(lambda tail: b"LGSUBJ\x00\x01" + tail))
def test_bytes_of_anybody_are_malformed_or_say_whose_keys_they_take(data: bytes) -> None:
    try:
        box = SubjectBox.parse(data)
    except Malformed:
        return
    assert box.head + box.sealed == data
    assert len(box.key_ids) == data[8]
