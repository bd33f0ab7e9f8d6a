"""Negotiation: what is accepted, and that no request brings anything but an answer or ProtocolError."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture import negotiation
from edge_agent.capture.negotiation import Rejection, Requested
from shared.dicom import dimse
from shared.dicom.pdu import ProtocolError
from tests.edge_agent.capture.wire import EXPLICIT, associate_request
from tests.fakes.host import CT

# pydicom warns about UIDs that are none; the agent's process has warnings and logging off.
pytestmark = pytest.mark.filterwarnings("ignore:::pydicom", "ignore::UserWarning")

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def requested(data: bytes) -> Requested:
    read = negotiation.parse(data)
    assert isinstance(read, Requested)
    return read


def test_accepts_verification_and_whatever_stores_and_nothing_else() -> None:
    request = requested(
        associate_request(
            "CT1", (CT, EXPLICIT), (dimse.VERIFICATION, EXPLICIT), (FIND, EXPLICIT), ("1.2.826.0.1.9", "1.2.826.0.2")
        )
    )

    contexts = negotiation.accept(request, 4096).contexts
    assert {number: context.abstract_syntax for number, context in contexts.items()} == {
        1: CT,
        3: dimse.VERIFICATION,
        7: "1.2.826.0.1.9",
    }
    assert contexts[7].transfer_syntax == "1.2.826.0.2"


@pytest.mark.parametrize(
    "data, expected",
    [
        (associate_request(version=2), negotiation.WRONG_VERSION),
        (associate_request(version=0), negotiation.WRONG_VERSION),
        (associate_request(application_context="1.2.3"), negotiation.WRONG_APPLICATION_CONTEXT),
    ],
)
def test_rejects_what_it_does_not_speak(data: bytes, expected: Rejection) -> None:
    assert negotiation.parse(data) == expected


def test_a_later_version_beside_the_first_is_fine() -> None:
    assert requested(associate_request(version=3)).calling_ae_title == "CT1"


def _try(data: bytes) -> None:
    with suppress(ProtocolError):
        read = negotiation.parse(data)
        if isinstance(read, Requested):
            negotiation.accept(read, 4096)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_damage_to_a_request_brings_anything_but_a_protocol_error(data: st.DataObject) -> None:
    damaged = bytearray(associate_request())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(6, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    _try(bytes(damaged[: data.draw(st.integers(6, len(damaged)))]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_bring_anything_but_a_protocol_error(body: bytes) -> None:
    _try(associate_request()[:74] + body)
