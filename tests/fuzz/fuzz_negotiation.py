"""Association requests: read, judged and answered."""

import struct

from edge_agent.capture import negotiation
from edge_agent.capture.negotiation import Requested
from shared.dicom import dimse
from tests.edge_agent.capture.wire import EXPLICIT, associate_request, item
from tests.fakes.host import CT
from tests.fuzz.target import Target

_ROLES = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\x01\x01")
_USER = item(0x51, struct.pack(">I", 16_384)) + item(0x52, b"1.2.3.4")
_IDENTITY = item(0x58, b"\x01\x00\x00\x04user\x00\x00")


def read(data: bytes) -> None:
    requested = negotiation.parse(data)
    if isinstance(requested, Requested):
        accepted = negotiation.accept(requested, 16_384)
        assert len(accepted.contexts) <= 128
    else:
        assert len(requested.encode()) == 10


def _with_items(items: bytes) -> bytes:
    """Return a request whose user information holds more."""
    plain = associate_request()
    changed = plain[: plain.rindex(item(0x50, _USER))] + item(0x50, _USER + items)
    return changed[:2] + struct.pack(">I", len(changed) - 6) + changed[6:]


TARGET = Target(
    "negotiation",
    read,
    (
        associate_request(),
        associate_request("CT1", *((f"1.2.3.{number}", EXPLICIT) for number in range(128))),
        associate_request("STRANGER", (dimse.VERIFICATION, "1.2.840.10008.1.2"), version=2),
        _with_items(_ROLES),
        _with_items(_ROLES + _IDENTITY),
    ),
)
