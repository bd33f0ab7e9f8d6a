"""Secrets of 256 random bits, and what is kept of them. docs/formats/sign-in.md section 1"""

import re
import secrets
from hashlib import sha256

TOKEN_PATTERN = re.compile(r"lgp_[A-Za-z0-9_-]{43}")
_TOKEN_PREFIX = "lgp_"  # noqa: S105 (marks a token for secret scanners; it is none)


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def new_token() -> str:
    return _TOKEN_PREFIX + new_secret()


def new_id() -> str:
    return secrets.token_hex(8)


def digest(secret: str) -> bytes:
    """Return what is stored. It takes 256 random bits, which a plain hash leaves nobody to guess, and no password."""
    return sha256(secret.encode(errors="replace")).digest()
