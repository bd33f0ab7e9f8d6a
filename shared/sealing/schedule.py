"""What follows an encapsulation in HPKE: the key schedule of RFC 9180 section 5.1, base mode, and one sealing by it.

    secret     = LabeledExtract(shared secret, "secret", "")
    context    = 0x00 || LabeledExtract("", "psk_id_hash", "") || LabeledExtract("", "info_hash", info)
    key        = LabeledExpand(secret, "key", context, 32)
    base nonce = LabeledExpand(secret, "base_nonce", context, 12)
    ct         = AES-256-GCM(key, base nonce, plaintext, aad = "")

`cryptography` does both halves of HPKE in one call. This is the second half, for an encapsulation that was made before
it was known what it will seal; what it prints, the library opens.
"""

import hmac
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES, _NONCE_BYTES = 32, 12
_SUITE_ID = b"HPKE" + bytes.fromhex("647a 0001 0002")
_NO_SALT = bytes(32)  # HMAC pads a key with zeros, so an empty one is this


def seal_by(shared_secret: bytes | bytearray, info: bytes, plaintext: bytes) -> bytes:
    """Return the ciphertext and tag of the only thing that is sealed under `shared_secret` and `info`."""
    secret = _extract(shared_secret, b"secret", b"")
    context = b"\x00" + _PSK_ID_HASH + _extract(_NO_SALT, b"info_hash", info)
    key, nonce = _expand(secret, b"key", context, _KEY_BYTES), _expand(secret, b"base_nonce", context, _NONCE_BYTES)
    return AESGCM(key).encrypt(nonce, plaintext, None)


def _extract(salt: bytes | bytearray, label: bytes, text: bytes) -> bytes:
    return _hmac(salt, b"HPKE-v1" + _SUITE_ID + label + text)


def _expand(secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    return _hmac(secret, size.to_bytes(2) + b"HPKE-v1" + _SUITE_ID + label + context + b"\x01")[:size]


def _hmac(key: bytes | bytearray, text: bytes) -> bytes:
    # The one-shot lets go of Python's lock for these few bytes, and then waits for whoever took it.
    return hmac.new(key, text, sha256).digest()


_PSK_ID_HASH = _extract(_NO_SALT, b"psk_id_hash", b"")
