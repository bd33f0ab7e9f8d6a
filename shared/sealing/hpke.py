"""Small things sealed to a public key: HPKE (RFC 9180), single shot, base mode.

    box     = "LGSBOX" || u16 version || u16 suite || key id (16) || u16 enc length || enc || u32 ct length || ct
    enc, ct = HPKE.SealBase(public key, info, aad = "", plaintext)
    info    = label || 0x00 || u16 suite || key id || SHA-256(bound)
    suite 1 = KEM 0x647A (MLKEM768-X25519), KDF 0x0001 (HKDF-SHA256), AEAD 0x0002 (AES-256-GCM)
    key id  = SHA-256("leadglass sealing key v1" || 0x00 || public key)[:16]

`bound` is what the box belongs to (a binding, a commitment): a box moved to another owner does not open. Whoever
holds only the public key, as a host does, can make boxes and open none.  docs/formats/sealed-object.md section 3
"""

import struct
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from hashlib import sha3_256, sha256, shake_256
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import KeyId
from shared.sealing.schedule import seal_by

SUITE = 1
PUBLIC_KEY_BYTES = 1216
SEED_BYTES = 32

_MAGIC = b"LGSBOX"
_VERSION = 1
_HEAD = struct.Struct(">6sHH16s")
_ENC_BYTES = 1120
_TAG_BYTES = 16
_MLKEM_PUBLIC_BYTES = 1184
_MAX_CT_BYTES = 1 << 20
_KEM_LABEL = bytes.fromhex("5c2e2f2f5e5c")  # of X-Wing, draft-connolly-cfrg-xwing-kem section 5.3
# Any private key tells a point of low order, which makes every shared secret zero, from a good one.
_PROBE = x25519.X25519PrivateKey.from_private_bytes(bytes(32))
_HPKE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class BoxLabel(StrEnum):
    """What a box holds; part of its key derivation."""

    DATA_KEY = "leadglass data-key wrap v1"
    FORWARD = "leadglass forwarding wrap v1"
    INDEX = "leadglass sealed index v1"
    AUDIT_PRIVATE = "leadglass audit private part v1"


class BoxNotAuthentic(IntegrityFailure):
    def __init__(self, label: BoxLabel, key_id: KeyId) -> None:
        super().__init__(f"{label.value} under key {key_id} is not authentic for the thing it lies beside")
        self.label, self.key_id = label, key_id


class WrongKey(Refused):
    def __init__(self, *, needed: KeyId, given: KeyId) -> None:
        super().__init__(f"box is sealed to key {needed}, the key given is {given}")
        self.needed, self.given = needed, given


class Boxes(Protocol):
    """Whatever seals boxes to one public key."""

    def seal(self, label: BoxLabel, bound: bytes, plaintext: bytes) -> bytes: ...


@dataclass(frozen=True)
class SealingPublicKey:
    """A key-encryption key as a host sees it: 1,184 bytes of ML-KEM-768 and 32 of X25519."""

    raw: bytes

    def __post_init__(self) -> None:
        _load(self.raw)
        try:
            _PROBE.exchange(x25519.X25519PublicKey.from_public_bytes(self.raw[_MLKEM_PUBLIC_BYTES:]))
        except ValueError as exc:
            raise Malformed("sealing public key", "its X25519 point is of low order") from exc

    @cached_property
    def key_id(self) -> KeyId:
        return KeyId(sha256(b"leadglass sealing key v1\x00" + self.raw).digest()[:16])

    def seal(self, label: BoxLabel, bound: bytes, plaintext: bytes) -> bytes:
        """Return a box that only the private key opens, and only together with `bound`."""
        sealed = _HPKE.encrypt(plaintext, _load(self.raw), _info(label, self.key_id, bound))
        return SealedBox(self.key_id, sealed[:_ENC_BYTES], sealed[_ENC_BYTES:]).encode()

    def encapsulate(self) -> "Encapsulation":
        """Do in advance what takes nine tenths of the time of `seal`, and needs nothing of what is sealed."""
        kem, point = _kem(self.raw)
        from_kem, kem_ct = kem.encapsulate()
        ephemeral = x25519.X25519PrivateKey.generate()
        own_point = ephemeral.public_key().public_bytes_raw()
        secrets = from_kem + ephemeral.exchange(point)
        shared = sha3_256(secrets + own_point + self.raw[_MLKEM_PUBLIC_BYTES:] + _KEM_LABEL).digest()
        return Encapsulation(self.key_id, kem_ct + own_point, shared)


class AlreadyUsed(RuntimeError):
    def __init__(self) -> None:
        super().__init__("an encapsulation seals one box, and this one has or was destroyed")


class Encapsulation:
    """A secret that only the private key can have again, for one box. Not for several threads at a time.

    Python cannot reliably erase a secret: what is overwritten is the copy that lies here and waits.
    """

    __slots__ = ("_enc", "_key_id", "_shared")

    def __init__(self, key_id: KeyId, enc: bytes, shared: bytes) -> None:
        self._key_id, self._enc, self._shared = key_id, enc, bytearray(shared)

    def seal(self, label: BoxLabel, bound: bytes, plaintext: bytes) -> bytes:
        """Return what `SealingPublicKey.seal` does. Raises AlreadyUsed."""
        if not self._shared:
            raise AlreadyUsed
        try:
            ct = seal_by(self._shared, _info(label, self._key_id, bound), plaintext)
        finally:
            self.destroy()
        return SealedBox(self._key_id, self._enc, ct).encode()

    def destroy(self) -> None:
        self._shared[:] = bytes(len(self._shared))
        self._shared = bytearray()


# A host seals every image to the same few keys, and expanding one costs a fifth of an encapsulation.
@lru_cache(maxsize=64)
def _load(raw: bytes) -> hpke.MLKEM768X25519PublicKey:
    return hpke.MLKEM768X25519PublicKey(*_kem(raw))


@lru_cache(maxsize=64)
def _kem(raw: bytes) -> tuple[mlkem.MLKEM768PublicKey, x25519.X25519PublicKey]:
    if len(raw) != PUBLIC_KEY_BYTES:
        raise Malformed("sealing public key", f"expected {PUBLIC_KEY_BYTES} bytes, got {len(raw)}")
    try:
        return (
            mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES]),
            x25519.X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC_BYTES:]),
        )
    except ValueError as exc:
        raise Malformed("sealing public key", "not an MLKEM768-X25519 key") from exc


class SealingPrivateKey:
    """A key-encryption key at the centre, from its 32-byte seed.

    The seed expands with SHAKE256 to 96 bytes: ML-KEM seed d || z (64), X25519 key (32), as X-Wing does
    (draft-connolly-cfrg-xwing-kem section 5.2).
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise Malformed("sealing key seed", f"expected {SEED_BYTES} bytes, got {len(seed)}")
        expanded = shake_256(seed).digest(96)
        ml = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        ecdh = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
        self._key = hpke.MLKEM768X25519PrivateKey(ml, ecdh)
        self.public = SealingPublicKey(
            ml.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            + ecdh.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        )

    def open(self, label: BoxLabel, bound: bytes, box: bytes) -> bytes:
        """Return what was sealed into `box` as a `label` beside `bound`.

        Raises Malformed, WrongKey, BoxNotAuthentic.
        """
        parsed = SealedBox.parse(box)
        if parsed.key_id != self.public.key_id:
            raise WrongKey(needed=parsed.key_id, given=self.public.key_id)
        try:
            return _HPKE.decrypt(parsed.enc + parsed.ct, self._key, _info(label, parsed.key_id, bound))
        except InvalidTag as exc:
            raise BoxNotAuthentic(label, parsed.key_id) from exc


@dataclass(frozen=True)
class SealedBox:
    """The parsed form of a box, nothing believed yet."""

    key_id: KeyId
    enc: bytes
    ct: bytes

    @classmethod
    def parse(cls, data: bytes) -> "SealedBox":
        """Read one box that fills `data` exactly. Raises Malformed."""
        fixed = _HEAD.size + 2 + _ENC_BYTES + 4
        if len(data) < fixed + _TAG_BYTES:
            raise Malformed("sealed box", "shorter than its fixed parts")
        magic, version, suite, key_id = _HEAD.unpack_from(data)
        if (magic, version, suite) != (_MAGIC, _VERSION, SUITE):
            raise Malformed("sealed box", f"not an LGSBOX of version {_VERSION} and suite {SUITE}")
        enc_bytes = int.from_bytes(data[_HEAD.size : _HEAD.size + 2])
        ct_bytes = int.from_bytes(data[fixed - 4 : fixed])
        if enc_bytes != _ENC_BYTES or ct_bytes > _MAX_CT_BYTES or len(data) != fixed + ct_bytes:
            raise Malformed("sealed box", "its lengths do not add up")
        return cls(KeyId(key_id), data[_HEAD.size + 2 : fixed - 4], data[fixed:])

    def encode(self) -> bytes:
        head = _HEAD.pack(_MAGIC, _VERSION, SUITE, self.key_id.raw)
        return head + len(self.enc).to_bytes(2) + self.enc + len(self.ct).to_bytes(4) + self.ct


def _info(label: BoxLabel, key_id: KeyId, bound: bytes) -> bytes:
    return label.value.encode() + b"\x00" + SUITE.to_bytes(2) + key_id.raw + sha256(bound).digest()
