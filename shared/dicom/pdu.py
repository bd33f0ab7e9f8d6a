"""Upper-layer PDUs as they come off a socket (DICOM PS3.8 section 9.3), without any I/O.

    PDU = u8 type || u8 reserved || u32 length || body
    PDV = u32 length || u8 presentation context id || u8 control (bit 0: command, bit 1: last) || fragment

The body of a P-DATA PDU is a list of PDVs. They pass through in pieces as small or large as they arrive and are never
gathered; every other PDU is short and is gathered whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from shared.errors import Refused


class PduType(IntEnum):
    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortReason(IntEnum):
    """Why a provider aborts: PS3.8 table 9-26."""

    NOT_SPECIFIED = 0
    UNRECOGNISED_PDU = 1
    UNEXPECTED_PDU = 2
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class AssociationEnded(Refused):
    """The association cannot go on."""


class ProtocolError(AssociationEnded):
    """The peer broke PS3.8; the association is aborted with `reason`."""

    def __init__(self, why: str, reason: AbortReason) -> None:
        super().__init__(f"the peer broke the upper-layer protocol: {why}")
        self.why, self.reason = why, reason


_PDU = Struct(">BxI")
_PDV = Struct(">IBB")
_COMMAND, _LAST = 1, 2
# 128 presentation contexts with forty transfer syntaxes each need less.
_MAX_ASSOCIATE_BYTES = 256 << 10
_SHORT_BYTES = 4  # the body of each of the other control PDUs
# The maximum length counts the body only (PS3.8 D.1); some senders count the header too, others forget to.
_TOLERATED_BYTES = _PDU.size
_LEAST_FRAGMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Control:
    """A control PDU, whole with its header."""

    type: PduType
    data: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a message. `data` is valid until the next feed; `last` stands on the message's final piece only."""

    context_id: int
    is_command: bool
    last: bool
    data: memoryview


class PduReader:
    """Fed with what a socket gives, yields control PDUs and fragments. Holds one control PDU at the most."""

    def __init__(self, max_pdu_bytes: int) -> None:
        self._most_data_bytes = max_pdu_bytes + _TOLERATED_BYTES
        self._gathered = bytearray()
        self._wanted = _PDU.size
        self._pdu_left = self._pdv_left = 0
        self._context_id = self._control = 0
        self._in_data = False

    @property
    def between_pdus(self) -> bool:
        return not (self._gathered or self._in_data or self._pdv_left)

    @property
    def left_of_pdu(self) -> int:
        """How many bytes of a P-DATA PDU that has begun are still to come; 0 between PDUs."""
        return self._pdv_left + self._pdu_left - len(self._gathered) if self._in_data or self._pdv_left else 0

    def feed(self, data: memoryview) -> Iterator[Control | Fragment]:
        """Yield what `data` completes; to be exhausted before the next feed. Raises ProtocolError."""
        position, end = 0, len(data)
        while position < end:
            if self._pdv_left:
                size = min(self._pdv_left, end - position)
                self._pdv_left -= size
                yield self._fragment(data[position : position + size])
                position += size
                continue
            size = min(self._wanted - len(self._gathered), end - position)
            self._gathered += data[position : position + size]
            position += size
            if len(self._gathered) == self._wanted:
                yield from self._complete()

    def _complete(self) -> Iterator[Control | Fragment]:
        if self._in_data:
            self._begin_pdv()
            if not self._pdv_left:
                yield self._fragment(memoryview(b""))
        elif self._wanted == _PDU.size:
            self._begin_pdu()
        else:
            yield self._control_pdu()

    def _begin_pdu(self) -> None:
        number, length = _PDU.unpack(self._gathered)
        if number == PduType.P_DATA:
            if not _PDV.size <= length <= self._most_data_bytes:
                raise ProtocolError(f"a P-DATA PDU of {length} bytes", AbortReason.INVALID_PARAMETER)
            self._gathered.clear()
            self._in_data, self._pdu_left, self._wanted = True, length, _PDV.size
            return
        if not PduType.ASSOCIATE_RQ <= number <= PduType.ABORT:
            raise ProtocolError(f"a PDU of type {number}", AbortReason.UNRECOGNISED_PDU)
        least, most = _SHORT_BYTES, _SHORT_BYTES
        if number in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC):
            most = _MAX_ASSOCIATE_BYTES
        if not least <= length <= most:
            raise ProtocolError(f"a PDU of type {number} and {length} bytes", AbortReason.INVALID_PARAMETER)
        self._wanted = _PDU.size + length

    def _control_pdu(self) -> Control:
        control = Control(PduType(self._gathered[0]), bytes(self._gathered))
        self._gathered.clear()
        self._wanted = _PDU.size
        return control

    def _begin_pdv(self) -> None:
        length, self._context_id, self._control = _PDV.unpack(self._gathered)
        self._gathered.clear()
        self._pdu_left -= _PDV.size + length - 2
        if length < 2 or self._pdu_left < 0 or 0 < self._pdu_left < _PDV.size:
            raise ProtocolError("a PDV does not fit its PDU", AbortReason.INVALID_PARAMETER)
        if self._control > _COMMAND | _LAST:
            raise ProtocolError("a PDV with an unknown control header", AbortReason.INVALID_PARAMETER)
        self._pdv_left = length - 2
        if not self._pdu_left:
            self._in_data, self._wanted = False, _PDU.size

    def _fragment(self, data: memoryview) -> Fragment:
        last = bool(self._control & _LAST) and not self._pdv_left
        return Fragment(self._context_id, bool(self._control & _COMMAND), last, data)


def command_pdus(context_id: int, command: bytes, max_pdu_bytes: int) -> bytes:
    """Return the P-DATA PDUs of a command for a peer that takes `max_pdu_bytes` at a time; 0: as much as one likes."""
    return _data_pdus(context_id, _COMMAND, command, max_pdu_bytes)


def data_set_pdus(context_id: int, data_set: bytes, max_pdu_bytes: int) -> bytes:
    """Return the P-DATA PDUs of a data set that is small enough to lie in memory, and not empty."""
    return _data_pdus(context_id, 0, data_set, max_pdu_bytes)


def _data_pdus(context_id: int, kind: int, data: bytes, max_pdu_bytes: int) -> bytes:
    most = max(max_pdu_bytes - _PDV.size, _LEAST_FRAGMENT_BYTES) if max_pdu_bytes else len(data)
    out = bytearray()
    for start in range(0, len(data), most):
        piece = data[start : start + most]
        control = kind | (_LAST if start + most >= len(data) else 0)
        out += (
            _PDU.pack(PduType.P_DATA, _PDV.size + len(piece)) + _PDV.pack(2 + len(piece), context_id, control) + piece
        )
    return bytes(out)


def reject(result: int, source: int, reason: int) -> bytes:
    return _PDU.pack(PduType.ASSOCIATE_RJ, _SHORT_BYTES) + bytes((0, result, source, reason))


def release_request() -> bytes:
    return _PDU.pack(PduType.RELEASE_RQ, _SHORT_BYTES) + bytes(4)


def release_reply() -> bytes:
    return _PDU.pack(PduType.RELEASE_RP, _SHORT_BYTES) + bytes(4)


def user_abort() -> bytes:
    return _PDU.pack(PduType.ABORT, _SHORT_BYTES) + bytes(4)


def provider_abort(reason: AbortReason) -> bytes:
    return _PDU.pack(PduType.ABORT, _SHORT_BYTES) + bytes((0, 0, 2, reason))
