"""What a modality is told of its request: the data set of an N-EVENT-REPORT (DICOM PS3.4 table J.3-2).

(0008,1195) Transaction UID
(0008,1198) Failed SOP Sequence      > class, instance, (0008,1197) Failure Reason; where there are any
(0008,1199) Referenced SOP Sequence  > class, instance of what is committed; where there are any
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from edge_agent.commitment.requests import Reference


class FailureReason(IntEnum):
    """DICOM PS3.3 section C.14.1.1."""

    NO_SUCH_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119


class EventType(IntEnum):
    """DICOM PS3.4 section J.3.3.1."""

    ALL_COMMITTED = 1
    FAILURES_EXIST = 2


@dataclass(frozen=True)
class Report:
    """`request_id` is ours and does not leave the host."""

    request_id: str
    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, FailureReason], ...]

    @property
    def event_type(self) -> EventType:
        return EventType.FAILURES_EXIST if self.failed else EventType.ALL_COMMITTED

    def encode(self, transfer_syntax: str) -> bytes:
        """Return the data set in implicit little endian, explicit little endian or explicit big endian."""
        writer = _Writer(transfer_syntax)
        failed = [writer.reference(reference, writer.number(0x00081197, reason)) for reference, reason in self.failed]
        committed = [writer.reference(reference) for reference in self.committed]
        return (
            writer.uid(0x00081195, self.transaction_uid)
            + (writer.sequence(0x00081198, failed) if failed else b"")
            + (writer.sequence(0x00081199, committed) if committed else b"")
        )


class _Writer:
    def __init__(self, transfer_syntax: str) -> None:
        self._implicit = transfer_syntax == "1.2.840.10008.1.2"
        order = ">" if transfer_syntax == "1.2.840.10008.1.2.2" else "<"
        self._tag, self._u16, self._u32 = Struct(order + "HH"), Struct(order + "H"), Struct(order + "I")

    def reference(self, reference: Reference, more: bytes = b"") -> bytes:
        return self.uid(0x00081150, reference.sop_class_uid) + self.uid(0x00081155, reference.sop_instance_uid) + more

    def uid(self, tag: int, uid: str) -> bytes:
        value = uid.encode("ascii")
        return self._element(tag, b"UI", value + b"\x00" * (len(value) % 2))

    def number(self, tag: int, value: int) -> bytes:
        return self._element(tag, b"US", self._u16.pack(value))

    def sequence(self, tag: int, items: Sequence[bytes]) -> bytes:
        content = b"".join(self._tag.pack(0xFFFE, 0xE000) + self._u32.pack(len(item)) + item for item in items)
        vr = b"" if self._implicit else b"SQ\x00\x00"
        return self._tag.pack(tag >> 16, tag & 0xFFFF) + vr + self._u32.pack(len(content)) + content

    def _element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        head = self._tag.pack(tag >> 16, tag & 0xFFFF)
        length = self._u32.pack(len(value)) if self._implicit else vr + self._u16.pack(len(value))
        return head + length + value
