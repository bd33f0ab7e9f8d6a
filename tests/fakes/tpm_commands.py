"""What others do to a TPM, as the bytes that TPM 2.0 Library part 3 gives for it, with an empty password."""

import struct
from collections.abc import Iterator

from edge_agent.host_keys.credential import STILL_PCR

LOCALITY = 0x907  # TPM_RC_LOCALITY
_NO_SESSIONS, _SESSIONS, _PASSWORD = 0x8001, 0x8002, 0x40000009
_PCR_EXTEND, _CLEAR, _DICTIONARY_ATTACK, _FLUSH = 0x182, 0x126, 0x13A, 0x165
_LOCKOUT, _SHA256 = 0x4000000A, 0x000B
_OF_A_LAUNCH = range(17, 23)  # not for firmware nor operating system


def new_firmware() -> Iterator[bytes]:
    """Do what firmware, boot loader and kernel do when they are other ones."""
    for pcr in set(range(24)) - set(_OF_A_LAUNCH):
        yield _extend(pcr)


def extend_the_still_pcr() -> bytes:
    """A TPM refuses this with LOCALITY: only a dynamic launch may."""
    return _extend(STILL_PCR)


def clear() -> bytes:
    """Do what "clear TPM" in a firmware's menu does."""
    return _command(_CLEAR, _LOCKOUT)


def allow_wrong_answers(most: int) -> bytes:
    """With 0 the TPM is locked out, as it is after too many."""
    return _command(_DICTIONARY_ATTACK, _LOCKOUT, struct.pack(">III", most, 3600, 3600))


def flush() -> Iterator[bytes]:
    """Take away sessions and objects that somebody left open, if there are any."""
    for kind in (0x02000000, 0x03000000, 0x80000000):
        for number in range(3):
            yield struct.pack(">HIII", _NO_SESSIONS, 14, _FLUSH, kind + number)


def code_of(answer: bytes) -> int:
    """Return 0, or why the TPM refused."""
    (code,) = struct.unpack(">I", answer[6:10])
    return int(code)


def _extend(pcr: int) -> bytes:
    return _command(_PCR_EXTEND, pcr, struct.pack(">IH32s", 1, _SHA256, b"\x01" * 32))


def _command(code: int, handle: int, parameters: bytes = b"") -> bytes:
    session = struct.pack(">IHBH", _PASSWORD, 0, 0, 0)
    body = struct.pack(">II", handle, len(session)) + session + parameters
    return struct.pack(">HII", _SESSIONS, 10 + len(body), code) + body
