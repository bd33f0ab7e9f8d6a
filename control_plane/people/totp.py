"""Time-based one-time passwords (RFC 6238): SHA-1, 30 s, six digits, which is what every app on a phone makes."""

import base64
import hmac
from datetime import datetime

import pyotp

SEED_BYTES = 20  # as long as SHA-1's output, which RFC 4226 section 4 recommends
PERIOD_S = 30
_WINDOW = 1
_DIGITS = 6
ISSUER = "Leadglass"


def accepted_step(seed: bytes, code: str, now: datetime, last_step: int) -> int | None:
    """Return the time step that `code` is of, None where it is of none that is near and newer than `last_step`.

    A clock may be half a minute out either way. Whoever stores the step has the code accepted once.
    """
    step, accepted = int(now.timestamp()) // PERIOD_S, None
    generator = pyotp.TOTP(_base32(seed), digits=_DIGITS, interval=PERIOD_S)
    for candidate in range(step - _WINDOW, step + _WINDOW + 1):
        right = hmac.compare_digest(generator.generate_otp(candidate).encode(), code.encode(errors="replace"))
        if right and candidate > last_step:
            accepted = candidate
    return accepted


def provisioning_uri(seed: bytes, person: str) -> str:
    """Return the `otpauth:` text that a phone reads as a QR code. It is as secret as the seed."""
    generator = pyotp.TOTP(_base32(seed), digits=_DIGITS, interval=PERIOD_S)
    return generator.provisioning_uri(name=person, issuer_name=ISSUER)


def _base32(seed: bytes) -> str:
    return base64.b32encode(seed).decode().rstrip("=")
