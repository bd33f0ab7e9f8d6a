from dataclasses import replace
from typing import Any

import pytest

from control_plane.fleet.broker_config import MAX_PAYLOAD_BYTES
from shared.devices.verdict import Access, Cause, Target
from shared.errors import IntegrityFailure, Refused
from shared.fleet.devices import (
    MAX_DEVICES,
    MAX_FINDINGS,
    MAX_OTHERS,
    Authorized,
    DeviceState,
    Finding,
    FindingState,
    GuardLayer,
    GuardReport,
    OtherDevice,
    OtherState,
    Seen,
)
from shared.fleet.keys import KeyProtection
from shared.fleet.receipt import Receipt, ReceiptMismatch, sign_receipt, verify_receipt
from shared.fleet.state import (
    MAX_BYTES,
    MAX_ERROR_CHARS,
    MAX_FOLDERS,
    CaptureState,
    FolderState,
    HostState,
    RouteState,
    sign_state,
    verify_state,
)
from shared.identity import ObjectId
from shared.policy.routes import MAX_ROUTES
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


# ---- the guard's report within it

PILE = "\N{PILE OF POO}"
DEVICE = DeviceState(
    "1-1.2", "1-1", "0781:5581", "N" * 126, "S" * 126, "0b" * 32, " ".join(["08:06:50"] * 16), Seen.WHILE_DOWN, NOW,
    Target.BLOCK, Target.REJECT, Cause.PINNED_CONSOLE, 1_000_000, "d" * 300, Access.READ_WRITE, Authorized.UNKNOWN,
)  # fmt: skip
OTHER = OtherDevice("k" * 32, "N" * 126, "d" * 300, Seen.WHILE_DOWN, NOW, OtherState.WITH_USB_DEVICE)
FINDING = Finding("c" * 40, FindingState.NOT_EVALUATED, "d" * 300, NOW)
GUARD = GuardReport("leadglass-guard", 3, "", True, "boot", False, 0, 9, (DEVICE,), (OTHER,), (FINDING,))


def with_guard(devices: int, others: int = 0, findings: int = 0, text: str = "d" * 300, **more: Any) -> HostState:
    guard = replace(
        GUARD,
        devices=(replace(DEVICE, detail=text),) * devices,
        others=(replace(OTHER, detail=text),) * others,
        findings=(replace(FINDING, detail=text),) * findings,
        **more,
    )
    return replace(STATE, guard=guard)


def test_a_state_without_a_guard_is_what_it_was_before_there_were_any() -> None:
    assert b"guard" not in STATE.encode()
    assert STATE.fitted() == STATE


def test_a_report_of_a_guard_reads_back_with_the_state() -> None:
    state = with_guard(2, 1, 1)

    assert verify_state(sign_state(state, HOST_SIGNER), HOST_SIGNER.public) == state


def test_keys_in_a_tpm_read_back_and_files_are_said_by_saying_nothing() -> None:
    state = replace(STATE, keys=KeyProtection.TPM)

    assert HostState.parse(state.encode()) == state
    assert b"keys" not in STATE.encode()
    assert HostState.parse(STATE.encode()).keys is KeyProtection.FILE


def test_a_guard_s_layers_read_back_and_one_that_says_nothing_of_them_is_what_it_was_before() -> None:
    layers = GuardLayer("site-north", 2), GuardLayer("modality-ct", 0)
    state = with_guard(1, layers=layers)
    read = verify_state(sign_state(state, HOST_SIGNER), HOST_SIGNER.public)

    assert read == state
    assert [GUARD.in_force(layer) for layer in ("site-north", "modality-ct")] == [None, None]
    assert read.guard is not None
    assert [read.guard.in_force(layer) for layer in ("site-north", "modality-ct", "site-south")] == [2, 0, None]
    assert b"layers" not in with_guard(1).encode()


def test_a_guard_at_all_its_limits_fits_beside_a_capture_at_all_of_its_own() -> None:
    capture = CaptureState(
        folders=(FolderState("A" * 16, "encrypted disk", 2**53 - 1),) * MAX_FOLDERS,
        routes=(RouteState("r" * 32, 2**53 - 1, "e" * MAX_ERROR_CHARS),) * MAX_ROUTES,
    )
    state = replace(with_guard(MAX_DEVICES, MAX_OTHERS, MAX_FINDINGS), capture=capture)

    assert len(sign_state(state, HOST_SIGNER)) <= MAX_BYTES
    assert state.fitted() == state


def test_what_does_not_fit_is_left_out_from_the_end_of_the_devices_and_counted() -> None:
    state = with_guard(MAX_DEVICES, MAX_OTHERS, MAX_FINDINGS, PILE * 300, left_out=3)
    fitted = state.fitted()

    assert len(sign_state(state, HOST_SIGNER)) > MAX_BYTES >= len(sign_state(fitted, HOST_SIGNER))
    assert state.guard is not None
    assert fitted.guard is not None
    kept = len(fitted.guard.devices)
    assert 0 < kept < MAX_DEVICES
    assert fitted.guard.devices == state.guard.devices[:kept]
    assert (fitted.guard.others, fitted.guard.findings) == (state.guard.others, state.guard.findings)
    assert fitted.guard.left_out == 3 + MAX_DEVICES - kept
    assert HostState.parse(fitted.encode()) == fitted


def test_nothing_is_left_out_uncounted_however_small_the_room() -> None:
    state = with_guard(4, 3, 2)
    for most_bytes in range(900, 9000, 13):
        fitted = state.fitted(most_bytes)
        guard = fitted.guard

        assert guard is not None
        assert len(guard.devices) + len(guard.others) + len(guard.findings) + guard.left_out == 9
        assert len(fitted.encode()) <= most_bytes


def test_a_state_fits_through_the_broker() -> None:
    assert MAX_BYTES <= MAX_PAYLOAD_BYTES
