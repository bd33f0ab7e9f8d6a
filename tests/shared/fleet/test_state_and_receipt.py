import pytest

from shared.errors import IntegrityFailure, Refused
from shared.fleet.receipt import Receipt, ReceiptMismatch, sign_receipt, verify_receipt
from shared.fleet.state import HostState, sign_state, verify_state
from shared.identity import ObjectId
from shared.signing import SignatureInvalid, WrongSigner
from tests.shared.made import HOST, HOST_SIGNER, NOW, OBJECT, VAULT_SIGNER, flipped

DIGEST = bytes(range(32))
RECEIPT = Receipt(OBJECT, DIGEST, NOW)
STATE = HostState(HOST, 12, NOW, "leadglass 0.1.0", 3, 2, "", True, 1, 40, 39, 2, 5)


def test_a_receipt_holds_for_the_object_and_record_it_names() -> None:
    signed = sign_receipt(RECEIPT, VAULT_SIGNER)

    assert verify_receipt(signed, VAULT_SIGNER.public, OBJECT, DIGEST) == RECEIPT


def test_a_receipt_for_another_object_or_record_is_refused() -> None:
    signed = sign_receipt(RECEIPT, VAULT_SIGNER)

    for object_id, digest in ((ObjectId(bytes(16)), DIGEST), (OBJECT, bytes(32))):
        with pytest.raises(ReceiptMismatch):
            verify_receipt(signed, VAULT_SIGNER.public, object_id, digest)


def test_a_receipt_that_the_host_made_for_itself_is_refused() -> None:
    with pytest.raises(WrongSigner):
        verify_receipt(sign_receipt(RECEIPT, HOST_SIGNER), VAULT_SIGNER.public, OBJECT, DIGEST)


def test_any_flipped_bit_of_a_receipt_is_refused() -> None:
    signed = sign_receipt(RECEIPT, VAULT_SIGNER)
    for bit in range(8 * len(signed)):
        with pytest.raises((Refused, IntegrityFailure)):
            verify_receipt(flipped(signed, bit), VAULT_SIGNER.public, OBJECT, DIGEST)


def test_a_state_report_reads_back() -> None:
    assert verify_state(sign_state(STATE, HOST_SIGNER), HOST_SIGNER.public) == STATE


def test_a_receipt_offered_as_a_state_report_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        verify_state(sign_receipt(RECEIPT, HOST_SIGNER), HOST_SIGNER.public)


def test_any_flipped_bit_of_a_state_report_is_refused() -> None:
    signed = sign_state(STATE, HOST_SIGNER)
    for at in range(len(signed)):
        with pytest.raises((Refused, IntegrityFailure)):
            verify_state(flipped(signed, 8 * at + at % 8), HOST_SIGNER.public)
