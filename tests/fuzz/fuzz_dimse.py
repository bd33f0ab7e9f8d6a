"""The reader of command sets, and what is decided and answered from one alone."""

from shared.dicom import dimse
from shared.dicom.dimse import CommandField, Status
from tests.edge_agent.capture.wire import command, element
from tests.fakes.host import CT
from tests.fuzz.target import Target


def read(data: bytes) -> None:
    parsed = dimse.parse(data)
    dimse.refusal(parsed, CT)
    if parsed.field & 0x8000 or parsed.field == CommandField.C_CANCEL_RQ:
        return
    answer = dimse.parse(dimse.response(parsed, Status.OUT_OF_RESOURCES))
    assert (answer.sop_class_uid, answer.sop_instance_uid) == (parsed.sop_class_uid, parsed.sop_instance_uid)


_SUCCESS = element(0x0900, b"\x00\x00")
TARGET = Target(
    "dimse",
    read,
    (
        command(),
        command(CommandField.C_ECHO_RQ, dimse.VERIFICATION, "", 0x0101),
        command(0x0020, instance=""),
        command(0x0130),
        element(0x0100, b"\x01\x80") + element(0x0120, b"\x07\x00") + element(0x0800, b"\x01\x01") + _SUCCESS,
        element(0x0100, b"\xff\x0f") + element(0x0120, b"\x07\x00") + element(0x0800, b"\x01\x01"),
    ),
)
