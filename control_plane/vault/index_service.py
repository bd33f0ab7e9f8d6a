"""The index service: opens sealed indexes and makes blind indexes. Nothing else uses its two secrets.

    token = HMAC-SHA-256(blind-index secret, attribute || 0x00 || normalised value)

A token says that two objects share a value, and nothing about which, to whoever has the database and not the secret.
"""

import hmac
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from control_plane.vault.key_ring import KeyRing, key_for
from shared.policy.document import KeyPurpose
from shared.sealing.binding import Binding
from shared.sealing.index import IndexEntry, SealedIndex, open_index


class Attribute(StrEnum):
    """What objects are looked up by. By `person` and `object` is known whom a private part of the log is about."""

    PATIENT_ID = "patient_id"
    PATIENT_ID_OF_ISSUER = "patient_id_of_issuer"
    PATIENT_NAME = "patient_name"
    ACCESSION_NUMBER = "accession_number"
    STUDY_INSTANCE_UID = "study_instance_uid"
    SERIES_INSTANCE_UID = "series_instance_uid"
    SOP_INSTANCE_UID = "sop_instance_uid"
    PERSON = "person"
    OBJECT = "object"


@dataclass(frozen=True)
class Token:
    attribute: Attribute
    value: bytes


class IndexService:
    def __init__(self, keys: KeyRing, blind_index_secret: bytes) -> None:
        self._keys, self._secret = keys, blind_index_secret

    def open(self, index: SealedIndex, binding: Binding) -> IndexEntry:
        """Raises Malformed, KeyNotForThis, KeyNotAuthentic, BoxNotAuthentic, IndexMismatch."""
        return open_index(index, binding, key_for(self._keys, index.box, KeyPurpose.INDEX))

    def tokens(self, entry: IndexEntry) -> tuple[Token, ...]:
        """Return the tokens of what `entry` says; an empty value has none."""
        values = {
            Attribute.PATIENT_ID: entry.patient_id,
            Attribute.PATIENT_NAME: entry.patient_name,
            Attribute.ACCESSION_NUMBER: entry.accession_number,
            Attribute.STUDY_INSTANCE_UID: entry.study_instance_uid,
            Attribute.SERIES_INSTANCE_UID: entry.series_instance_uid,
            Attribute.SOP_INSTANCE_UID: entry.sop_instance_uid,
        }
        tokens = [self.token(attribute, value) for attribute, value in values.items()]
        if _text(entry.issuer_of_patient_id):
            tokens.append(self.token_of_issuer(entry.patient_id, entry.issuer_of_patient_id))
        return tuple(token for token in tokens if token is not None)

    def token(self, attribute: Attribute, value: str) -> Token | None:
        """Return what to look for, None where nothing of `value` is left that is indexed."""
        normal = normalised(attribute, value)
        return self._token(attribute, normal) if normal else None

    def token_of_issuer(self, patient_id: str, issuer: str) -> Token | None:
        """Return the token of a patient number within the domain of its issuer."""
        number, domain = _text(patient_id), _text(issuer)
        return self._token(Attribute.PATIENT_ID_OF_ISSUER, f"{number}\x00{domain}") if number and domain else None

    def _token(self, attribute: Attribute, normal: str) -> Token:
        message = attribute.value.encode() + b"\x00" + normal.encode()
        return Token(attribute, hmac.digest(self._secret, message, "sha256"))


def normalised(attribute: Attribute, value: str) -> str:
    """Return `value` as it is compared; empty where nothing of it is significant."""
    return _name(value) if attribute is Attribute.PATIENT_NAME else _text(value)


def _text(value: str) -> str:
    # Padding is not significant (DICOM PS3.5 section 6.2).
    return unicodedata.normalize("NFC", value.replace("\x00", " ")).strip()


def _name(value: str) -> str:
    # Components without padding, empty ones at the end left out (PS3.5 section 6.2.1), case ignored.
    groups = ("^".join(part.strip() for part in group.split("^")).rstrip("^") for group in _text(value).split("="))
    return "=".join(groups).rstrip("=").upper()
