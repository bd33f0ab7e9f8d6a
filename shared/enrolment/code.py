"""The enrolment code: a one-time secret together with the fingerprint that lets the host judge the centre first.

    code     = "LG1-" and Crockford base32 of payload, in groups of six
    payload  = secret (16) || SHA-256 of the root certificate's DER (32) || first 2 bytes of SHA-256(secret || digest)

The last two bytes tell a typing error from a wrong code without asking anybody.  docs/formats/enrolment.md section 1
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256

from shared.errors import Refused

SECRET_BYTES = 16
_DIGEST_BYTES = 32
_PAYLOAD_BYTES = SECRET_BYTES + _DIGEST_BYTES + 2
_CHARS = 80  # 50 bytes are exactly 80 characters of five bits
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PREFIX = "LG1-"
_LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1"})


class CodeUnreadable(Refused):
    """The text is not an enrolment code, or was mistyped. Never quotes it: it is a secret."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this is not an enrolment code: {why}")
        self.why = why


@dataclass(frozen=True)
class EnrolmentCode:
    secret: bytes
    ca_sha256: bytes

    def text(self) -> str:
        payload = self.secret + self.ca_sha256
        bits = int.from_bytes(payload + _check(payload))
        chars = "".join(ALPHABET[bits >> shift & 31] for shift in range(_CHARS * 5 - 5, -1, -5))
        return _PREFIX + "-".join(chars[i : i + 6] for i in range(0, _CHARS, 6))

    @classmethod
    def parse(cls, text: str) -> "EnrolmentCode":
        """Read a code as people type it: any case, spaces or dashes anywhere, O for 0, I or L for 1.

        Raises CodeUnreadable.
        """
        compact = "".join(text.upper().split()).replace("-", "")
        if not compact.startswith("LG1"):
            raise CodeUnreadable("it does not begin with LG1")
        chars = compact.removeprefix("LG1").translate(_LOOKALIKES)
        if len(chars) != _CHARS or any(c not in ALPHABET for c in chars):
            raise CodeUnreadable(f"expected {_CHARS} letters and digits after LG1, found {len(chars)}")
        bits = 0
        for char in chars:
            bits = bits << 5 | ALPHABET.index(char)
        payload = bits.to_bytes(_PAYLOAD_BYTES)
        if not hmac.compare_digest(_check(payload[:-2]), payload[-2:]):
            raise CodeUnreadable("a character was mistyped; compare it with the original")
        return cls(payload[:SECRET_BYTES], payload[SECRET_BYTES:-2])


def secret_digest(secret: bytes) -> bytes:
    """Return what the control plane stores instead of the secret."""
    return sha256(b"leadglass enrolment secret v1\x00" + secret).digest()


def _check(payload: bytes) -> bytes:
    return sha256(payload).digest()[:2]
