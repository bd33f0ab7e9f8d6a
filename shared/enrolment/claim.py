"""What a host says of itself that the centre has forgotten: it was enrolled within what a restored database lacks.

    claim  = canonical JSON of `HostClaim`, signed by the host's evidence key as a HOST_CLAIM
    file   = canonical JSON {"v": 1, "claim": base64 of that, "evidence_certificate": PEM, and what leads to the root}

The host shows it at the enrolment door, or a person carries the file; people decide. It gives nothing by itself.
docs/formats/enrolment.md section 8
"""

from dataclasses import dataclass
from datetime import datetime

from shared import canonical, clock
from shared.canonical import Json
from shared.enrolment.exchange import (
    CHAIN_PATTERN,
    MAX_ASSET_CHARS,
    MAX_MACHINE_DIGESTS,
    MAX_PEM_CHARS,
    read_message,
)
from shared.errors import Malformed
from shared.fields import Fields, encode_base64
from shared.identity import HostId
from shared.policy.layer import parse_parts
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, claimed_payload, sign_statement, verify_statement

PATH = "/api/v1/claim"
_MAX_SIGNED_BYTES = 4096
_ASSET = r"[^\x00-\x1f\x7f]+"
_DIGEST_BYTES = 32
_WHAT = "host claim"


@dataclass(frozen=True)
class HostClaim:
    """`layers` are those beside the organisation's, `machine` the digests by which its hardware is known."""

    host_id: HostId
    asset: str
    layers: tuple[str, ...]
    machine: tuple[bytes, ...]
    time: datetime  # by the host's clock, which nothing rests on

    def encode(self) -> bytes:
        members: dict[str, Json] = {
            "v": 1,
            "host": str(self.host_id),
            "asset": self.asset,
            "layers": list(self.layers),
            "machine": [digest.hex() for digest in self.machine],
            "time": clock.text(self.time),
        }
        return canonical.encode(members)

    @classmethod
    def parse(cls, payload: bytes) -> "HostClaim":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, _WHAT), _WHAT)
        fields.version()
        claim = cls(
            HostId.parse(fields.text("host")),
            fields.text("asset", _ASSET, max_chars=MAX_ASSET_CHARS),
            parse_parts(fields.items("layers", most=8)),
            tuple(_digest(item) for item in fields.items("machine", most=MAX_MACHINE_DIGESTS)),
            fields.instant("time"),
        )
        fields.done()
        return claim


@dataclass(frozen=True)
class ClaimFile:
    signed: bytes
    evidence_certificate: str

    def encode(self) -> bytes:
        certificate = self.evidence_certificate
        return canonical.encode({"v": 1, "claim": encode_base64(self.signed), "evidence_certificate": certificate})

    @classmethod
    def parse(cls, data: bytes) -> "ClaimFile":
        """Raises Malformed."""
        fields = read_message(data, "file of a host claim")
        file = cls(
            fields.base64("claim", max_bytes=_MAX_SIGNED_BYTES),
            fields.text("evidence_certificate", CHAIN_PATTERN, max_chars=MAX_PEM_CHARS),
        )
        fields.done()
        return file


def sign_claim(claim: HostClaim, signer: EvidenceSigner, evidence_certificate: str) -> ClaimFile:
    return ClaimFile(sign_statement(signer, Label.HOST_CLAIM, claim.encode()), evidence_certificate)


def claimed(file: ClaimFile) -> HostClaim:
    """Return what is said there, whoever signed it. Raises Malformed."""
    return HostClaim.parse(claimed_payload(file.signed))


def verify_claim(file: ClaimFile, key: EvidencePublicKey) -> HostClaim:
    """Return what `key` signed. Raises Malformed, WrongSigner, SignatureInvalid."""
    return HostClaim.parse(verify_statement(file.signed, Label.HOST_CLAIM, key))


def _digest(item: Json) -> bytes:
    try:
        digest = bytes.fromhex(item) if isinstance(item, str) and item == item.lower() else b""
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise Malformed(_WHAT, f"a digest of the machine is not {_DIGEST_BYTES} bytes in lower-case hexadecimal")
    return digest
