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
        with pytest.raises(Malformed):
            dimse.parse(whole[:cut])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        command() + element(0x0002, b"1.2 "),
        command() + struct.pack("<HHI", 8, 0x16, 0),
        command() + element(0x1031, b"\x00\x00"),
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
    ],
)
def test_says_why_it_does_not_act(
    field: int, sop_class: str, instance: str, data_set: int, context: str, expected: Status | None
) -> None:
    assert dimse.refusal(dimse.parse(command(field, sop_class, instance, data_set)), context) is expected


def test_another_implementation_reads_the_response() -> None:
    encoded = dimse.response(dimse.parse(command()), Status.OUT_OF_RESOURCES)

    read = decode(BytesIO(encoded), True, True)
    assert (read.CommandField, read.MessageIDBeingRespondedTo, read.Status) == (0x8001, 7, 0xA700)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert read.CommandGroupLength == len(encoded) - 12
