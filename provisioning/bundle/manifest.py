"""What a bundle says of itself, and the list of digests that is signed.

    SHA256SUMS       a line for each member behind the signature, by name: 64 hex digits, two spaces, the name
    SHA256SUMS.sig   ECDSA P-256 with SHA-256, in DER, over "leadglass bundle v1" || 0x00 || SHA256SUMS
    release.pem      the key that signed
    manifest.json    canonical JSON {"v": 1, "version", "made", "keys": [base64 SPKI, ...]}

`sha256sum --check` and `openssl dgst -verify` read the first three: a machine with nothing of ours verifies them.
docs/formats/bundle.md
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives import serialization

from shared import canonical, clock
from shared.errors import Malformed
from shared.fields import Fields, decode_base64, encode_base64
from shared.signing import EvidencePublicKey

SUMS, SIGNATURE, KEY, MANIFEST, BEGIN = "SHA256SUMS", "SHA256SUMS.sig", "release.pem", "manifest.json", "begin.sh"
MAX_SMALL_BYTES = 65_536
VERSION = r"[0-9]+(\.[0-9]+){1,3}(~[a-z0-9.]+)?"
_MAX_KEYS = 8
_MAX_SPKI_BYTES = 128
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\x00-\x20\x7f]+)")
_PUBLIC = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True)
class Manifest:
    """`keys` are those by which a host that took this bundle judges the next one; none: the one that signed it."""

    version: str
    made: datetime
    keys: tuple[EvidencePublicKey, ...] = ()

    def encode(self) -> bytes:
        keys: list[canonical.Json] = [encode_base64(key.spki) for key in self.keys]
        return canonical.encode({"v": 1, "version": self.version, "made": clock.text(self.made), "keys": keys})

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Raises Malformed."""
        fields = Fields(canonical.parse(data, MANIFEST), MANIFEST)
        fields.version()
        keys = fields.items("keys", most=_MAX_KEYS)
        read = cls(
            fields.text("version", VERSION, max_chars=32),
            fields.instant("made"),
            tuple(EvidencePublicKey.parse(decode_base64(key, "release key", _MAX_SPKI_BYTES)) for key in keys),
        )
        fields.done()
        return read


def sums_text(digests: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def parse_sums(data: bytes) -> dict[str, str]:
    """Return the digest of each name, as `sha256sum --check` would take them. Raises Malformed."""
    digests: dict[str, str] = {}
    for line in data.decode("ascii", "replace").split("\n")[:-1]:
        found = _LINE.fullmatch(line)
        if found is None:
            raise Malformed(SUMS, "expected lines of 64 hex digits, two spaces and a name")
        digests[found["name"]] = found["digest"]
    if sums_text(digests) != data:
        raise Malformed(SUMS, "its lines are not in the one order, or a name is there twice")
    return digests


def pem(key: EvidencePublicKey) -> bytes:
    return key.key.public_bytes(*_PUBLIC)


def parse_pem(data: bytes) -> EvidencePublicKey:
    """Raises Malformed: not a public key on P-256, or another encoding of one."""
    try:
        loaded = serialization.load_pem_public_key(data)
        key = EvidencePublicKey.parse(
            loaded.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    except (ValueError, UnicodeError) as exc:
        raise Malformed(KEY, "not a public key in PEM") from exc
    if pem(key) != data:
        raise Malformed(KEY, "not in the encoding of openssl")
    return key
