"""Makes the certificate of a wipe: stated once, in one commit with its record, and given out with all that proves it.

Only what is proved now is certified: report and approvals are verified again, and judged again, whatever rows say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane import SOFTWARE
from control_plane.db.models import Certificate, WipeCertificateRow
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment.authority import Kind
from control_plane.people.two_persons import Journal
from control_plane.sanitize.certificate_rows import statement_record, statement_subject
from control_plane.sanitize.orders import recorded_as
from control_plane.sanitize.reading import Known, WipeReading, approvals, find
from shared import canonical, clock
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.enrolment.chain import is_valid_at
from shared.envelope import Signatories
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fields import Fields
from shared.identity import CONTROL_PLANE, KeyId
from shared.sanitization.certificate import (
    Approval,
    Body,
    Chain,
    Facts,
    Reported,
    Statement,
    WipeCertificate,
    sign,
)
from shared.sanitization.destruction import Destruction
from shared.sanitization.judge import DESTROYED, RULES, judge
from shared.sanitization.judged import Judged
from shared.sanitization.ticket import TicketId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, detached, signing_key_id, verify_statement


class NotToBeCertified(Refused):
    def __init__(self, order_id: TicketId, why: str) -> None:
        super().__init__(f"wipe order {order_id} gets no certificate: {why}")
        self.order_id, self.why = order_id, why


class NotCertifiedYet(Refused):
    def __init__(self, order_id: TicketId) -> None:
        super().__init__(
            f"wipe order {order_id} has no certificate; `leadglass-server wipe certify {order_id}` makes it"
        )
        self.order_id = order_id


class StatementAltered(IntegrityFailure):
    def __init__(self, order_id: TicketId) -> None:
        super().__init__(f"the statement held of wipe order {order_id} is not the one that the log names")
        self.order_id = order_id


@dataclass(frozen=True)
class Released:
    file: bytes
    pdf: bytes


@dataclass(frozen=True)
class CentresWord:
    """With what the centre signs: `chain` returns a certificate as others get it to see, in PEM."""

    signer: EvidenceSigner
    chain: Callable[[x509.Certificate], str]
    sign_pdf: Callable[[bytes, str], bytes]
    proof: Callable[[str, int], str]


class Certifying:
    def __init__(
        self, database: sessionmaker[Session], journal: Journal, reading: WipeReading, word: CentresWord, clock: Clock
    ) -> None:
        self._database, self._journal, self._reading = database, journal, reading
        self._word, self._clock = word, clock

    def certify(self, person: str, order_id: TicketId, facts: Facts) -> None:
        """Make the certificate of an order, once; where there is one, it stays as it is.

        Raises OrderUnknown, NotToBeCertified, Malformed, NotCertified, WrongSigner, SignatureInvalid, StatementAltered.
        """
        with snapshot(self._database) as session:
            held = find(session, order_id)
            if session.get(WipeCertificateRow, str(order_id)) is not None:
                self._verify_recorded(session, order_id)
                return
        statement = self._statement(held, person, facts)
        Statement.parse(Fields(canonical.parse(statement.payload, "wipe certificate"), "wipe certificate"))
        self._chains(statement)
        happening = Happening(
            Event.WIPE_CERTIFIED, Action.CREATE, Outcome.SUCCESS, (Participant("person", person, True),),
            (*recorded_as(held.ticket), Subject("fact", f"result: {statement.judged.result}"),
             statement_subject(statement.payload)),
        )  # fmt: skip

        def work(session: Session) -> None:
            if session.get(WipeCertificateRow, str(order_id)) is not None:
                return  # somebody else was first
            row = WipeCertificateRow(order_id=str(order_id), made=statement.made, statement=statement.payload)
            session.add(row)
            self._journal.append(session, happening)

        in_one_commit(self._database, work)

    def fetch(self, order_id: TicketId) -> Released:
        """Return the certificate as file and as PDF: the same bytes each time.

        Raises OrderUnknown, NotCertifiedYet, StatementAltered, NotInLog, LogAltered, TimeAuthorityUnavailable.
        """
        with snapshot(self._database) as session:
            held = find(session, order_id)
            row = session.get(WipeCertificateRow, str(order_id))
            if row is None:
                raise NotCertifiedYet(order_id)
            statement, recorded = row.statement, self._verify_recorded(session, order_id)
            if row.file is not None and row.pdf is not None:
                if WipeCertificate.parse(row.file).body.statement.payload != statement:
                    raise StatementAltered(order_id)
                return Released(row.file, row.pdf)
        made = self._released(held, statement, *recorded)
        return in_one_commit(self._database, lambda session: _kept(session, order_id, made))

    def _verify_recorded(self, session: Session, order_id: TicketId) -> tuple[bytes, int]:
        record = statement_record(session, str(order_id))
        if record is None:
            raise StatementAltered(order_id)
        return record.public, record.seq

    def _released(self, held: Known, stated: bytes, record: bytes, seq: int) -> Released:
        from control_plane.sanitize.page import draw

        statement = Statement.parse(Fields(canonical.parse(stated, "wipe certificate"), "wipe certificate"))
        body = Body(statement, self._chains(statement), record, self._word.proof(CONTROL_PLANE, seq))
        certificate = sign(body, self._word.signer)
        pdf = self._word.sign_pdf(draw(certificate), f"wipe order {held.ticket.ticket_id}")
        return Released(certificate.encoded, pdf)

    # ---- what is stated

    def _statement(self, held: Known, person: str, facts: Facts) -> Statement:
        if held.row.destruction is not None and not held.is_destruction_recorded:
            raise NotToBeCertified(held.ticket.ticket_id, "no record says that its drive was destroyed")
        destruction = None if held.row.destruction is None else Destruction.parse(held.row.destruction)
        reported, judged = (None, DESTROYED) if destruction is not None else self._judged(held)
        return Statement(
            ticket=held.ticket,
            approvals=self._approvals(held),
            reported=reported,
            destruction=destruction,
            judged=judged,
            rules=RULES,
            facts=facts,
            certified_by=person,
            made=self._clock.now(),
            software=SOFTWARE,
        )

    def _judged(self, held: Known) -> tuple[Reported, Judged]:
        order_id = held.ticket.ticket_id
        if not held.reports:
            raise NotToBeCertified(order_id, "its host has proved nothing")
        signed = held.reports[-1].signed
        report = self._reading.verified_report(held.ticket, signed)
        judged = judge(held.ticket, report)
        if not judged.may_be_certified:
            raise NotToBeCertified(order_id, f"{judged.result} ({', '.join(judged.why)})")
        return Reported(report, detached(signed)), judged

    def _approvals(self, held: Known) -> tuple[Approval, ...]:
        """Return who approved it, each signature verified by the keys that policy names now."""
        order_id, envelope = held.ticket.ticket_id, held.envelope()
        allowed = self._reading.allowed(held.ticket.host_id, held.parts)
        given, needed = approvals(held, allowed)
        if envelope is None or given < needed:
            raise NotToBeCertified(order_id, f"{given} of {needed} people have signed it, by what policy says now")
        keys = _named(allowed.signatories)
        # Whose key is no longer one of policy's does not count, and is not named.
        known = [(keys[signing_key_id(one)], one) for one in envelope.statements if signing_key_id(one) in keys]
        for (_, key), one in known:
            verify_statement(one, Label.WIPE_TICKET, key)
        return tuple(Approval(name, key, detached(one)) for (name, key), one in known)

    # ---- what proves it

    def _chains(self, statement: Statement) -> tuple[Chain, ...]:
        """Return the certificates of all who signed, each valid when it did. Raises NotToBeCertified."""
        order_id, own = statement.ticket.ticket_id, self._word.signer.public.key_id
        signers = [(CONTROL_PLANE, own, statement.made)]
        if statement.reported is not None:
            ticket, ended = statement.ticket, statement.reported.report.ended
            signers.insert(0, (str(ticket.host_id), ticket.evidence_key, ended))
        return tuple(Chain(source, self._chain(order_id, source, key_id, at)) for source, key_id, at in signers)

    def _chain(self, order_id: TicketId, source: str, key_id: KeyId, at: datetime) -> str:
        theirs = select(Certificate.pem).where(
            Certificate.subject == source, Certificate.kind == Kind.EVIDENCE.value
        )  # fmt: skip
        with snapshot(self._database) as session:
            pems = session.scalars(theirs.order_by(Certificate.issued.desc())).all()
        for one in map(_loaded, pems):
            if _key_id(one) == key_id and is_valid_at(one, at):
                return self._word.chain(one)
        why = f"{source} had no valid certificate for its evidence key at {clock.text(at)}, so nobody could verify it"
        raise NotToBeCertified(order_id, why)


def _kept(session: Session, order_id: TicketId, made: Released) -> Released:
    row = session.get_one(WipeCertificateRow, str(order_id))
    if row.file is None or row.pdf is None:
        row.file, row.pdf = made.file, made.pdf
    return Released(row.file, row.pdf)


def _named(signatories: Signatories | None) -> dict[KeyId, tuple[str, EvidencePublicKey]]:
    if signatories is None:
        return {}
    return {key.key_id: (signatories.names.get(key.key_id, "unnamed"), key) for key in signatories.keys}


def _loaded(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError as exc:
        raise Malformed("evidence certificate", "not a certificate in PEM") from exc


def _key_id(certificate: x509.Certificate) -> KeyId | None:
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        return EvidencePublicKey.parse(spki).key_id
    except Malformed:
        return None
