"""A private part sealed to everybody whom it is about: it opens while the secrets of all of them exist.

    box = head || nonce (12) || AES-256-GCM(key, nonce, salt || private part, aad = head || commitment)
    head = "LGSUBJ" || u16 version || u8 count || key id (16) for each subject, ascending
    key = HKDF-SHA-256(secrets in that order, info = "leadglass audit subject box v1")

docs/formats/audit-record.md section 3
"""

import secrets as random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import IntegrityFailure, Malformed
from shared.identity import RandomBytes
from shared.sealing.hpke import BoxLabel

SECRET_BYTES, ID_BYTES, MOST = 32, 16, 32
_MAGIC = b"LGSUBJ\x00\x01"
_INFO = b"leadglass audit subject box v1"
_NONCE_BYTES = 12


class SubjectBoxNotAuthentic(IntegrityFailure):
    def __init__(self) -> None:
        super().__init__("a private part sealed to its subjects is not authentic for the record that it lies beside")


@dataclass(frozen=True)
class SubjectBox:
    """The parsed form of a box, nothing believed yet."""

    key_ids: tuple[bytes, ...]
    head: bytes
    sealed: bytes

    @classmethod
    def parse(cls, data: bytes) -> "SubjectBox":
        """Raises Malformed."""
        fixed = len(_MAGIC) + 1
        if not is_subject_box(data) or len(data) < fixed:
            raise Malformed("subject box", "does not begin as LGSUBJ version 1")
        count = data[fixed - 1]
        end = fixed + count * ID_BYTES
        ids = tuple(data[at : at + ID_BYTES] for at in range(fixed, end, ID_BYTES))
        if not 0 < count <= MOST or len(data) < end + _NONCE_BYTES or list(ids) != sorted(set(ids)):
            raise Malformed("subject box", "its parts do not add up")
        return cls(ids, data[:end], data[end:])


def is_subject_box(data: bytes) -> bool:
    return data.startswith(_MAGIC)


class SubjectSealer:
    """Seals to the secrets of subjects, by key id: at least one and at most 32 of them."""

    def __init__(self, secrets: Mapping[bytes, bytes], random_bytes: RandomBytes = random.token_bytes) -> None:
        self._secrets, self._random = dict(sorted(secrets.items())), random_bytes

    def seal(self, label: BoxLabel, bound: bytes, plaintext: bytes, /) -> bytes:
        if label is not BoxLabel.AUDIT_PRIVATE:
            raise AssertionError("a subject box holds nothing else")
        head, nonce = _MAGIC + bytes([len(self._secrets)]) + b"".join(self._secrets), self._random(_NONCE_BYTES)
        return head + nonce + _aead(self._secrets.values()).encrypt(nonce, plaintext, head + bound)


class SubjectOpener:
    """Opens a box with the secrets of all its subjects, by key id."""

    def __init__(self, secrets: Mapping[bytes, bytes]) -> None:
        self._secrets = secrets

    def open(self, _: BoxLabel, bound: bytes, box: bytes, /) -> bytes:
        """Raises Malformed, SubjectBoxNotAuthentic."""
        parsed = SubjectBox.parse(box)
        nonce, sealed = parsed.sealed[:_NONCE_BYTES], parsed.sealed[_NONCE_BYTES:]
        try:
            aead = _aead(self._secrets[key_id] for key_id in parsed.key_ids)
            return aead.decrypt(nonce, sealed, parsed.head + bound)
        except (InvalidTag, KeyError, ValueError) as exc:
            raise SubjectBoxNotAuthentic from exc


def _aead(secrets: Iterable[bytes]) -> AESGCM:
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=None, info=_INFO).derive(b"".join(secrets)))
