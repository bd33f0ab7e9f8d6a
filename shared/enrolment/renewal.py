"""The renewal exchange: a host that still has a valid certificate gets the next one, for a fresh key.

docs/formats/enrolment.md section 4
"""

from dataclasses import dataclass
from datetime import datetime

from shared import canonical
from shared.canonical import Json
from shared.enrolment.exchange import CHAIN_PATTERN, MAX_ASSET_CHARS, MAX_PEM_CHARS, PEM_PATTERN, read_message
from shared.fields import Fields

EVIDENCE_PATH = "/api/v1/renewal/evidence"


@dataclass(frozen=True)
class RenewalRequest:
    """A certificate request (PKCS #10) that proves possession of a new ECDSA P-256 TLS key.

    `asset` is what the host takes itself to be called; one that says nothing is told no other name.
    """

    tls_csr: str
    asset: str | None = None

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "tls_csr": self.tls_csr, **_named(self.asset)})

    @classmethod
    def parse(cls, data: bytes) -> "RenewalRequest":
        """Raises Malformed."""
        fields = read_message(data, "renewal request")
        request = cls(fields.text("tls_csr", PEM_PATTERN, max_chars=MAX_PEM_CHARS), _asset(fields))
        fields.done()
        return request


@dataclass(frozen=True)
class EvidenceRenewalRequest:
    """A certificate request (PKCS #10) by the evidence key that this host has."""

    evidence_csr: str

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "evidence_csr": self.evidence_csr})

    @classmethod
    def parse(cls, data: bytes) -> "EvidenceRenewalRequest":
        """Raises Malformed."""
        fields = read_message(data, "renewal of evidence")
        request = cls(fields.text("evidence_csr", PEM_PATTERN, max_chars=MAX_PEM_CHARS))
        fields.done()
        return request


@dataclass(frozen=True)
class EvidenceRenewalAnswer:
    """The newest certificate of the evidence key, and behind it those that lead from it to the root."""

    evidence_certificate: str

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "evidence_certificate": self.evidence_certificate})

    @classmethod
    def parse(cls, data: bytes) -> "EvidenceRenewalAnswer":
        """Raises Malformed."""
        fields = read_message(data, "answer to a renewal of evidence")
        answer = cls(fields.text("evidence_certificate", CHAIN_PATTERN, max_chars=MAX_PEM_CHARS))
        fields.done()
        return answer


@dataclass(frozen=True)
class RenewalAnswer:
    """The next certificate, and behind it those of the authorities that lead from it to the root."""

    tls_certificate: str
    asset: str | None = None  # what people call the host now, where it takes itself to be called otherwise

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "tls_certificate": self.tls_certificate, **_named(self.asset)})

    @classmethod
    def parse(cls, data: bytes) -> "RenewalAnswer":
        """Raises Malformed."""
        fields = read_message(data, "renewal answer")
        answer = cls(fields.text("tls_certificate", CHAIN_PATTERN, max_chars=MAX_PEM_CHARS), _asset(fields))
        fields.done()
        return answer


def _named(asset: str | None) -> dict[str, Json]:
    return {} if asset is None else {"asset": asset}


def _asset(fields: Fields) -> str | None:
    return fields.text("asset", max_chars=MAX_ASSET_CHARS) if fields.has("asset") else None


def renewal_due(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Tell whether two thirds of a certificate's life have gone by."""
    return now >= not_before + (not_after - not_before) * 2 / 3
