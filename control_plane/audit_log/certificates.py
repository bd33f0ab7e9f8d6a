"""Holds the table of certificates against the log: every row has its record, and every record its row.

Only what a record says counts; the index that leads to it is a way to find it. Memory stays constant.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from control_plane.audit_log import sql
from control_plane.db import driver
from control_plane.db.models import AuditRow, AuditSubject, Certificate
from control_plane.enrolment.issuance import Issued
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE

_AT_ONCE = 200
_ISSUED = f'"event":"{Event.CERTIFICATE_ISSUED.value}"'.encode()
_SHOWN = 20


@dataclass(frozen=True)
class CertificatesCompared:
    """`differences` names at most 20 of them; `count` is how many there are."""

    certificates: int
    count: int
    differences: tuple[str, ...]


def compare(session: Session) -> CertificatesCompared:
    """Compare within one snapshot. That the records themselves hold is for `verify_chain` to prove."""
    certificates, count, shown = 0, 0, list[str]()
    for found in _rows(session):
        certificates += 1
        if found is not None:
            count, shown = count + 1, [*shown, found][:_SHOWN]
    for found in _records(session):
        count, shown = count + 1, [*shown, found][:_SHOWN]
    return CertificatesCompared(certificates, count, tuple(shown))


def _rows(session: Session) -> Iterator[str | None]:
    """Yield for each certificate what is wrong with it, None where nothing is."""
    indexed = and_(
        AuditSubject.kind == "certificate",
        AuditSubject.name == Certificate.serial,
        AuditSubject.event == Event.CERTIFICATE_ISSUED.value,
        AuditSubject.source == CONTROL_PLANE,
    )
    held = and_(AuditRow.source == CONTROL_PLANE, AuditRow.seq == AuditSubject.seq)
    joined = (
        select(Certificate.serial, Certificate.kind, Certificate.subject, Certificate.pem, AuditRow.public)
        .outerjoin(AuditSubject, indexed)
        .outerjoin(AuditRow, held)
        .order_by(Certificate.serial)
        .execution_options(yield_per=_AT_ONCE)
    )
    for (serial, kind, subject, pem), group in groupby(session.execute(joined), lambda row: tuple(row[:4])):
        issued = [_issued(row.public) for row in group if row.public is not None]
        says = (serial, kind, subject, _digest(pem))
        if not any(one is not None and (one.serial, one.purpose, one.subject, one.digest) == says for one in issued):
            named = "the log names another one by that number" if any(issued) else "no record of the log names it"
            yield f"certificate {serial} of {subject} ({kind}): {named}"
        else:
            yield None


def _records(session: Session) -> Iterator[str]:
    """Yield what is wrong with each record of a certificate whose row is gone."""
    for record in sql.records(session, CONTROL_PLANE):
        if _ISSUED not in record.stored.public:
            continue
        issued = _issued(record.stored.public)
        if issued is None:
            yield f"record {record.seq} of the log names no certificate that can be read"
        elif session.scalar(select(Certificate.serial).where(Certificate.serial == issued.serial)) is None:
            yield (
                f"certificate {issued.serial} of {issued.subject} ({issued.purpose}): record {record.seq} of the log "
                "names it, and it is not held"
            )


def _issued(public: bytes) -> Issued | None:
    try:
        record = AuditRecord.parse(public)
        return Issued.read(record) if record.event is Event.CERTIFICATE_ISSUED else None
    except Malformed:
        return None


def _digest(pem: str) -> bytes:
    try:
        return sha256(x509.load_pem_x509_certificate(driver.blob(pem)).public_bytes(Encoding.DER)).digest()
    except (ValueError, x509.InvalidVersion):
        return b""
