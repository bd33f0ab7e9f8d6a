"""DIMSE commands (DICOM PS3.7): what a provider of storage and its commitment reads and says, without any I/O.

command = element*                    implicit VR little endian, group 0000, ascending (PS3.7 section 6.3)
element = u16 group || u16 element || u32 length || value
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from shared.errors import Malformed

MAX_COMMAND_BYTES = 16 << 10


class CommandField(IntEnum):
    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_ACTION_RQ = 0x0130
    C_CANCEL_RQ = 0x0FFF
    N_EVENT_REPORT_RSP = 0x8100


class Status(IntEnum):
    """PS3.7 annex C and, for storage, PS3.4 table B.2-1."""

    SUCCESS = 0x0000
    ATTRIBUTE_LIST_ERROR = 0x0107
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    INVALID_ARGUMENT = 0x0115
    ATTRIBUTE_OUT_OF_RANGE = 0x0116
    INVALID_OBJECT_INSTANCE = 0x0117
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    UNRECOGNISED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700  # the modality keeps the image and may send it again
    CANNOT_UNDERSTAND = 0xC000


VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"  # well-known: PS3.4 section J.3.5
REQUEST_COMMITMENT = 1  # the one action type: PS3.4 section J.3.2
_RESPONSE = 0x8000
_DATA_SET, _NO_DATA_SET = 0x0000, 0x0101
_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS, _REQUESTED_SOP_CLASS = 0x0002, 0x0003
_COMMAND_FIELD, _MESSAGE_ID, _RESPONDED_TO, _DATA_SET_TYPE, _STATUS = 0x0100, 0x0110, 0x0120, 0x0800, 0x0900
_AFFECTED_SOP_INSTANCE, _REQUESTED_SOP_INSTANCE = 0x1000, 0x1001
_EVENT_TYPE, _ACTION_TYPE = 0x1002, 0x1008
_MAX_UID_CHARS = 64
_ELEMENT = Struct("<HHI")
_U16, _U32 = Struct("<H"), Struct("<I")


@dataclass(frozen=True)
class Command:
    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str  # "": none was given
    sop_instance_uid: str  # as it came, without padding; need not have the form of a UID
    type_id: int | None = None  # of the action or event that is requested
    status: int | None = None  # of a response, and only there

    @property
    def is_response(self) -> bool:
        return bool(self.field & _RESPONSE)


def parse(data: bytes | bytearray) -> Command:
    """Read the command set of one message. Raises Malformed."""
    if len(data) > MAX_COMMAND_BYTES:
        raise Malformed("command set", f"longer than {MAX_COMMAND_BYTES} bytes")
    # The group length (0000,0000) says nothing that the elements do not, so a sender that counts wrongly is heard.
    values = _elements(data)
    field = _number(values, _COMMAND_FIELD)
    is_response = bool(field & _RESPONSE)
    # A cancel and a response name the message that they are about and have no number of their own.
    named = is_response or field == CommandField.C_CANCEL_RQ
    types: dict[int, int] = {CommandField.N_EVENT_REPORT_RQ: _EVENT_TYPE, CommandField.N_ACTION_RQ: _ACTION_TYPE}
    return Command(
        field=field,
        message_id=_number(values, _RESPONDED_TO if named else _MESSAGE_ID),
        has_data_set=_number(values, _DATA_SET_TYPE) != _NO_DATA_SET,
        sop_class_uid=_uid(values, _AFFECTED_SOP_CLASS) or _uid(values, _REQUESTED_SOP_CLASS),
        sop_instance_uid=_uid(values, _AFFECTED_SOP_INSTANCE) or _uid(values, _REQUESTED_SOP_INSTANCE),
        type_id=_number(values, types[field]) if types.get(field, -1) in values else None,
        status=_number(values, _STATUS) if is_response else None,
    )


def refusal(command: Command, abstract_syntax: str) -> Status | None:
    """Return why a message is not acted on, from its command and its context alone; None: it is."""
    if abstract_syntax == STORAGE_COMMITMENT and command.field == CommandField.N_ACTION_RQ:
        return _commitment_refusal(command)
    if command.field not in (CommandField.C_STORE_RQ, CommandField.C_ECHO_RQ):
        return Status.UNRECOGNISED_OPERATION
    is_store = command.field == CommandField.C_STORE_RQ
    # An image of another storage class than its context was negotiated for is sloppy, and still an image.
    if is_store == (abstract_syntax == VERIFICATION) or abstract_syntax == STORAGE_COMMITMENT:
        return Status.SOP_CLASS_NOT_SUPPORTED
    if is_store and not 0 < len(command.sop_instance_uid) <= _MAX_UID_CHARS:
        return Status.INVALID_OBJECT_INSTANCE
    if is_store and not command.has_data_set:
        return Status.CANNOT_UNDERSTAND
    return None


def _commitment_refusal(command: Command) -> Status | None:
    if command.sop_class_uid != STORAGE_COMMITMENT:
        return Status.SOP_CLASS_NOT_SUPPORTED
    if command.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
        return Status.NO_SUCH_INSTANCE
    if command.type_id != REQUEST_COMMITMENT:
        return Status.NO_SUCH_ACTION
    return None if command.has_data_set else Status.INVALID_ARGUMENT


def response(command: Command, status: Status) -> bytes:
    """Return the command set that answers `command`."""
    is_action = command.field == CommandField.N_ACTION_RQ and command.type_id is not None
    return _command_set(
        (
            _uid_element(_AFFECTED_SOP_CLASS, command.sop_class_uid),
            _element(_COMMAND_FIELD, _U16.pack(command.field | _RESPONSE)),
            _element(_RESPONDED_TO, _U16.pack(command.message_id)),
            _element(_DATA_SET_TYPE, _U16.pack(_NO_DATA_SET)),
            _element(_STATUS, _U16.pack(status)),
            _uid_element(_AFFECTED_SOP_INSTANCE, command.sop_instance_uid),
            _element(_ACTION_TYPE, _U16.pack(command.type_id or 0)) if is_action else b"",
        )
    )


def event_report(message_id: int, event_type: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return the command set of an N-EVENT-REPORT request that a data set follows: PS3.7 section 10.3.1."""
    return _command_set(
        (
            _uid_element(_AFFECTED_SOP_CLASS, sop_class_uid),
            _element(_COMMAND_FIELD, _U16.pack(CommandField.N_EVENT_REPORT_RQ)),
            _element(_MESSAGE_ID, _U16.pack(message_id)),
            _element(_DATA_SET_TYPE, _U16.pack(_DATA_SET)),
            _uid_element(_AFFECTED_SOP_INSTANCE, sop_instance_uid),
            _element(_EVENT_TYPE, _U16.pack(event_type)),
        )
    )


def _command_set(elements: Iterable[bytes]) -> bytes:
    body = b"".join(elements)
    return _element(_GROUP_LENGTH, _U32.pack(len(body))) + body


def _elements(data: bytes | bytearray) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    position, previous = 0, -1
    while position < len(data):
        if len(data) - position < _ELEMENT.size:
            raise Malformed("command set", "it ends within an element")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group != 0 or element <= previous:
            raise Malformed("command set", "its elements are not those of group 0000 in ascending order")
        if length > len(data) - position:
            raise Malformed("command set", "an element is longer than what follows")
        values[element], previous = bytes(data[position : position + length]), element
        position += length
    return values


def _sized(values: dict[int, bytes], element: int, size: int) -> bytes:
    value = values.get(element)
    if value is None or len(value) != size:
        raise Malformed("command set", f"element (0000,{element:04x}) is missing or not {size} bytes long")
    return value


def _number(values: dict[int, bytes], element: int) -> int:
    return int(_U16.unpack(_sized(values, element, 2))[0])


def _uid(values: dict[int, bytes], element: int) -> str:
    value = values.get(element, b"").rstrip(b"\x00 ")
    if not all(0x20 < byte < 0x7F for byte in value):
        raise Malformed("command set", f"element (0000,{element:04x}) is not a UID")
    return value.decode("ascii")


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _uid_element(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    return _element(element, value + b"\x00" * (len(value) % 2)) if value else b""
