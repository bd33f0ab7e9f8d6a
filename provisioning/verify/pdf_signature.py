"""Judges the signature over a PDF: that all of it was signed, and by the document key of the reader's authority.

The library judges the bytes; who signed is judged here, by the rules of every other certificate and at its own time.
"""

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from provisioning.verify.certificate import Certified, check_issuer, check_validity
from provisioning.verify.checks import Check, judged, not_evaluated
from shared import clock
from shared.enrolment.chain import ChainBroken, Trust, verify_authority
from shared.identity import CONTROL_PLANE

if TYPE_CHECKING:
    from pyhanko.sign.validation.status import PdfSignatureStatus, TimestampSignatureStatus

_SIGNATURE, _SIGNER, _TIMESTAMP = "signature of the PDF", "certificate of the PDF's signature", "timestamp of the PDF"
_SUBJECT = (CONTROL_PLANE, "document")
_CONTENTS = re.compile(rb"/Contents\s*<([0-9A-Fa-f]*)>")


def judge_pdf(pdf: bytes, trust: Trust) -> tuple[Check, ...]:
    try:
        import pyhanko.sign.validation  # noqa: F401
    except ImportError:
        return (not_evaluated(_SIGNATURE, "pyHanko is not installed here (`pip install leadglass[verify]`)"),)
    try:
        return tuple(_judged(pdf, trust))
    # Whatever a damaged file makes the library raise, the signature does not hold.
    except Exception as exc:  # noqa: BLE001
        return (judged(_SIGNATURE, False, f"it cannot be read: {type(exc).__name__}"),)


def _judged(pdf: bytes, trust: Trust) -> Iterator[Check]:
    from pyhanko.pdf_utils.reader import PdfFileReader
    from pyhanko.sign.validation import validate_pdf_signature
    from pyhanko_certvalidator import ValidationContext

    # What it has to say is in what it returns.
    logging.getLogger("pyhanko").setLevel(logging.CRITICAL + 1)
    signatures = PdfFileReader(BytesIO(pdf), strict=True).embedded_signatures
    if len(signatures) != 1:
        yield judged(_SIGNATURE, False, f"expected one, found {len(signatures)}")
        return
    (one,) = signatures
    status = validate_pdf_signature(one, ValidationContext(trust_roots=[], allow_fetching=False))
    yield judged(_SIGNATURE, _is_whole(pdf, one, status), _described(status))
    yield _signer(one, status, trust)
    if status.timestamp_validity is not None:
        yield _timestamp(status.timestamp_validity)


def _is_whole(pdf: bytes, one: Any, status: "PdfSignatureStatus") -> bool:
    """Say whether the signature is good and not one byte of the file is outside of it."""
    from asn1crypto.cms import ContentInfo
    from pyhanko.sign.validation.status import SignatureCoverageLevel

    found = _CONTENTS.findall(pdf)
    if len(found) != 1 or status.coverage is not SignatureCoverageLevel.ENTIRE_FILE:
        return False
    # What stands in the gap between the signed bytes is the signature in one spelling, and zeros.
    signed = ContentInfo.load(bytes(one.pkcs7_content))
    _take_as_read(signed)
    spelt = signed.dump(force=True).hex().upper().encode()
    is_whole = status.intact and status.valid and found[0] == spelt.ljust(len(found[0]), b"0")
    return bool(is_whole and _is_plain(signed["content"]))


def _take_as_read(value: Any) -> None:
    """Have asn1crypto take nothing in `value` for changed since it was read.

    It takes for changed what holds a field that was left at its default, as many authorities' timestamps do. Each level
    of that it writes several times, and so all below it: a timestamp took half a minute.
    """
    from asn1crypto.core import Choice, Sequence, SequenceOf

    if isinstance(value, Choice):
        _take_as_read(value.chosen)
    elif isinstance(value, Sequence | SequenceOf):
        for place in range(len(value)):
            _take_as_read(value[place])
        value._mutated = False


def _is_plain(signed: Any) -> bool:
    """Say whether what no signature covers is as RFC 5652 and PAdES have it, and nothing else."""
    (signer,), (algorithm,) = signed["signer_infos"], signed["digest_algorithms"]
    versions = (signed["version"].native, signer["version"].native)
    digest = (algorithm.dump(), algorithm["algorithm"].native)
    content = signed["encap_content_info"]
    return bool(
        versions == ("v1", "v1")
        and digest == (signer["digest_algorithm"].dump(), "sha256")
        and (content["content_type"].native, content["content"].native) == ("data", None)
        and signed["crls"].native is None
    )


def _described(status: "PdfSignatureStatus") -> str:
    coverage = status.coverage.name.lower().replace("_", " ") if status.coverage is not None else "nothing"
    return f"over {coverage}, {'unchanged' if status.intact else 'CHANGED'}, {status.pkcs7_signature_mechanism}"


def _signer(one: Any, status: "PdfSignatureStatus", trust: Trust) -> Check:
    certificate = x509.load_der_x509_certificate(status.signing_cert.dump())
    above = tuple(x509.load_der_x509_certificate(other.dump()) for other in one.other_embedded_certs)
    certified, at = Certified(certificate, above), _signed_at(status)
    for check in (check_issuer(certified, trust), check_validity(certified, trust, at, "time of signing")):
        if not check.holds:
            return judged(_SIGNER, False, check.detail)
    try:
        # One that leads nowhere was not signed with the rest, and might say anything.
        for authority in above:
            verify_authority(authority, trust.with_between(above))
    except ChainBroken as exc:
        return judged(_SIGNER, False, f"beside it stands a certificate that leads nowhere: {exc}")
    names = tuple(
        next((str(value.value) for value in certificate.subject.get_attributes_for_oid(oid)), "")
        for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)
    )
    return judged(_SIGNER, names == _SUBJECT, f"{names[0]}, {names[1]}; signed at {clock.text(at)} by its own word")


def _signed_at(status: "PdfSignatureStatus") -> datetime:
    if status.signer_reported_dt is None:
        raise ValueError("no time of signing")
    return status.signer_reported_dt


def _timestamp(stamped: "TimestampSignatureStatus") -> Check:
    if not (stamped.intact and stamped.valid):
        return judged(_TIMESTAMP, False, "it is not of this signature, or not whole")
    return not_evaluated(_TIMESTAMP, f"whole, of {clock.text(stamped.timestamp)}; whose it is a PDF reader judges")
