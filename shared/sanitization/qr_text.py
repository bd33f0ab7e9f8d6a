"""A signed wipe ticket, a report or a certificate, as lines of text that fit QR codes, for where no network is.

    line  = "LGW1:" || number || "/" || count || ":" || digest || ":" || part
    parts = base32 without padding (RFC 4648 section 6) of the zlib-compressed envelope, cut into pieces
    digest = the first 8 hex digits, in capitals, of the envelope's SHA-256

Every character is of the alphanumeric mode of ISO/IEC 18004. The digest only keeps lines of two tickets apart and finds
what was misread: what is joined is verified like any other envelope.
docs/formats/wipe.md
"""

import binascii
import re
import zlib
from base64 import b32decode, b32encode
from collections.abc import Sequence
from hashlib import sha256

from shared.envelope import MAX_ENVELOPE_BYTES
from shared.errors import Malformed, Refused

MAX_LINES = 64
_PART_CHARS = 1000  # version 20 with the least error correction: still readable from a screen
_LINE = re.compile(rf"LGW1:([1-9][0-9]?)/([1-9][0-9]?):([0-9A-F]{{8}}):([A-Z2-7]{{1,{_PART_CHARS}}})")
_WHAT = "QR text of a wipe ticket, report or certificate"


class TooLongForCodes(Refused):
    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes are too many for QR codes; take them along as a file (--out FILE)")
        self.size_bytes = size_bytes


def is_qr_text(data: bytes) -> bool:
    return data.lstrip().startswith(b"LGW1:")


def to_lines(envelope: bytes, part_chars: int = _PART_CHARS) -> list[str]:
    """`part_chars` are fewer where a code has to be small, as on a terminal. Raises TooLongForCodes."""
    text = b32encode(zlib.compress(envelope, 9)).decode().rstrip("=")
    parts = [text[at : at + part_chars] for at in range(0, len(text), part_chars)]
    if len(parts) > MAX_LINES or len(envelope) > MAX_ENVELOPE_BYTES:
        raise TooLongForCodes(len(envelope))
    return [f"LGW1:{number}/{len(parts)}:{_digest(envelope)}:{part}" for number, part in enumerate(parts, 1)]


def from_lines(lines: Sequence[str]) -> bytes:
    """Return the envelope whose lines these are, in whatever order, a line twice or not. Raises Malformed."""
    found = [_LINE.fullmatch(line.strip()) for line in lines if line.strip()]
    if not found or len(found) > MAX_LINES or not all(found):
        raise Malformed(_WHAT, f"expected 1 to {MAX_LINES} lines LGW1:NUMBER/COUNT:DIGEST:TEXT")
    matches = [one for one in found if one]
    if len({(one[2], one[3]) for one in matches}) != 1:
        raise Malformed(_WHAT, "its lines are of different codes")
    parts = {int(one[1]): one[4] for one in matches}
    count = int(matches[0][2])
    missing = sorted(set(range(1, count + 1)) - set(parts))
    if missing or len(parts) != count:
        raise Malformed(_WHAT, f"of {count} lines, these are missing: {missing}")
    envelope = _decompressed("".join(parts[number] for number in sorted(parts)))
    if _digest(envelope) != matches[0][3]:
        raise Malformed(_WHAT, "a line was misread: the digest is another")
    return envelope


def from_text(data: bytes) -> bytes:
    """Return the envelope that a file of such lines makes. Raises Malformed."""
    try:
        return from_lines(data.decode("ascii").splitlines())
    except UnicodeDecodeError as exc:
        raise Malformed(_WHAT, "not plain text") from exc


def _decompressed(text: str) -> bytes:
    try:
        packed = b32decode(text + "=" * (-len(text) % 8))
        inflater = zlib.decompressobj()
        envelope = inflater.decompress(packed, MAX_ENVELOPE_BYTES)
    except (binascii.Error, zlib.error) as exc:
        raise Malformed(_WHAT, "a line was misread: it does not decode") from exc
    if not inflater.eof or inflater.unused_data:
        raise Malformed(_WHAT, f"it is cut off, or larger than {MAX_ENVELOPE_BYTES} bytes")
    return envelope


def _digest(envelope: bytes) -> str:
    return sha256(envelope).hexdigest()[:8].upper()
