"""Association requests and what answers them, as bytes (DICOM PS3.8 sections 9.3.2 to 9.3.4, 9.3.8), without I/O.

item    = u8 type || u8 reserved || u16 length || body
request = PDU 01, version, both AE titles, then items: application context, presentation contexts, user
answer  = PDU 02, the same with one transfer syntax for each context it accepts

Rejection and abort carry three and two numbers, which are given in the standard's words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import ClassVar

from shared.dicom.pdu import PduType
from shared.errors import Malformed, Unavailable

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.273583140506608294091747710281976524503"
IMPLEMENTATION_VERSION = "LEADGLASS_0_1"
MAX_CONTEXTS = 128
_ACCEPTED = 0
_PDU, _ITEM, _CONTEXT = Struct(">BxI"), Struct(">BxH"), Struct(">BxBx")
_FIXED = Struct(">H2x16s16s32x")
_U16, _U32 = Struct(">H"), Struct(">I")
_MAX_UID_CHARS = 64

# Items, PS3.8 tables 9-11 to 9-23 and PS3.7 annex D.3.3.
_OF_APPLICATION, _OF_CONTEXT, _OF_RESULT, _OF_ABSTRACT, _OF_TRANSFER = 0x10, 0x20, 0x21, 0x30, 0x40
_OF_USER, _OF_LENGTH, _OF_CLASS, _OF_ROLE, _OF_VERSION = 0x50, 0x51, 0x52, 0x54, 0x55

_SOURCES = {1: "its user", 2: "its ACSE", 3: "its presentation layer"}
_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_ABORTS = {
    0: "reason not specified",
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}


class Rejected(Unavailable):
    """The peer rejected the association: the numbers of PS3.8 table 9-21, and what they mean."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        self.result, self.source, self.reason = result, source, reason
        self.words = _REASONS.get((source, reason), f"reason {reason} of source {source}")
        lasting = {1: "permanent", 2: "transient"}.get(result, f"result {result}")
        super().__init__(f"the peer rejected the association: {self.words} ({lasting}, {_SOURCES.get(source, source)})")


class Aborted(Unavailable):
    """The peer aborted the association: PS3.8 table 9-26."""

    def __init__(self, source: int, reason: int) -> None:
        self.source, self.reason = source, reason
        # The reason has a meaning only where the provider is the source.
        why = _ABORTS.get(reason, f"reason {reason}") if source == 2 else "its user did not say why"
        super().__init__(f"the peer aborted the association: {why}")


@dataclass(frozen=True)
class Proposed:
    """One presentation context; `scp` asks for the provider's role, by role selection (PS3.7 D.3.3.4)."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scp: bool = False


@dataclass(frozen=True)
class Request:
    """An association request. Context number n has the id 2n + 1."""

    calling_ae_title: str
    called_ae_title: str
    contexts: Sequence[Proposed]
    max_pdu_bytes: int  # that we receive

    MOST_CONTEXTS: ClassVar[int] = MAX_CONTEXTS

    def encode(self) -> bytes:
        """Raises Malformed: no context, or more than 128 (ids are odd and below 256)."""
        if not 0 < len(self.contexts) <= MAX_CONTEXTS:
            raise Malformed("association request", f"has {len(self.contexts)} presentation contexts")
        body = _FIXED.pack(1, _title(self.called_ae_title), _title(self.calling_ae_title))
        body += _item(_OF_APPLICATION, APPLICATION_CONTEXT.encode())
        for number, proposed in enumerate(self.contexts):
            body += _item(_OF_CONTEXT, _CONTEXT.pack(2 * number + 1, 0) + _syntaxes(proposed))
        body += _item(_OF_USER, self._user())
        return _PDU.pack(PduType.ASSOCIATE_RQ, len(body)) + body

    def _user(self) -> bytes:
        user = _item(_OF_LENGTH, _U32.pack(self.max_pdu_bytes)) + _item(_OF_CLASS, IMPLEMENTATION_CLASS_UID.encode())
        for uid in dict.fromkeys(proposed.abstract_syntax for proposed in self.contexts if proposed.scp):
            user += _item(_OF_ROLE, _U16.pack(len(uid)) + uid.encode() + b"\x00\x01")
        return user + _item(_OF_VERSION, IMPLEMENTATION_VERSION.encode())


@dataclass(frozen=True)
class Accepted:
    """What the peer agreed to. `contexts` maps the ids it accepted to their transfer syntaxes.

    `max_pdu_bytes` is what it receives at a time, 0 without a limit; `roles` maps an abstract syntax to (scu, scp).
    """

    contexts: dict[int, str]
    max_pdu_bytes: int
    roles: dict[str, tuple[bool, bool]]

    @classmethod
    def parse(cls, pdu: bytes, request: Request) -> "Accepted":
        """Read a whole A-ASSOCIATE-AC that answers `request`.

        Items that we do not know are skipped (PS3.8 section 9.3.1). Raises Malformed: lengths that do not fit, a
        context that was not proposed or is answered twice, a transfer syntax that was not offered for it.
        """
        body = memoryview(pdu)[_PDU.size :]
        if len(body) < _FIXED.size:
            raise Malformed("association answer", "shorter than its fixed part")
        contexts: dict[int, str] = {}
        answered: set[int] = set()
        max_pdu_bytes, roles = 0, dict[str, tuple[bool, bool]]()
        for kind, value in _items(body[_FIXED.size :]):
            if kind == _OF_RESULT:
                number, transfer = _result(value, request)
                if number in answered:
                    raise Malformed("association answer", f"answers presentation context {number} twice")
                answered.add(number)
                if transfer:
                    contexts[number] = transfer
            elif kind == _OF_USER:
                max_pdu_bytes, roles = _user(value)
        return cls(contexts, max_pdu_bytes, roles)


def rejected(pdu: bytes) -> Rejected:
    """Return what a whole A-ASSOCIATE-RJ says."""
    return Rejected(pdu[7], pdu[8], pdu[9])


def aborted(pdu: bytes) -> Aborted:
    """Return what a whole A-ABORT says."""
    return Aborted(pdu[8], pdu[9])


def _title(ae_title: str) -> bytes:
    return ae_title.encode("ascii").ljust(16)[:16]


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _syntaxes(proposed: Proposed) -> bytes:
    transfers = (_item(_OF_TRANSFER, uid.encode()) for uid in proposed.transfer_syntaxes)
    return _item(_OF_ABSTRACT, proposed.abstract_syntax.encode()) + b"".join(transfers)


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    position = 0
    while position < len(data):
        if len(data) - position < _ITEM.size:
            raise Malformed("association answer", "it ends within an item")
        kind, length = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if length > len(data) - position:
            raise Malformed("association answer", f"item {kind:02x} is longer than what follows")
        yield kind, data[position : position + length]
        position += length


def _result(value: memoryview, request: Request) -> tuple[int, str]:
    """Return a context's id, and its transfer syntax or "" where it was not accepted."""
    if len(value) < _CONTEXT.size:
        raise Malformed("association answer", "a presentation context is shorter than its fixed part")
    number, result = _CONTEXT.unpack_from(value)
    if number % 2 == 0 or number > 2 * len(request.contexts):
        raise Malformed("association answer", f"answers presentation context {number}, which was not proposed")
    if result != _ACCEPTED:
        return number, ""  # the transfer syntax beside it is not significant
    named = [_uid(syntax) for kind, syntax in _items(value[_CONTEXT.size :]) if kind == _OF_TRANSFER]
    if len(named) != 1 or named[0] not in request.contexts[number // 2].transfer_syntaxes:
        raise Malformed("association answer", f"presentation context {number} has no transfer syntax that was offered")
    return number, named[0]


def _user(value: memoryview) -> tuple[int, dict[str, tuple[bool, bool]]]:
    max_pdu_bytes, roles = 0, dict[str, tuple[bool, bool]]()
    for kind, sub in _items(value):
        if kind == _OF_LENGTH:
            if len(sub) != _U32.size:
                raise Malformed("association answer", "its maximum length is not four bytes")
            (max_pdu_bytes,) = _U32.unpack(sub)
        elif kind == _OF_ROLE:
            if len(sub) < _U16.size or len(sub) != _U16.size + _U16.unpack_from(sub)[0] + 2:
                raise Malformed("association answer", "a role selection does not fit its length")
            roles[_uid(sub[_U16.size : -2])] = (sub[-2] == 1, sub[-1] == 1)
    return max_pdu_bytes, roles


def _uid(value: memoryview) -> str:
    text = bytes(value).rstrip(b"\x00 ")
    if not 0 < len(text) <= _MAX_UID_CHARS or not all(0x20 < byte < 0x7F for byte in text):
        raise Malformed("association answer", "a UID is empty, too long or not text")
    return text.decode("ascii")
