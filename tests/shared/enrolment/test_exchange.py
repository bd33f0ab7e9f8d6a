"""What may be absent of the exchange says nothing by being absent, and is one thing only when it is there."""

import json

import pytest

from shared import canonical
from shared.canonical import Json
from shared.enrolment.exchange import EnrolmentRequest
from shared.enrolment.lapsed import fingerprint
from shared.enrolment.renewal import RenewalAnswer, RenewalRequest
from shared.errors import Malformed
from tests.vectors.given import signer

PEM = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n"
REQUEST = EnrolmentRequest(bytes(16), PEM, PEM, "CT 2", (bytes(32), bytes([255]) * 32))


def test_what_identifies_the_machine_is_read_as_it_was_written() -> None:
    assert EnrolmentRequest.parse(REQUEST.encode()) == REQUEST


@pytest.mark.parametrize(
    "machine",
    [[], ["00" * 31], ["00" * 32, "00" * 32], ["0A" * 32], [1], [None], "00" * 32, [f"{n:064x}" for n in range(5)]],
)
def test_digests_of_a_machine_have_one_form(machine: Json) -> None:
    value = json.loads(REQUEST.encode())

    with pytest.raises(Malformed, match="machine"):
        EnrolmentRequest.parse(canonical.encode({**value, "machine": machine}))


@pytest.mark.parametrize("asset", [None, "CT 2"])
def test_a_name_goes_both_ways_or_is_not_mentioned(asset: str | None) -> None:
    assert RenewalRequest.parse(RenewalRequest(PEM, asset).encode()).asset == asset
    assert RenewalAnswer.parse(RenewalAnswer(PEM, asset).encode()).asset == asset


def test_two_fresh_keys_have_two_fingerprints_of_sixteen_characters() -> None:
    shown = {fingerprint(signer(label).key.public_key()) for label in ("one fresh key", "another fresh key")}

    assert len(shown) == 2
    assert {len(short.replace("-", "")) for short in shown} == {16}
