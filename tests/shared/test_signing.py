import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IntegrityFailure, Malformed, Refused
from shared.signing import Label, SignatureInvalid, SoftwareSigner, WrongSigner, sign_statement, verify_statement
from tests.shared.made import HOST_SIGNER, VAULT_SIGNER, flipped

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SIGNED = sign_statement(HOST_SIGNER, Label.CAPTURE, b"what the host vouches for")
labels = st.sampled_from(list(Label))


@given(labels, st.binary(max_size=500))
def test_a_signed_payload_comes_back(label: Label, payload: bytes) -> None:
    assert verify_statement(sign_statement(HOST_SIGNER, label, payload), label, HOST_SIGNER.public) == payload


@pytest.mark.parametrize("at", range(len(SIGNED)))
def test_any_flipped_bit_is_refused(at: int) -> None:
    for bit in range(8):
        with pytest.raises((Refused, IntegrityFailure)):
            verify_statement(flipped(SIGNED, 8 * at + bit), Label.CAPTURE, HOST_SIGNER.public)


def test_any_cut_is_refused() -> None:
    for size in range(len(SIGNED)):
        with pytest.raises(Malformed):
            verify_statement(SIGNED[:size], Label.CAPTURE, HOST_SIGNER.public)


@given(st.binary(min_size=1, max_size=70))
def test_trailing_bytes_are_refused(more: bytes) -> None:
    with pytest.raises(Malformed):
        verify_statement(SIGNED + more, Label.CAPTURE, HOST_SIGNER.public)


@given(labels, labels)
def test_a_statement_offered_as_another_kind_is_refused(signed_as: Label, offered_as: Label) -> None:
    signed = sign_statement(HOST_SIGNER, signed_as, b"payload")
    if signed_as is offered_as:
        return

    with pytest.raises(SignatureInvalid):
        verify_statement(signed, offered_as, HOST_SIGNER.public)


def test_a_payload_that_begins_with_another_label_is_still_refused() -> None:
    # "a" || 0 || "b..." must not be readable as label "a\0b".
    inner = Label.RECEIPT.value.encode() + b"\x00payload"
    signed = sign_statement(HOST_SIGNER, Label.CAPTURE, inner)

    with pytest.raises(SignatureInvalid):
        verify_statement(signed, Label.RECEIPT, HOST_SIGNER.public)


def test_somebody_elses_signature_is_refused() -> None:
    with pytest.raises(WrongSigner):
        verify_statement(SIGNED, Label.CAPTURE, VAULT_SIGNER.public)


def test_somebody_elses_signature_under_the_hosts_name_is_refused() -> None:
    forged = sign_statement(VAULT_SIGNER, Label.CAPTURE, b"payload")
    forged = forged[:8] + HOST_SIGNER.public.key_id.raw + forged[24:]

    with pytest.raises(SignatureInvalid):
        verify_statement(forged, Label.CAPTURE, HOST_SIGNER.public)


class HighSSigner(SoftwareSigner):
    """Signs as a token may: with s in the upper half."""

    def sign(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(super().sign(message))
        return encode_dss_signature(r, max(s, ORDER - s))


def test_there_is_one_valid_signature_of_a_signing() -> None:
    signer = HighSSigner(HOST_SIGNER._key)
    signed = sign_statement(signer, Label.CAPTURE, b"payload")
    other = signed[:-32] + (ORDER - int.from_bytes(signed[-32:])).to_bytes(32)

    assert verify_statement(signed, Label.CAPTURE, signer.public) == b"payload"
    with pytest.raises(SignatureInvalid):
        verify_statement(other, Label.CAPTURE, signer.public)


@given(st.binary(min_size=64, max_size=64))
def test_random_signatures_are_refused(signature: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify_statement(SIGNED[:-64] + signature, Label.CAPTURE, HOST_SIGNER.public)
