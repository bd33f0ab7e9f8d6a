"""The one way to a certificate: none while the log may have lost records, and each one a record in the same commit."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import event, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import sql
from control_plane.db.models import Certificate
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.authority import Issuer, Kind
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord
from shared.clock import Clock
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE, HostId

_ISSUED = f'"event":"{Event.CERTIFICATE_ISSUED.value}"'.encode()
_WHO = (Participant("service", CONTROL_PLANE, True),)


class Why(StrEnum):
    """What a certificate was issued for; stands in its record."""

    FIRST_START = "first start"
    INSTALLED = "the root signed it, and a person installed it"
    BEFORE_RECORDS = "issued before certificates were recorded"
    WITHIN_A_LOSS = "issued within what the log lost; its host showed it"
    OWN = "the centre's own"
    ENROLMENT = "enrolment"
    RENEWAL = "renewal"
    LAPSED = "a lapsed host asked, and a person approved"
    SIGN_IN = "a person showed password and second factor"
    STAND_IN = "stand-in, to end a session; its key is kept nowhere"


@dataclass(frozen=True)
class Issued:
    """What the log says of a certificate. `subject` is the common name of whom it is for."""

    serial: str
    purpose: str
    subject: str
    digest: bytes  # SHA-256 of its DER
    not_after: datetime
    why: str

    @classmethod
    def of(cls, certificate: x509.Certificate, purpose: str, subject: str, why: str) -> "Issued":
        digest = sha256(certificate.public_bytes(Encoding.DER)).digest()
        return cls(f"{certificate.serial_number:x}", purpose, subject, digest, certificate.not_valid_after_utc, why)

    def happening(self) -> Happening:
        what = (
            Subject("certificate", self.serial),
            Subject("purpose", self.purpose),
            Subject("host" if _is_host(self.subject) else "holder", self.subject),
            Subject("digest", self.digest.hex()),
            Subject("time", clocks.text(self.not_after)),
            Subject("fact", self.why),
        )
        return Happening(Event.CERTIFICATE_ISSUED, Action.CREATE, Outcome.SUCCESS, _WHO, what)

    @classmethod
    def read(cls, record: AuditRecord) -> "Issued":
        """Read what `happening` wrote. Raises Malformed."""
        names = [what.name for what in record.what]
        kinds = ["host" if what.kind == "holder" else what.kind for what in record.what]
        if kinds != ["certificate", "purpose", "host", "digest", "time", "fact"]:
            raise Malformed("record of a certificate", "it does not name what was issued")
        try:
            digest = bytes.fromhex(names[3])
        except ValueError as exc:
            raise Malformed("record of a certificate", "its digest is not hexadecimal") from exc
        return cls(names[0], names[1], names[2], digest, clocks.parse(names[4]), names[5])


class Journal(Protocol):
    def append(self, session: Session, happening: Happening, /) -> None: ...


class Issuance:
    """`may_issue` raises where no certificate may be issued now; `issued` is called once one is durable."""

    def __init__(
        self,
        authority: Issuer,
        journal: Journal,
        may_issue: Callable[[Session], None],
        issued: Callable[[], None],
    ) -> None:
        self._authority, self._journal, self._may_issue, self._issued = authority, journal, may_issue, issued

    def because(self, why: Why) -> Issuer:
        """Return who issues certificates that say `why`."""
        return _Because(self, why)

    @property
    def clock(self) -> Clock:
        return self._authority.clock

    def as_issued(self, certificate: x509.Certificate) -> str:
        return self._authority.as_issued(certificate)

    def issue(
        self,
        session: Session,
        kind: Kind,
        subject: str,
        public_key: ec.EllipticCurvePublicKey,
        names: tuple[str, ...],
        why: Why,
    ) -> str:
        # A stand-in's key is in nobody's hands, and revoking must work above all while something is wrong.
        if why is not Why.STAND_IN:
            self._may_issue(session)
        pem = self._authority.issue(session, kind, subject, public_key, names)
        certificate = x509.load_pem_x509_certificate(pem.encode())
        self._journal.append(session, Issued.of(certificate, kind.value, subject, why.value).happening())
        event.listen(session, "after_commit", lambda _session: self._issued(), once=True)
        return pem


@dataclass(frozen=True)
class _Because:
    issuance: Issuance
    why: Why

    @property
    def clock(self) -> Clock:
        return self.issuance.clock

    def issue(
        self,
        session: Session,
        kind: Kind,
        subject: str,
        public_key: ec.EllipticCurvePublicKey,
        names: tuple[str, ...] = (),
    ) -> str:
        return self.issuance.issue(session, kind, subject, public_key, names, self.why)

    def as_issued(self, certificate: x509.Certificate) -> str:
        return self.issuance.as_issued(certificate)


def record_what_was_issued(database: sessionmaker[Session], journal: Journal, why: Why) -> int:
    """Record every certificate that is held, where the log names none at all yet, and return how many those are.

    Once it names one, a row that it does not name is nobody's oversight and stays for verification to find.
    """

    def work(session: Session) -> int:
        # The records themselves: whoever takes their entries out of the index must not have everything taken over anew.
        if any(_ISSUED in held.stored.public for held in sql.records(session, CONTROL_PLANE)):
            return 0
        rows = session.scalars(select(Certificate).order_by(Certificate.issued, Certificate.serial)).all()
        for row in rows:
            certificate = x509.load_pem_x509_certificate(row.pem.encode())
            journal.append(session, Issued.of(certificate, row.kind, row.subject, why.value).happening())
        return len(rows)

    return in_one_commit(database, work)


def _is_host(name: str) -> bool:
    try:
        HostId.parse(name)
    except Malformed:
        return False
    return True
