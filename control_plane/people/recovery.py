"""Recovery codes: ten of 80 random bits, each good once instead of a second factor."""

import secrets
from hashlib import sha256

CODES = 10
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's
_CHARS, _GROUP = 16, 4
_READ_AS = str.maketrans("OIL", "011")


def new_codes() -> tuple[str, ...]:
    return tuple(_grouped("".join(secrets.choice(_ALPHABET) for _ in range(_CHARS))) for _ in range(CODES))


def digest_of(text: str) -> bytes | None:
    """Return what is stored of a code as somebody typed it, None where it cannot be one."""
    code = "".join(text.split()).replace("-", "").upper().translate(_READ_AS)
    if len(code) != _CHARS or not set(code) <= set(_ALPHABET):
        return None
    return sha256(b"leadglass recovery code v1\x00" + code.encode()).digest()


def _grouped(code: str) -> str:
    return "-".join(code[start : start + _GROUP] for start in range(0, _CHARS, _GROUP))
