"""What a host says of itself to a centre that lost it, and what renews its evidence: read strictly, or refused."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shared.enrolment.claim import ClaimFile, HostClaim, sign_claim, verify_claim
from shared.enrolment.renewal import EvidenceRenewalAnswer, EvidenceRenewalRequest
from shared.errors import Malformed
from shared.identity import HostId
from shared.signing import SoftwareSigner, WrongSigner

SIGNER = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
CLAIM = HostClaim(
    HostId(bytes(16)), "CT 2, Röntgen", ("site-north", "modality-ct"), (bytes(32),), datetime(2026, 3, 1, tzinfo=UTC)
)
FILE = sign_claim(CLAIM, SIGNER, PEM)


def test_a_claim_is_read_as_it_was_signed_and_under_no_other_key() -> None:
    assert verify_claim(ClaimFile.parse(FILE.encode()), SIGNER.public) == CLAIM
    with pytest.raises(WrongSigner):
        verify_claim(FILE, SoftwareSigner(ec.generate_private_key(ec.SECP256R1())).public)


@pytest.mark.parametrize(
    "old, new",
    [
        (b'"v":1', b'"v":2'), (b'"asset"', b'"assets"'), (b"CT 2", b"CT\\u00002"), (b"modality-ct", b"site-south"),
        (b"00000000", b"0000000g"), (b"site-north", b"../north"), (b"{", b"{ "),
    ],
)  # fmt: skip
def test_no_other_form_of_it_is_read(old: bytes, new: bytes) -> None:
    changed = CLAIM.encode().replace(old, new, 1)
    assert changed != CLAIM.encode()
    with pytest.raises(Malformed):
        HostClaim.parse(changed)


@given(st.binary(max_size=400), st.integers(0, 2000))
def test_whatever_is_read_is_malformed_or_whole(junk: bytes, at: int) -> None:
    whole = FILE.encode()
    for parse in (ClaimFile.parse, HostClaim.parse, EvidenceRenewalRequest.parse, EvidenceRenewalAnswer.parse):
        for data in (junk, whole[: at % len(whole)], whole[: at % len(whole)] + junk):
            with suppress(Malformed):
                parse(data)


def test_the_messages_of_a_renewal_of_evidence_are_read_as_they_were_written() -> None:
    request = EvidenceRenewalRequest(PEM.replace("CERTIFICATE", "CERTIFICATE REQUEST"))
    answer = EvidenceRenewalAnswer(PEM + PEM)

    assert EvidenceRenewalRequest.parse(request.encode()) == request
    assert EvidenceRenewalAnswer.parse(answer.encode()) == answer
