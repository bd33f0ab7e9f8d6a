"""Who may send: name, address and certificate have to be what policy lists together."""

import secrets
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.capture.admission import evaluate, knows_address
from edge_agent.capture.attempts import Reason
from shared.policy.document import Modality, PolicyDocument
from shared.signing import SoftwareSigner
from tests.fakes.signers import CentreKeys, document

ONE, OTHER = "a1" * 32, "b2" * 32


def policy(*modalities: Modality) -> PolicyDocument:
    receipt_key = SoftwareSigner(ec.generate_private_key(ec.SECP256R1())).public
    return replace(document(1, CentreKeys.new(secrets.token_bytes), receipt_key), modalities=modalities)


POLICY = policy(
    Modality("FREE", ""),
    Modality("AT", "", addresses=("192.0.2.7", "198.51.100.0/24", "2001:db8::/32")),
    Modality("CERT", "", certificates=(ONE,)),
    Modality("BOTH", "", addresses=("192.0.2.7",), certificates=(ONE, OTHER)),
)


@pytest.mark.parametrize(
    "calling, address, certificate, refused, bound",
    [
        ("FREE", "203.0.113.1", None, None, False),
        ("FREE", "203.0.113.1", OTHER, None, False),
        ("free", "203.0.113.1", None, Reason.NOT_LISTED, False),
        ("", "203.0.113.1", None, Reason.NOT_LISTED, False),
        ("AT", "192.0.2.7", None, None, True),
        ("AT", "198.51.100.255", None, None, True),
        ("AT", "::ffff:192.0.2.7", None, None, True),
        ("AT", "2001:db8:1::1", None, None, True),
        ("AT", "192.0.2.8", None, Reason.WRONG_ADDRESS, False),
        ("AT", "2001:db9::1", ONE, Reason.WRONG_ADDRESS, False),
        ("CERT", "203.0.113.1", ONE, None, True),
        ("CERT", "203.0.113.1", OTHER, Reason.WRONG_CERTIFICATE, False),
        ("CERT", "203.0.113.1", None, Reason.NO_CERTIFICATE, False),
        ("BOTH", "192.0.2.7", OTHER, None, True),
        ("BOTH", "192.0.2.8", ONE, Reason.WRONG_ADDRESS, False),
        ("BOTH", "192.0.2.7", None, Reason.NO_CERTIFICATE, False),
    ],
)
def test_name_address_and_certificate_are_judged_together(
    calling: str, address: str, certificate: str | None, refused: Reason | None, bound: bool
) -> None:
    admission = evaluate(POLICY, calling, address, certificate)

    assert (admission.refused, admission.bound) == (refused, bound)
    assert admission.reason


def test_without_a_policy_nobody_may_send() -> None:
    assert evaluate(None, "FREE", "192.0.2.7", ONE).refused is Reason.NO_POLICY


@pytest.mark.parametrize("address, known", [("192.0.2.7", True), ("198.51.100.1", True), ("203.0.113.1", False)])
def test_an_address_is_known_where_some_modality_is_listed_at_it(address: str, known: bool) -> None:
    assert knows_address(POLICY, address) is known
    assert not knows_address(None, address)
