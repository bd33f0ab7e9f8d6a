"""What every vector starts from: fixed keys, names, times and bytes, each derived from its own label.

The keys open nothing but these vectors. HPKE draws its own randomness inside the library, so the boxes cannot be made
again byte for byte: those made once lie in `hpke_outputs.json`, and a box is made anew only where none there opens to
what it should hold.
"""

import base64
import json
from datetime import UTC, datetime
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId, ObjectId
from shared.sealing.hpke import BoxLabel, SealingPrivateKey, SealingPublicKey
from shared.signing import EvidencePublicKey

FOLDER = Path(__file__).parent
BOXES_FILE = FOLDER / "hpke_outputs.json"
TIME = datetime(2026, 1, 31, 8, 0, 0, 123456, tzinfo=UTC)

# A certificate authority's certificate, as a policy names what to trust. Its private key was never kept.
TRUST = """\
-----BEGIN CERTIFICATE-----
MIIBZjCCAQygAwIBAgIBATAKBggqhkjOPQQDAjAxMS8wLQYDVQQDDCZUZXN0IHZl
Y3RvciBDQSwgaXRzIGtleSBpcyB0aHJvd24gYXdheTAgFw0yNjAxMDEwMDAwMDBa
GA8yMTI1MTIwODAwMDAwMFowMTEvMC0GA1UEAwwmVGVzdCB2ZWN0b3IgQ0EsIGl0
cyBrZXkgaXMgdGhyb3duIGF3YXkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATM
G8wwLQDb9zqCnC3bta0BDBE9R/xTYBhzR1/dERAdO9ZmnVGYSyUsTpcBmIUZslWf
YUfGLQKJCSQmnZREwFsnoxMwETAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMC
A0gAMEUCIQC0zsFMKLcClD8noxzs1icrN2NbkPayYEieKdfSmkWUcQIgdfitjsr5
5Zk+NR3ZWK1sPK39+bc2hJsT5OMROnzWrqg=
-----END CERTIFICATE-----
"""

Scenario: TypeAlias = dict[str, Any]
Files: TypeAlias = dict[str, str]


class RepeatableSigner:
    """An evidence key whose signatures are those of RFC 6979, so that they come out the same each time."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.key = key
        self.public = EvidencePublicKey(key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


class RepeatableRandom:
    """Bytes that look random and are the same in every run."""

    def __init__(self, label: str) -> None:
        self._label, self._drawn = label, 0

    def __call__(self, size: int) -> bytes:
        self._drawn += 1
        return bytes_of(f"{self._label} {self._drawn}", size)


class KeptBoxes:
    """The boxes of `hpke_outputs.json`, by what they hold."""

    def __init__(self, stored: dict[str, str]) -> None:
        self._stored, self._used = stored, dict[str, str]()

    @classmethod
    def load(cls) -> "KeptBoxes":
        return cls(json.loads(BOXES_FILE.read_text()) if BOXES_FILE.exists() else {})

    def text(self) -> str:
        return json.dumps(self._used, indent=2, sort_keys=True) + "\n"

    def seal(self, key: SealingPrivateKey, label: BoxLabel, bound: bytes, plaintext: bytes, *, copy: int = 1) -> bytes:
        """Return a box of `plaintext`; each `copy` of one content is another box."""
        parts = (label.value.encode(), key.public.key_id.raw, bound, plaintext, bytes([copy]))
        name = sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()[:32]
        box = base64.b64decode(self._stored.get(name, ""))
        try:
            fits = key.open(label, bound, box) == plaintext
        except (Refused, IntegrityFailure):
            fits = False
        if not fits:
            box = key.public.seal(label, bound, plaintext)
        self._used[name] = self._stored[name] = base64.b64encode(box).decode()
        return box


class KeptKey(SealingPublicKey):
    """A sealing public key whose boxes come from `KeptBoxes`."""

    def __init__(self, private: SealingPrivateKey, boxes: KeptBoxes) -> None:
        super().__init__(private.public.raw)
        object.__setattr__(self, "_private", private)
        object.__setattr__(self, "_boxes", boxes)

    def seal(self, label: BoxLabel, bound: bytes, plaintext: bytes) -> bytes:
        box: bytes = self._boxes.seal(self._private, label, bound, plaintext)  # type: ignore[attr-defined]
        return box


def bytes_of(label: str, size: int) -> bytes:
    return shake_256(b"leadglass test vectors: " + label.encode()).digest(size)


def signer(label: str) -> RepeatableSigner:
    return RepeatableSigner(
        ec.derive_private_key(int.from_bytes(bytes_of(f"{label} evidence key", 31)), ec.SECP256R1())
    )


def sealing_key(label: str) -> SealingPrivateKey:
    return SealingPrivateKey(seed(label))


def seed(label: str) -> bytes:
    return bytes_of(f"{label} sealing seed", 32)


HOST = HostId(bytes_of("host", 16))
OTHER_HOST = HostId(bytes_of("other host", 16))
OBJECT = ObjectId(bytes_of("object", 16))
OTHER_OBJECT = ObjectId(bytes_of("other object", 16))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def flip(data: bytes, at: int, mask: int = 1) -> bytes:
    """Return `data` with one byte changed; a negative `at` counts from the end."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def as_file(scenario: Scenario) -> str:
    return json.dumps(scenario, indent=2, ensure_ascii=False) + "\n"
