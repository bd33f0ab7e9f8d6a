"""SCSI sense data, as `sg_requests --raw` hands it on (SPC-5 4.4), and what it says of a sanitize.

fixed        70h|71h  ..  [2] key  [12] code  [13] qualifier  [15] SKSV  [16:18] progress
descriptor   72h|73h  [1] key  [2] code  [3] qualifier  [7] length  then descriptors; type 2: [4] SKSV  [5:7] progress
"""

from dataclasses import dataclass

from edge_agent.sanitize.firmware.sanitizing import State, Status
from shared.errors import Malformed

_WHAT = "answer of sg_requests --raw"
_FIXED, _DESCRIPTOR = {0x70, 0x71}, {0x72, 0x73}
_NO_SENSE, _NOT_READY, _ILLEGAL_REQUEST, _UNIT_ATTENTION = 0, 2, 5, 6
_SANITIZE_IN_PROGRESS = (0x04, 0x1B)
_SANITIZE_FAILED = (0x31, 0x03)
_SPECIFIC = 0x80


@dataclass(frozen=True)
class Sense:
    key: int
    code: tuple[int, int]
    progress: int | None

    @property
    def is_told_once(self) -> bool:
        """Whether it is about an earlier command that was refused, or about a change, and no failure of a sanitize."""
        return self.key in {_ILLEGAL_REQUEST, _UNIT_ATTENTION} and self.code != _SANITIZE_FAILED

    @property
    def status(self) -> Status:
        """Raises Malformed: it says neither that a sanitize runs or failed nor that there is nothing to say."""
        if self.code == _SANITIZE_IN_PROGRESS and self.key in {_NO_SENSE, _NOT_READY}:
            return Status(State.RUNNING, self.progress or 0)
        if self.code == _SANITIZE_FAILED:
            return Status(State.FAILED)
        if self.key == _NO_SENSE:
            return Status(State.IDLE)
        raise Malformed(
            _WHAT, f"sense key {self.key}, code {self.code[0]:02x}h/{self.code[1]:02x}h is no state of a sanitize"
        )


def parse(data: bytes) -> Sense:
    """Raises Malformed."""
    if len(data) >= 18 and data[0] & 0x7F in _FIXED:
        progress = int.from_bytes(data[16:18], "big") if data[15] & _SPECIFIC else None
        return Sense(data[2] & 0xF, (data[12], data[13]), progress)
    if len(data) >= 8 and data[0] & 0x7F in _DESCRIPTOR and len(data) >= 8 + data[7]:
        return Sense(data[1] & 0xF, (data[2], data[3]), _progress(data[8 : 8 + data[7]]))
    raise Malformed(_WHAT, "expected sense data in fixed or descriptor format")


def _progress(descriptors: bytes) -> int | None:
    while len(descriptors) >= 2:
        length = 2 + descriptors[1]
        if descriptors[0] == 2 and length >= 7 and len(descriptors) >= 7 and descriptors[4] & _SPECIFIC:
            return int.from_bytes(descriptors[5:7], "big")
        descriptors = descriptors[length:]
    return None
