"""What a host says that has no certificate left which opens a door: it may ask for one, and a person approves it.

    ask          = canonical JSON of `LapsedAsk`, signed by the host's evidence key as a LAPSED_ASK
    request      = canonical JSON {"v": 1, "ask": base64 of that, "tls_csr": PEM}
    fingerprint  = first 80 bits of SHA-256("leadglass fresh key v1" || 0x00 || SubjectPublicKeyInfo DER of the key),
                   16 characters of Crockford's alphabet in four groups

People compare the fingerprint on the machine with the one at the centre. Eighty bits: whoever has copied the evidence
key cannot make another fresh key with the fingerprint that was approved.  docs/formats/enrolment.md section 7
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared import canonical, clock
from shared.enrolment.code import ALPHABET
from shared.enrolment.exchange import MAX_PEM_CHARS, PEM_PATTERN, read_message
from shared.fields import Fields, encode_base64
from shared.identity import HostId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

FINGERPRINT_PATTERN = rf"[{ALPHABET}]{{4}}(-[{ALPHABET}]{{4}}){{3}}"
_MAX_SIGNED_BYTES = 1024
_CHARS = 16


@dataclass(frozen=True)
class LapsedAsk:
    host_id: HostId
    tls_csr_sha256: bytes
    time: datetime  # by the host's clock, which nothing rests on

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "host": str(self.host_id),
                "tls_csr_sha256": self.tls_csr_sha256.hex(),
                "time": clock.text(self.time),
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "LapsedAsk":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "lapsed ask"), "lapsed ask")
        fields.version()
        ask = cls(HostId.parse(fields.text("host")), fields.hex("tls_csr_sha256", 32), fields.instant("time"))
        fields.done()
        return ask


@dataclass(frozen=True)
class LapsedRequest:
    signed: bytes
    tls_csr: str

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "ask": encode_base64(self.signed), "tls_csr": self.tls_csr})

    @classmethod
    def parse(cls, data: bytes) -> "LapsedRequest":
        """Raises Malformed."""
        fields = read_message(data, "lapsed request")
        request = cls(
            fields.base64("ask", max_bytes=_MAX_SIGNED_BYTES),
            fields.text("tls_csr", PEM_PATTERN, max_chars=MAX_PEM_CHARS),
        )
        fields.done()
        return request


def ask(signer: EvidenceSigner, host_id: HostId, tls_csr: str, time: datetime) -> LapsedRequest:
    said = LapsedAsk(host_id, csr_digest(tls_csr), time)
    return LapsedRequest(sign_statement(signer, Label.LAPSED_ASK, said.encode()), tls_csr)


def verify_ask(request: LapsedRequest, key: EvidencePublicKey) -> LapsedAsk:
    """Return what `key` signed. Whether it is about this CSR is the caller's to compare.

    Raises Malformed, WrongSigner, SignatureInvalid.
    """
    return LapsedAsk.parse(verify_statement(request.signed, Label.LAPSED_ASK, key))


def csr_digest(tls_csr: str) -> bytes:
    return sha256(tls_csr.encode()).digest()


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return what people compare of a fresh key."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bits = int.from_bytes(sha256(b"leadglass fresh key v1\x00" + spki).digest()[:10])
    chars = "".join(ALPHABET[bits >> shift & 31] for shift in range(_CHARS * 5 - 5, -1, -5))
    return "-".join(chars[i : i + 4] for i in range(0, _CHARS, 4))
