"""Writes custody statements: what a person takes away beside an image, to prove it where there is no centre.

A statement reveals no image and no patient: signed records, certificates, and public parts of the log.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import objects, sql
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.objects import OBJECT
from control_plane.db.models import AuditSubject, Certificate, FrameDigests, Object
from control_plane.db.transactions import snapshot
from control_plane.enrolment.authority import Kind
from control_plane.vault.opening import ObjectUnknown
from shared.audit.batch import MAX_RECORDS, AuditAltered
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord
from shared.clock import Clock
from shared.custody.statement import (
    MAX_CERTIFICATES,
    MAX_LOG_PROOFS,
    MAX_PEM_CHARS,
    CustodyStatement,
    EvidenceCertificate,
    LogProof,
)
from shared.enrolment.chain import parse_chain
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE, ObjectId

# What a statement shows of the log, by what it is about; of each the newest few.
_ABOUT_OBJECT = (
    Event.IMAGE_CAPTURED,
    Event.IMAGE_CONFLICTS,
    Event.OBJECT_STORED,
    Event.FRAMES_DIGESTED,
    Event.FRAMES_REFUSED,
)
_ABOUT_HOST = (Event.HOST_ENROLLED,)
_OF_EACH = 4
_BACKDATED = timedelta(minutes=5)  # certificates begin a little before they are issued


class CustodyStatements:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def write(self, person: str, object_id: ObjectId) -> bytes:
        """Return the statement of an object, recorded before it is released.

        It is put together and not judged: whoever verifies it believes nothing that stands here, and an object that was
        altered has a statement that does not hold. Raises ObjectUnknown, AuditAltered, DatabaseUnavailable.
        """
        with snapshot(self._database) as session:
            statement = self._gathered(session, object_id)
        who = (Participant("person", person, True),)
        what = (Subject("object", str(object_id)), Subject("log", "custody statement"))
        self._journal.record(Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, who, what))
        return statement.encode()

    def _gathered(self, session: Session, object_id: ObjectId) -> CustodyStatement:
        row = session.get(Object, str(object_id))
        if row is None:
            raise ObjectUnknown(object_id)
        frames = session.get(FrameDigests, str(object_id))
        proofs = [
            *_proofs(session, Subject("object", str(object_id)), _ABOUT_OBJECT),
            *_proofs(session, Subject("host", row.host_id), _ABOUT_HOST),
        ]
        return CustodyStatement(
            object_id=object_id,
            written=self._clock.now(),
            record=row.record,
            binding=row.binding,
            receipt=row.receipt,
            frames=None if frames is None else frames.statement,
            certificates=evidence_certificates(
                session, (row.host_id, CONTROL_PLANE), _instants(row, frames, proofs), MAX_CERTIFICATES
            ),
            log=tuple(proofs)[:MAX_LOG_PROOFS],
        )


def _proofs(session: Session, subject: Subject, events: tuple[Event, ...]) -> Iterator[LogProof]:
    for event in events:
        numbers = _of_object if subject.kind == OBJECT else _of_thing
        for source, seq in numbers(session, subject, event)[:_OF_EACH]:
            yield _proof(session, source, seq)


def _of_thing(session: Session, subject: Subject, event: Event) -> list[tuple[str, int]]:
    named = select(AuditSubject.source, AuditSubject.seq).where(
        AuditSubject.kind == subject.kind, AuditSubject.name == subject.name, AuditSubject.event == event.value
    )
    rows = session.execute(named.order_by(AuditSubject.seq).limit(_OF_EACH))
    return [(source, seq) for source, seq in rows]


def _of_object(session: Session, subject: Subject, event: Event) -> list[tuple[str, int]]:
    """Whose record no longer reads is shown as it is: whoever verifies the statement says so."""
    led_to = objects.led_to(session, [subject.name], event)
    meant = [one for one in led_to if one.names is None or subject.name in one.names]
    return [(one.source, one.seq) for one in meant]


def _proof(session: Session, source: str, seq: int) -> LogProof:
    """Return record `seq` and what follows it in a batch that its source signed. Raises AuditAltered."""
    signed = sql.statement_about(session, source, seq)
    if signed is None or signed.last - seq >= MAX_RECORDS:
        raise AuditAltered(source, seq, "no signed statement covers it")
    rows = tuple(row.stored.public for row in sql.records(session, source, first=seq, last=signed.last))
    try:
        for public in rows:
            public.decode()
    except UnicodeDecodeError as exc:
        raise AuditAltered(source, seq, f"a record up to {signed.last} is no longer text") from exc
    if not rows:
        raise AuditAltered(source, seq, "it is missing")
    return LogProof(rows, signed.signed)


def _instants(row: Object, frames: FrameDigests | None, proofs: list[LogProof]) -> set[datetime]:
    """Return when something of this evidence was signed, as far as it can be read."""
    instants = {row.received} if frames is None else {row.received, frames.made}
    for proof in proofs:
        with suppress(Malformed):
            instants |= {AuditRecord.parse(public).time for public in (proof.records[0], proof.records[-1])}
    return instants


def evidence_certificates(
    session: Session, subjects: Collection[str], instants: set[datetime], most: int
) -> tuple[EvidenceCertificate, ...]:
    """Return up to `most` evidence certificates of `subjects`, those first that were valid when it mattered.

    A centre renews its own for 30 years; not every one of them belongs into every statement.
    """
    theirs = select(Certificate).where(Certificate.subject.in_(subjects))
    rows = session.scalars(theirs.where(Certificate.kind == Kind.EVIDENCE).order_by(Certificate.issued)).all()
    mattered = sorted(rows, key=lambda row: not any(row.issued - _BACKDATED <= at <= row.not_after for at in instants))
    above = session.scalars(
        select(Certificate.pem).where(Certificate.kind.in_((Kind.CA, Kind.LINK))).order_by(Certificate.issued.desc())
    ).all()
    return tuple(EvidenceCertificate(row.subject, _with_authorities(row.pem, above)) for row in mattered[:most])


def _with_authorities(pem: str, above: Sequence[str]) -> str:
    """Return a certificate and behind it its issuing CA's and the links of roots, as many as a statement takes."""
    with suppress(Malformed):
        issuer = parse_chain(pem.encode(), "evidence certificate")[0].issuer
        for text in above:
            (one,) = parse_chain(text.encode(), "certificate of an authority", most=1)
            if one.subject in (issuer, one.issuer) and len(pem) + len(text) <= MAX_PEM_CHARS:
                pem += text
    return pem
