"""Signs a PDF as readers know it (PAdES, ETSI EN 319 142), with a timestamp where a time authority is given.

docs/adr/0037-what-a-wipe-certificate-proves.md
"""

from asyncio import to_thread
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

import urllib3
from asn1crypto import keys as asn1_keys
from asn1crypto import tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.signers import PdfSignatureMetadata, PdfSigner, SimpleSigner
from pyhanko.sign.signers.pdf_signer import PdfSigningSession
from pyhanko.sign.timestamps import TimeStamper
from pyhanko_certvalidator.registry import SimpleCertificateStore

from shared.errors import Unavailable

FIELD = "Leadglass"
_TIMEOUT_S = 20.0
_MAX_ANSWER_BYTES = 64 << 10
_HEADERS = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}


class TimeAuthorityUnavailable(Unavailable):
    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"the time authority {url} gave no timestamp: {why}")
        self.url, self.why = url, why


@dataclass(frozen=True)
class Seal:
    """The key that signs documents, and its certificate with those of authorities above it, the root left out."""

    key: ec.EllipticCurvePrivateKey
    certificates: Sequence[x509.Certificate]
    time_authority: str | None = None


def sign_pdf(pdf: bytes, seal: Seal, reason: str, now: datetime) -> bytes:
    """Return `pdf` with one signature over all of it. Raises TimeAuthorityUnavailable: nothing goes out without one."""
    own, *above = map(_asn1, seal.certificates)
    store = SimpleCertificateStore()
    store.register_multiple(above)
    key = asn1_keys.PrivateKeyInfo.load(seal.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    signer = SimpleSigner(signing_cert=own, signing_key=key, cert_registry=store)
    described = PdfSignatureMetadata(
        field_name=FIELD, md_algorithm="sha256", subfilter=SigSeedSubFilter.PADES, name="Leadglass", reason=reason
    )
    asked = None if seal.time_authority is None else _Rfc3161(seal.time_authority)
    signed = BytesIO()
    _At(now, described, signer, timestamper=asked).sign_pdf(IncrementalPdfFileWriter(BytesIO(pdf)), output=signed)
    return signed.getvalue()


class _At(PdfSigner):
    """Signs at a time that it is told, and not at the machine's."""

    def __init__(
        self, now: datetime, described: PdfSignatureMetadata, signer: SimpleSigner, timestamper: TimeStamper | None
    ) -> None:
        super().__init__(described, signer, timestamper=timestamper)
        self._now = now

    def init_signing_session(self, *told: Any, **named: Any) -> PdfSigningSession:
        session = super().init_signing_session(*told, **named)
        session.system_time = self._now
        return session


class _Rfc3161(TimeStamper):
    """Asks a time authority over HTTP (RFC 3161 section 3.4). Whether it is believed is for whoever reads the PDF."""

    def __init__(self, url: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._url = url

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        return await to_thread(self._ask, req)

    def _ask(self, request: tsp.TimeStampReq) -> tsp.TimeStampResp:
        try:
            answer = urllib3.request(
                "POST", self._url, body=request.dump(), headers=_HEADERS, timeout=_TIMEOUT_S, retries=False,
                redirect=False, preload_content=False,
            )  # fmt: skip
            try:
                body = answer.read(_MAX_ANSWER_BYTES + 1)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            raise TimeAuthorityUnavailable(self._url, type(exc).__name__) from exc
        if answer.status != 200 or len(body) > _MAX_ANSWER_BYTES:
            raise TimeAuthorityUnavailable(self._url, f"it answered with status {answer.status}, {len(body)} bytes")
        return self._read(body, request)

    def _read(self, body: bytes, request: tsp.TimeStampReq) -> tsp.TimeStampResp:
        try:
            response = tsp.TimeStampResp.load(body, strict=True)
            status = response["status"]["status"].native
            stamped = response["time_stamp_token"]["content"]["encap_content_info"]["content"].parsed
            is_of_this = stamped["message_imprint"].dump() == request["message_imprint"].dump()
            is_of_this = is_of_this and stamped["nonce"].native == request["nonce"].native
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise TimeAuthorityUnavailable(self._url, "its answer is no RFC 3161 response with a timestamp") from exc
        if status not in ("granted", "granted_with_mods") or not is_of_this:
            raise TimeAuthorityUnavailable(self._url, f"status {status}, or a timestamp of something else")
        return response


def _asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
