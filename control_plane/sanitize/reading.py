"""Reads an order with all that is held of it, and proves it again: what a row says is not believed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from threading import Lock

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.db.models import Host, WipeNoteRow, WipeOrderRow, WipeReportRow, WipeSignatureRow
from control_plane.enrolment.codes import readable_parts
from control_plane.enrolment.standing import ENDED
from control_plane.policy.signatories import NobodySigns
from control_plane.sanitize.certificate_rows import is_recorded, statement_record
from control_plane.sanitize.state import UNDER_WAY, OrderState, Proved, Reported, Standing, standing_of
from shared.envelope import Signatories
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId
from shared.policy.wipe import WipePolicy
from shared.sanitization.destruction import Destruction
from shared.sanitization.envelope import SignedTicket, approvals_needed, same_name, verify_signers
from shared.sanitization.judged import Judged
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.report import Ending, WipeReport
from shared.sanitization.technique import SanitizationClass
from shared.sanitization.ticket import Ticket, TicketId
from shared.signing import EvidencePublicKey, Label, claimed_payload, verify_statement

_REMEMBERED = 1000
PolicyOf = Callable[[HostId, Sequence[str]], WipePolicy | None]


Judge = Callable[[Ticket, WipeReport], Judged]


class OrderUnknown(Refused):
    def __init__(self, order_id: TicketId) -> None:
        super().__init__(f"there is no wipe order {order_id}")
        self.order_id = order_id


class ReportOfAnother(Refused):
    """A report of another ticket, of an edited one, of another host or of another enrolment of this one."""

    def __init__(self, order_id: TicketId, what: str) -> None:
        super().__init__(f"the report is not of wipe order {order_id} as it was signed: {what} differs")
        self.order_id, self.what = order_id, what


@dataclass(frozen=True)
class Known:
    """An order as it was read. `ticket` is what its bytes say, whoever wrote them.

    `others` are the orders for the same drive, where they were looked for (`same_drive.py`).
    """

    row: WipeOrderRow
    asset: str
    parts: tuple[str, ...]
    ticket: Ticket
    signatures: tuple[WipeSignatureRow, ...]
    notes: tuple[WipeNoteRow, ...]
    reports: tuple[WipeReportRow, ...]
    is_certified: bool
    is_destruction_recorded: bool
    host_standing: str
    others: "tuple[Known, ...]" = ()

    @property
    def has_begun(self) -> bool:
        """Return whether its host, or people, have begun to do anything: nobody takes it back then."""
        taken = any(WipeNote.parse(one.note).event is not NoteEvent.REFUSED for one in self.notes)
        return taken or self.is_spent or self.row.destruction is not None

    @property
    def is_spent(self) -> bool:
        """Return whether a report says anything but that not one byte was written."""
        try:
            reports = [WipeReport.parse(claimed_payload(one.signed)) for one in self.reports]
        except Malformed:  # somebody wrote that row
            return True
        return any(one.ending is not Ending.REFUSED for one in reports)

    def envelope(self) -> SignedTicket | None:
        """Raises Malformed: a signature is not over the ticket's bytes."""
        if not self.signatures:
            return None
        signed = SignedTicket.of([one.statement for one in self.signatures])
        if signed.payload != self.row.ticket:
            raise Malformed("wipe order", "its signatures are over another ticket")
        return signed


@dataclass(frozen=True)
class Allowed:
    """What policy says of wipes on a host, and who may sign for them; None: it allows none, nobody may."""

    policy: WipePolicy | None
    signatories: Signatories | None


@dataclass(frozen=True)
class _Proof:
    """When a drive was wiped or destroyed, and to which class, as it is proved."""

    time: datetime
    reached: SanitizationClass


def find(session: Session, order_id: TicketId) -> Known:
    """Raises OrderUnknown, Malformed."""
    row = session.get(WipeOrderRow, str(order_id))
    if row is None:
        raise OrderUnknown(order_id)
    return known(session, row)


def known(session: Session, row: WipeOrderRow) -> Known:
    """Raises Malformed."""
    host, name = session.get_one(Host, row.host_id), row.order_id
    signatures = select(WipeSignatureRow).where(WipeSignatureRow.order_id == name)
    notes = select(WipeNoteRow).where(WipeNoteRow.order_id == name).order_by(WipeNoteRow.seq)
    reports = select(WipeReportRow).where(WipeReportRow.order_id == name).order_by(WipeReportRow.number)
    return Known(
        row,
        host.asset,
        readable_parts(host.parts) or (),
        Ticket.parse(row.ticket),
        tuple(session.scalars(signatures)),
        tuple(session.scalars(notes)),
        tuple(session.scalars(reports)),
        statement_record(session, name) is not None,
        row.destruction is not None and is_recorded(session, name, row.destruction),
        host.standing,
    )


class WipeReading:
    """Proves what was read, with the session given back: looking up a key takes one of its own.

    `policy_of` returns what policy asks of wipes on a host with these parts; `signatories` who may sign.
    """

    def __init__(
        self, evidence: EvidenceKeys, policy_of: PolicyOf, signatories: Callable[[], Signatories], judge: Judge
    ) -> None:
        self._evidence, self._policy_of, self._signatories, self._judge = evidence, policy_of, signatories, judge
        self._lock = Lock()
        self._judged: dict[bytes, Reported] = {}

    def standing(self, known: Known, allowed: Allowed, now: datetime) -> Standing:
        return standing_of(self._proved(known, allowed), now)

    def wiped_by(self, known: Known) -> str:
        """Return the order that proves, since this one was asked for, all that it asks of its drive; or nothing."""
        ticket = known.ticket
        least = SanitizationClass(ticket.method.least.value)
        for other in known.others:
            proof = self._proof(other) if other.ticket.drive == ticket.drive else None
            if proof is not None and proof.time > ticket.issued and proof.reached.reaches(least):
                return other.row.order_id
        return ""

    def under_way(self, known: Known, now: datetime) -> list[tuple[Known, OrderState]]:
        """Return the other orders for the same drive that a host may still do something about, with their states."""
        found = [
            (other, self.standing(other, self.allowed(other.ticket.host_id, other.parts), now).state)
            for other in known.others
        ]
        return [(other, state) for other, state in found if state in UNDER_WAY]

    def _proof(self, known: Known) -> "_Proof | None":
        try:
            if known.is_destruction_recorded and known.row.destruction is not None:
                return _Proof(Destruction.parse(known.row.destruction).time, SanitizationClass.DESTROY)
            reported = self._newest(known)
        except (Refused, IntegrityFailure):  # its own state says so
            return None
        judged = None if reported is None else reported.judged
        if reported is None or judged is None or not judged.may_be_certified:
            return None
        return _Proof(reported.ended, judged.reached)

    def verified_report(self, ticket: Ticket, signed: bytes) -> WipeReport:
        """Return a report that the host of the ticket signed under the enrolment that the ticket names, and of it.

        Raises Malformed, NotCertified, WrongSigner, SignatureInvalid, ReportOfAnother.
        """
        return verify_report(ticket, signed, self._evidence.for_statement(str(ticket.host_id), signed))

    def allowed(self, host: HostId, parts: Sequence[str]) -> Allowed:
        try:
            signatories = self._signatories()
        except NobodySigns:
            signatories = None
        return Allowed(self._policy_of(host, parts), signatories)

    def _proved(self, known: Known, allowed: Allowed) -> Proved:
        row, (given, needed) = known.row, approvals(known, allowed)
        plain = Proved(
            known.ticket.expires, given, needed,
            closed_as=row.closed_as, closed_by=row.closed_by or "", is_certified=known.is_certified,
            host_ended=known.host_standing if known.host_standing in ENDED else "", wiped_by=self.wiped_by(known),
        )  # fmt: skip
        try:
            if (str(known.ticket.ticket_id), str(known.ticket.host_id)) != (row.order_id, row.host_id):
                raise Malformed("wipe order", "its ticket is of another order")
            if row.closed_as not in (None, OrderState.CANCELLED, OrderState.REFUSED):
                raise Malformed("wipe order", "it was closed in a way that there is none of")
            _ = known.envelope()
            notes = tuple(_note(known, note) for note in known.notes)
            reported = self._newest(known)
            if row.destruction is not None and not known.is_destruction_recorded:
                raise Malformed("wipe order", "no record says that its drive was destroyed")
        except (Refused, IntegrityFailure) as exc:
            return replace(plain, fault=str(exc))
        return replace(plain, notes=notes, reported=reported, is_destroyed=known.is_destruction_recorded)

    def _newest(self, known: Known) -> Reported | None:
        if not known.reports:
            return None
        newest = known.reports[-1]
        key = self._evidence.for_statement(str(known.ticket.host_id), newest.signed)
        reported = self._reported(known.row.ticket, newest.signed, key)
        return reported if newest.judged is not None else replace(reported, judged=None)

    def _reported(self, ticket: bytes, signed: bytes, key: EvidencePublicKey) -> Reported:
        # The same bytes come to the same each time they are shown; a report is large, and what it comes to is not.
        named = b"".join(sha256(part).digest() for part in (ticket, signed, key.spki))
        with self._lock:
            if named not in self._judged:
                reported = _reported(Ticket.parse(ticket), signed, key, self._judge)
                while len(self._judged) >= _REMEMBERED:
                    del self._judged[next(iter(self._judged))]
                self._judged[named] = reported
            return self._judged[named]


def verify_report(ticket: Ticket, signed: bytes, key: EvidencePublicKey) -> WipeReport:
    """Raises Malformed, WrongSigner, SignatureInvalid, ReportOfAnother."""
    report = WipeReport.parse(verify_statement(signed, Label.WIPE_REPORT, key))
    for what, is_same in (
        ("the order", report.ticket_id == ticket.ticket_id),
        ("the ticket", report.ticket_sha256 == ticket.digest),
        ("the host", report.host_id == ticket.host_id),
        ("the enrolment", key.key_id == ticket.evidence_key),
    ):
        if not is_same:
            raise ReportOfAnother(ticket.ticket_id, what)
    return report


def _reported(ticket: Ticket, signed: bytes, key: EvidencePublicKey, judge: Judge) -> Reported:
    report = verify_report(ticket, signed, key)
    return Reported(report.ending, report.ended, report.detail, judge(ticket, report))


def approvals(known: Known, allowed: Allowed) -> tuple[int, int]:
    """Return how many people's signatures count by what policy says now, and how many are needed."""
    if allowed.signatories is None or allowed.policy is None:
        return 0, 1
    needed = approvals_needed(known.ticket, allowed.signatories, allowed.policy)
    return len(counting(known, allowed.signatories)), needed


def counting(known: Known, signatories: Signatories) -> frozenset[str]:
    """Return the names, in one spelling, of those whose signatures are good by what policy says now."""
    names = set[str]()
    for one in known.signatures:
        try:
            signed = SignedTicket.of([one.statement])
            if signed.payload == known.row.ticket:
                names |= {same_name(signer.name) for signer in verify_signers(signed, signatories)}
        except (Refused, IntegrityFailure):  # who may sign no more does not count
            continue
    return frozenset(names)


def _note(known: Known, row: WipeNoteRow) -> WipeNote:
    note = WipeNote.parse(row.note)
    if str(note.ticket_id) != known.row.order_id or note.seq != row.seq:
        raise Malformed("wipe note", "it is of another order")
    return note
