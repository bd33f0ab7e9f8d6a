"""DIMSE commands: read strictly, answered as PS3.7 says, and nothing but Malformed from any other bytes."""

import struct
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import decode

from shared.dicom import dimse
from shared.dicom.dimse import Command, CommandField, Status
from shared.errors import Malformed
from tests.edge_agent.capture.wire import command, element
from tests.fakes.host import CT

COMMITMENTS = dimse.STORAGE_COMMITMENT_INSTANCE


def action(action_type: int = 1, data_set: int = 0) -> bytes:
    uids = [element(0x0003, dimse.STORAGE_COMMITMENT.encode()), element(0x1001, COMMITMENTS.encode())]
    numbers = [(0x0100, 0x0130), (0x0110, 7), (0x0800, data_set)]
    fields = b"".join(element(number, struct.pack("<H", value)) for number, value in numbers)
    body = uids[0] + fields + uids[1] + element(0x1008, struct.pack("<H", action_type))
    return element(0, struct.pack("<I", len(body))) + body


def test_reads_a_store_request() -> None:
    assert dimse.parse(command()) == Command(CommandField.C_STORE_RQ, 7, True, CT, "1.2.3")


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_bring_anything_but_malformed(data: bytes) -> None:
    with suppress(Malformed):
        dimse.parse(data)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_no_damage_to_a_command_brings_anything_but_malformed(data: st.DataObject) -> None:
    damaged = bytearray(command())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = dimse.parse(damaged)
    except Malformed:
        return
    dimse.refusal(read, CT)
    dimse.response(read, Status.SUCCESS)


def test_a_command_cut_anywhere_is_refused() -> None:
    whole = command()
    for cut in range(len(whole)):
        with suppress(Malformed):
            assert dimse.refusal(dimse.parse(whole[:cut]), CT) is not None


def test_a_sender_that_counts_its_group_length_wrongly_is_heard() -> None:
    wrong = element(0, struct.pack("<I", 7)) + command()[12:]
    assert dimse.parse(wrong) == dimse.parse(command())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        command() + element(0x0002, b"1.2 "),
        command() + struct.pack("<HHI", 8, 0x16, 0),
        command().replace(CT[:4].encode(), b"\xff\xfe\xfd\xfc"),
        command(field=CommandField.C_STORE_RQ) + bytes(dimse.MAX_COMMAND_BYTES),
        element(0x0100, b"\x01\x00"),
        element(0x0100, b"\x01\x00") + element(0x0110, b"\x01") + element(0x0800, b"\x01\x01"),
    ],
)
def test_refuses_what_is_no_command_set(data: bytes) -> None:
    with pytest.raises(Malformed):
        dimse.parse(data)


@pytest.mark.parametrize(
    "field, sop_class, instance, data_set, context, expected",
    [
        (0x0001, CT, "1.2.3", 0, CT, None),
        (0x0030, dimse.VERIFICATION, "", 0x0101, dimse.VERIFICATION, None),
        (0x0001, CT, "1.2.3", 0, "1.2.9", None),
        (0x0001, dimse.VERIFICATION, "1.2.3", 0, dimse.VERIFICATION, Status.SOP_CLASS_NOT_SUPPORTED),
        (0x0030, CT, "", 0x0101, CT, Status.SOP_CLASS_NOT_SUPPORTED),
        (0x0001, CT, "", 0, CT, Status.INVALID_OBJECT_INSTANCE),
        (0x0001, CT, "1" * 66, 0, CT, Status.INVALID_OBJECT_INSTANCE),
        (0x0001, CT, "1.2.3", 0x0101, CT, Status.CANNOT_UNDERSTAND),
        (0x0020, CT, "", 0, CT, Status.UNRECOGNISED_OPERATION),
        (0x0130, CT, "1.2.3", 0, CT, Status.UNRECOGNISED_OPERATION),
        (0x7777, CT, "1.2.3", 0, CT, Status.UNRECOGNISED_OPERATION),
        (0x0130, CT, "1.2.3", 0, dimse.STORAGE_COMMITMENT, Status.SOP_CLASS_NOT_SUPPORTED),
        (0x0130, dimse.STORAGE_COMMITMENT, "1.2.3", 0, dimse.STORAGE_COMMITMENT, Status.NO_SUCH_INSTANCE),
        (0x0130, dimse.STORAGE_COMMITMENT, COMMITMENTS, 0, dimse.STORAGE_COMMITMENT, Status.NO_SUCH_ACTION),
        (0x0100, dimse.STORAGE_COMMITMENT, COMMITMENTS, 0, dimse.STORAGE_COMMITMENT, Status.UNRECOGNISED_OPERATION),
        (0x0001, CT, "1.2.3", 0, dimse.STORAGE_COMMITMENT, Status.SOP_CLASS_NOT_SUPPORTED),
        (0x0030, dimse.VERIFICATION, "", 0x0101, dimse.STORAGE_COMMITMENT, Status.SOP_CLASS_NOT_SUPPORTED),
    ],
)
def test_says_why_it_does_not_act(
    field: int, sop_class: str, instance: str, data_set: int, context: str, expected: Status | None
) -> None:
    assert dimse.refusal(dimse.parse(command(field, sop_class, instance, data_set)), context) is expected


@pytest.mark.parametrize("data_set, expected", [(0, None), (0x0101, Status.INVALID_ARGUMENT)])
def test_a_request_for_commitment_needs_its_data_set(data_set: int, expected: Status | None) -> None:
    whole = action(data_set=data_set)

    assert dimse.refusal(dimse.parse(whole), dimse.STORAGE_COMMITMENT) is expected


def test_another_implementation_reads_the_answer_to_an_action() -> None:
    read = decode(BytesIO(dimse.response(dimse.parse(action()), Status.RESOURCE_LIMITATION)), True, True)

    assert (read.CommandField, read.MessageIDBeingRespondedTo, read.Status) == (0x8130, 7, 0x0213)
    assert (read.AffectedSOPInstanceUID, read.ActionTypeID) == (COMMITMENTS, 1)


@given(st.integers(1, 0xFFFF), st.sampled_from([1, 2]))
def test_an_event_report_reads_back(message_id: int, event_type: int) -> None:
    encoded = dimse.event_report(message_id, event_type, dimse.STORAGE_COMMITMENT, COMMITMENTS)

    assert dimse.parse(encoded) == Command(
        CommandField.N_EVENT_REPORT_RQ, message_id, True, dimse.STORAGE_COMMITMENT, COMMITMENTS, event_type
    )
    assert decode(BytesIO(encoded), True, True).EventTypeID == event_type


def test_a_response_names_the_message_it_is_about_and_its_status() -> None:
    body = element(0x0100, b"\x00\x81") + element(0x0120, b"\x09\x00") + element(0x0800, b"\x01\x01")
    read = dimse.parse(body + element(0x0900, b"\x10\x01"))

    assert (read.is_response, read.message_id, read.status) == (True, 9, Status.PROCESSING_FAILURE)
    with pytest.raises(Malformed):
        dimse.parse(body)


def test_another_implementation_reads_the_response() -> None:
    encoded = dimse.response(dimse.parse(command()), Status.OUT_OF_RESOURCES)

    read = decode(BytesIO(encoded), True, True)
    assert (read.CommandField, read.MessageIDBeingRespondedTo, read.Status) == (0x8001, 7, 0xA700)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert read.CommandGroupLength == len(encoded) - 12
