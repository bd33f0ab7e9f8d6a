"""What an ATA drive says of itself (IDENTIFY DEVICE, ACS-4 7.13.6), as `hdparm --Istdout` prints its 256 words in hex.

word 59     bit 12 sanitize, 13 crypto scramble, 14 overwrite, 15 block erase
word 82     bit 1 security, 10 host protected area          word 83   bit 11 device configuration overlay
words 89/90 minutes for a secure erase, an enhanced one     word 119  bit 8 accessible max address
word 128    bit 0 security supported, 1 enabled, 2 locked, 3 frozen, 4 count expired, 5 enhanced erase
word 255    0xA5 and a sum that makes all 512 bytes come to 0, where a drive has it
"""

import re
import struct
from dataclasses import dataclass

from shared.errors import Malformed

_WHAT = "answer of hdparm --Istdout"
_WORDS = 256
_LINE = re.compile(rb"[0-9a-f]{4}( [0-9a-f]{4}){7}")
_SIGNED = 0xA5
_NO_ESTIMATE = 0


@dataclass(frozen=True)
class Security:
    """Of the ATA security feature set, as it is now. Minutes are None where the drive does not say."""

    supported: bool
    enabled: bool
    locked: bool
    frozen: bool
    expired: bool
    enhanced: bool
    erase_minutes: int | None
    enhanced_minutes: int | None


@dataclass(frozen=True)
class Identity:
    sanitize: bool
    crypto_scramble: bool
    overwrite: bool
    block_erase: bool
    security: Security
    has_hpa: bool
    has_dco: bool
    has_ama: bool


def parse(output: bytes) -> Identity:
    """Raises Malformed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines or not lines[0].endswith(b":"):
        raise Malformed(_WHAT, "expected the drive's node and a colon")
    rows = lines[1:]
    if len(rows) != _WORDS // 8 or not all(_LINE.fullmatch(row) for row in rows):
        raise Malformed(_WHAT, "expected 32 lines of eight words in hex")
    words = [int(word, 16) for row in rows for word in row.split()]
    if words[255] & 0xFF == _SIGNED and sum(struct.pack("<256H", *words)) & 0xFF:
        raise Malformed(_WHAT, "its sum is wrong")
    return _identity(words)


def _identity(words: list[int]) -> Identity:
    # Words 82 and 83 hold something only where word 83 says so.
    commands, more = (words[82], words[83]) if words[83] & 0xC000 == 0x4000 else (0, 0)
    state = words[128]
    return Identity(
        sanitize=_bit(words[59], 12),
        crypto_scramble=_bit(words[59], 13),
        overwrite=_bit(words[59], 14),
        block_erase=_bit(words[59], 15),
        security=Security(
            supported=_bit(commands, 1) and _bit(state, 0),
            enabled=_bit(state, 1),
            locked=_bit(state, 2),
            frozen=_bit(state, 3),
            expired=_bit(state, 4),
            enhanced=_bit(state, 5),
            erase_minutes=_minutes(words[89]),
            enhanced_minutes=_minutes(words[90]),
        ),
        has_hpa=_bit(commands, 10),
        has_dco=_bit(more, 11),
        has_ama=words[119] & 0xC000 == 0x4000 and _bit(words[119], 8),
    )


def _bit(word: int, number: int) -> bool:
    return bool(word >> number & 1)


def _minutes(word: int) -> int | None:
    """Two minutes a step, in 15 bits where the highest says so, else in eight."""
    steps = word & 0x7FFF if _bit(word, 15) else word & 0xFF
    return None if steps == _NO_ESTIMATE else steps * 2
