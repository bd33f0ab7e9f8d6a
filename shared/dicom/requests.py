"""DIMSE requests of ours and the responses to them (DICOM PS3.7 section 9.3, PS3.4 annexes B and C), without I/O."""

from enum import Enum
from struct import Struct

from shared.dicom import dimse
from shared.dicom.dimse import Command, CommandField
from shared.errors import Malformed, Refused

_ELEMENT = Struct("<HHI")
_U16, _U32 = Struct("<H"), Struct("<I")
C_FIND_RQ = 0x0020
_RESPONSE = 0x8000
_GROUP_LENGTH, _AFFECTED_SOP_CLASS, _FIELD, _MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
_PRIORITY, _DATA_SET_TYPE, _AFFECTED_SOP_INSTANCE = 0x0700, 0x0800, 0x1000
_MEDIUM = 0x0000
_DATA_SET, _NO_DATA_SET = 0x0001, 0x0101
_PENDING = (0xFF00, 0xFF01)


class Outcome(Enum):
    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


class StoreRefused(Refused):
    """The peer did not store one instance: PS3.4 table B.2-1 and PS3.7 annex C. Others may still be stored."""

    def __init__(self, status: int) -> None:
        self.status, self.words = status, store_words(status)
        super().__init__(f"the peer refused the image with status {status:04X}: {self.words}")

    @property
    def out_of_resources(self) -> bool:
        """The peer has no room, for this image or for any: PS3.4 table B.2-1, A7xx."""
        return self.status & 0xFF00 == 0xA700


class FindRefused(Refused):
    """The peer did not answer a query to its end: PS3.4 table C.4-1 and PS3.7 annex C."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the peer ended the query with status {status:04X}: {_find_words(status)}")


class EchoRefused(Refused):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the peer answered C-ECHO with status {status:04X}")


def echo_request(message_id: int) -> bytes:
    return _request(
        _uid(_AFFECTED_SOP_CLASS, dimse.VERIFICATION),
        _number(_FIELD, CommandField.C_ECHO_RQ),
        _number(_MESSAGE_ID, message_id),
        _number(_DATA_SET_TYPE, _NO_DATA_SET),
    )


def store_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    return _request(
        _uid(_AFFECTED_SOP_CLASS, sop_class_uid),
        _number(_FIELD, CommandField.C_STORE_RQ),
        _number(_MESSAGE_ID, message_id),
        _number(_PRIORITY, _MEDIUM),
        _number(_DATA_SET_TYPE, _DATA_SET),
        _uid(_AFFECTED_SOP_INSTANCE, sop_instance_uid),
    )


def find_request(message_id: int, information_model: str) -> bytes:
    return _request(
        _uid(_AFFECTED_SOP_CLASS, information_model),
        _number(_FIELD, C_FIND_RQ),
        _number(_MESSAGE_ID, message_id),
        _number(_PRIORITY, _MEDIUM),
        _number(_DATA_SET_TYPE, _DATA_SET),
    )


def parse_response(data: bytes | bytearray, field: int, message_id: int) -> tuple[Command, int]:
    """Return the response to message `message_id`, whose command was `field`, and its status.

    Raises Malformed: no command set, or the response to something else.
    """
    response = dimse.parse(data)
    if response.field != field | _RESPONSE or response.status is None:
        raise Malformed("response", f"command {response.field:04x} does not answer {field:04x}")
    if response.message_id != message_id:
        raise Malformed("response", f"it answers message {response.message_id} and not {message_id}")
    return response, response.status


def is_pending(status: int) -> bool:
    """Say whether a C-FIND goes on with one more match: PS3.4 table C.4-1."""
    return status in _PENDING


def store_outcome(status: int) -> Outcome:
    """Return what a C-STORE status means: PS3.7 annex C.1 classifies, PS3.4 table B.2-1 lists."""
    if status == 0:
        return Outcome.SUCCESS
    # 0001, 0107 and 0116 are warnings of PS3.7 annex C.4; Bxxx those of the service class.
    return Outcome.WARNING if status & 0xF000 == 0xB000 or status in (0x0001, 0x0107, 0x0116) else Outcome.FAILURE


def store_words(status: int) -> str:
    """Return PS3.4 table B.2-1 and PS3.7 annex C in words."""
    if status in _STORE_WORDS:
        return _STORE_WORDS[status]
    family = {0xA700: "out of resources", 0xA900: "data set does not match SOP class"}.get(status & 0xFF00)
    if family:
        return family
    return "cannot understand" if status & 0xF000 == 0xC000 else "a status that the standard does not list"


_STORE_WORDS = {
    0x0000: "stored",
    0x0001: "requested optional attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
}


def _find_words(status: int) -> str:
    words = {
        0x0122: "SOP class not supported",
        0x0124: "not authorised",
        0xA700: "out of resources",
        0xA900: "identifier does not match SOP class",
        0xFE00: "cancelled",
    }
    return words.get(status, "unable to process" if status & 0xF000 == 0xC000 else store_words(status))


def _request(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return _element(_GROUP_LENGTH, _U32.pack(len(body))) + body


def _number(element: int, value: int) -> bytes:
    return _element(element, _U16.pack(value))


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    return _element(element, value + b"\x00" * (len(value) % 2))
