"""A release key's name for people: SHA-256 of its SubjectPublicKeyInfo, as `openssl` and `sha256sum` give it too."""

import hmac
import re
from hashlib import sha256

from shared.errors import Malformed
from shared.signing import EvidencePublicKey


def fingerprint(key: EvidencePublicKey) -> str:
    return sha256(key.spki).hexdigest()


def groups(digest: str) -> str:
    """Return a digest as people compare and type it: sixteen groups of four."""
    return " ".join(digest[at : at + 4] for at in range(0, len(digest), 4))


def typed(text: str) -> str:
    """Read what a person typed off a sheet. Raises Malformed."""
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise Malformed("fingerprint", "expected 64 hex digits, in groups or not")
    return digits


def names(key: EvidencePublicKey, digits: str) -> bool:
    return hmac.compare_digest(fingerprint(key), digits)
