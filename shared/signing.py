"""Evidence signatures: ECDSA P-256 with SHA-256 over a labelled payload.

    signed    = "LGSIGN" || u16 version || key id (16) || u32 payload length || payload || signature (64)
    signature = r || s, 32 bytes each, big-endian, s in the lower half of the group order
    message   = label || 0x00 || payload
    key id    = SHA-256("leadglass evidence key v1" || 0x00 || SubjectPublicKeyInfo DER)[:16]

The label is not in the bytes: the reader states which statement it expects, so a receipt can never be read as a
capture record. Low s leaves one valid signature per signing, so no bit can be changed unseen.
docs/formats/signed-statement.md
"""

import struct
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from shared.errors import IntegrityFailure, Malformed
from shared.identity import KeyId

_MAGIC = b"LGSIGN"
_VERSION = 1
_HEAD = struct.Struct(">6sH16sI")
_SIGNATURE_BYTES = 64
_MAX_PAYLOAD_BYTES = 1 << 20
# The order of the P-256 group, SEC 2 section 2.4.2.
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Label(StrEnum):
    """What a signed statement is; part of what is signed."""

    CAPTURE = "leadglass capture record v1"
    RECEIPT = "leadglass vault receipt v1"
    AUDIT_BATCH = "leadglass audit batch v1"
    HOST_STATE = "leadglass host state v1"
    FRAMES = "leadglass frame digests v1"
    SPOOL_EXPORT = "leadglass spool export v1"
    COMMAND = "leadglass command v1"
    COMMAND_RESULT = "leadglass command result v1"
    LAPSED_ASK = "leadglass lapsed ask v1"
    BACKUP = "leadglass backup v1"
    HOST_CLAIM = "leadglass host claim v1"
    BUNDLE = "leadglass bundle v1"
    SELF_TEST_QUESTION = "leadglass self-test question v1"
    SELF_TEST_ANSWER = "leadglass self-test answer v1"
    HAND_OVER = "leadglass hand-over v1"
    LOG_KEY = "leadglass log key v1"
    AUDIT_ARCHIVE = "leadglass audit archive v1"
    WITNESS_KEY = "leadglass witness key v1"
    WIPE_TICKET = "leadglass wipe ticket v1"
    WIPE_REPORT = "leadglass wipe report v1"
    WIPE_CERTIFICATE = "leadglass wipe certificate v1"


class SignatureInvalid(IntegrityFailure):
    def __init__(self, label: Label, key_id: KeyId) -> None:
        super().__init__(f"signature on the {label.value} does not verify under key {key_id}")
        self.label, self.key_id = label, key_id


class WrongSigner(IntegrityFailure):
    def __init__(self, label: Label, *, named: KeyId, expected: KeyId) -> None:
        super().__init__(f"the {label.value} names signing key {named}, expected {expected}")
        self.label, self.named, self.expected = label, named, expected


@dataclass(frozen=True)
class EvidencePublicKey:
    """The verifying half of an evidence key, named by its own digest."""

    key: ec.EllipticCurvePublicKey

    @cached_property
    def key_id(self) -> KeyId:
        return KeyId(sha256(b"leadglass evidence key v1\x00" + self.spki).digest()[:16])

    @cached_property
    def spki(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def parse(cls, spki: bytes) -> "EvidencePublicKey":
        """Read a DER SubjectPublicKeyInfo. Raises Malformed: not one, not P-256, or another encoding of the point."""
        try:
            key = serialization.load_der_public_key(spki)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise Malformed("evidence public key", "not a SubjectPublicKeyInfo") from exc
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise Malformed("evidence public key", "not an ECDSA P-256 key")
        public = cls(key)
        # A compressed point is the same key under another name: the key id is a digest of these bytes.
        if public.spki != spki:
            raise Malformed("evidence public key", "its point is not written uncompressed")
        return public


class EvidenceSigner(Protocol):
    """Signs evidence for one identity; the private key may live in a TPM or token."""

    @property
    def public(self) -> EvidencePublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """Return the DER ECDSA signature (SHA-256) over `message`."""


class SoftwareSigner:
    """An evidence key held in this process's memory. Python cannot reliably erase it."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = EvidencePublicKey(key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


def sign_statement(signer: EvidenceSigner, label: Label, payload: bytes) -> bytes:
    """Return `payload` signed as a `label`, in the layout above."""
    r, s = decode_dss_signature(signer.sign(_message(label, payload)))
    low_s = min(s, _ORDER - s)
    head = _HEAD.pack(_MAGIC, _VERSION, signer.public.key_id.raw, len(payload))
    return head + payload + r.to_bytes(32) + low_s.to_bytes(32)


def sign_detached(signer: EvidenceSigner, label: Label, payload: bytes) -> bytes:
    """Return the signature alone, in the DER that other programs verify (openssl dgst -sha256)."""
    r, s = decode_dss_signature(signer.sign(_message(label, payload)))
    return encode_dss_signature(r, min(s, _ORDER - s))


def verify_detached(signature: bytes, label: Label, payload: bytes, key: EvidencePublicKey) -> None:
    """Hold the signature of `sign_detached` against what it is beside. Raises SignatureInvalid."""
    try:
        r, s = decode_dss_signature(signature)
        if s > _ORDER // 2 or encode_dss_signature(r, s) != signature:
            raise SignatureInvalid(label, key.key_id)
        key.key.verify(signature, _message(label, payload), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as exc:
        raise SignatureInvalid(label, key.key_id) from exc


def signing_key_id(signed: bytes) -> KeyId:
    """Return which key a signed statement names, before anything is believed. Raises Malformed."""
    return _split(signed)[0]


def claimed_payload(signed: bytes) -> bytes:
    """Return what a signed statement says, before anything is believed. Raises Malformed."""
    return _split(signed)[1]


def verify_statement(signed: bytes, label: Label, key: EvidencePublicKey) -> bytes:
    """Return the payload of `signed` once its signature as a `label` by `key` holds.

    Raises Malformed, WrongSigner, SignatureInvalid.
    """
    key_id, payload, signature = _split(signed)
    if key_id != key.key_id:
        raise WrongSigner(label, named=key_id, expected=key.key_id)
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    if s > _ORDER // 2:
        raise SignatureInvalid(label, key_id)
    try:
        key.key.verify(encode_dss_signature(r, s), _message(label, payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as exc:
        raise SignatureInvalid(label, key_id) from exc
    return payload


def detached(signed: bytes) -> bytes:
    """Return the signature alone of a signed statement, whose payload stands elsewhere. Raises Malformed."""
    return _split(signed)[2]


def attached(key_id: KeyId, payload: bytes, signature: bytes) -> bytes:
    """Return the signed statement that a payload and its signature make; nothing is verified."""
    return _HEAD.pack(_MAGIC, _VERSION, key_id.raw, len(payload)) + payload + signature


def _message(label: Label, payload: bytes) -> bytes:
    return label.value.encode() + b"\x00" + payload


def _split(signed: bytes) -> tuple[KeyId, bytes, bytes]:
    if len(signed) < _HEAD.size + _SIGNATURE_BYTES:
        raise Malformed("signed statement", "shorter than its fixed parts")
    magic, version, key_id, payload_bytes = _HEAD.unpack_from(signed)
    if magic != _MAGIC:
        raise Malformed("signed statement", "does not begin with LGSIGN")
    if version != _VERSION:
        raise Malformed("signed statement", f"version {version}; this reader knows {_VERSION}")
    if payload_bytes > _MAX_PAYLOAD_BYTES or len(signed) != _HEAD.size + payload_bytes + _SIGNATURE_BYTES:
        raise Malformed("signed statement", "its length does not fit its payload length")
    return KeyId(key_id), signed[_HEAD.size : -_SIGNATURE_BYTES], signed[-_SIGNATURE_BYTES:]
