"""Takes in what a host tells of a wipe: notes while it goes on, and its signed report, which alone is evidence.

A report is kept before it is judged, so that nothing which goes wrong in judging loses evidence. One that does not hold
is refused and recorded; one that comes late is taken all the same, whatever became of the order or the host.
"""

import logging
from dataclasses import replace
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import WipeNoteRow, WipeReportRow
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.people.two_persons import Journal
from control_plane.sanitize.orders import recorded_as
from control_plane.sanitize.reading import Judge, Known, WipeReading, find
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import readable
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import CONTROL_PLANE, HostId
from shared.sanitization.note import WipeNote
from shared.sanitization.report import Ending, WipeReport
from shared.sanitization.ticket import Ticket, TicketId
from shared.signing import claimed_payload

_LOG = logging.getLogger(__name__)
_MOST_REPORTS = 20
_CENTRE = (Participant("service", CONTROL_PLANE, True),)


class NotItsOrder(Refused):
    def __init__(self, order_id: TicketId, sender: HostId) -> None:
        super().__init__(f"wipe order {order_id} is not one of {sender}")
        self.order_id, self.sender = order_id, sender


class NoteHeld(Refused):
    def __init__(self, order_id: TicketId, seq: int) -> None:
        super().__init__(f"another note {seq} of wipe order {order_id} is held; the first one stays")
        self.order_id, self.seq = order_id, seq


class ReportHeld(Refused):
    def __init__(self, order_id: TicketId) -> None:
        super().__init__(f"another report of wipe order {order_id} is held, and only one of a refusal may be followed")
        self.order_id = order_id


class ReportOfAnotherDrive(Refused):
    def __init__(self, order_id: TicketId, what: str) -> None:
        super().__init__(f"the report is of another drive than wipe order {order_id}: {what} differs")
        self.order_id, self.what = order_id, what


class NeverApproved(Refused):
    def __init__(self, order_id: TicketId) -> None:
        super().__init__(f"nobody signed wipe order {order_id}, so no host can have done it")
        self.order_id = order_id


class WipeIntake:
    def __init__(
        self, database: sessionmaker[Session], journal: Journal, reading: WipeReading, judge: Judge, clock: Clock
    ) -> None:
        self._database, self._journal, self._reading = database, journal, reading
        self._judge, self._clock = judge, clock

    def take_note(self, sender: HostId, order_id: TicketId, data: bytes) -> None:
        """Keep what a host says it does; the same one again changes nothing.

        Raises OrderUnknown, NotItsOrder, Malformed, NoteHeld.
        """
        note = WipeNote.parse(data)
        if note.ticket_id != order_id:
            raise Malformed("wipe note", f"it is of {note.ticket_id}")

        def work(session: Session) -> None:
            held = _of(session, order_id, sender)
            for row in held.notes:
                if row.seq == note.seq:
                    if row.note != data:
                        raise NoteHeld(order_id, note.seq)
                    return
            session.add(WipeNoteRow(order_id=str(order_id), seq=note.seq, note=data, received=self._clock.now()))

        in_one_commit(self._database, work)

    def take_report(self, sender: HostId, order_id: TicketId, signed: bytes) -> None:
        """Keep a host's signed report, and judge it; the same one again changes nothing.

        Raises OrderUnknown, NotItsOrder, Malformed, NotCertified, WrongSigner, SignatureInvalid, ReportOfAnother,
        ReportOfAnotherDrive, NeverApproved, ReportHeld.
        """
        with snapshot(self._database) as session:
            held = _of(session, order_id, sender)
        self._take(held, signed, Participant("host", str(sender), True), None)

    def bring_report(self, person: str, signed: bytes) -> TicketId:
        """Take a report that a person carried here; it proves itself. Raises what `take_report` does."""
        claimed = WipeReport.parse(claimed_payload(signed))
        with snapshot(self._database) as session:
            held = find(session, claimed.ticket_id)
        self._take(held, signed, Participant("person", person, True), person)
        return claimed.ticket_id

    def judge_what_was_not(self) -> None:
        """Judge what was received and not judged, because the centre ended in between."""
        unjudged = select(WipeReportRow.order_id).where(WipeReportRow.judged.is_(None)).distinct()
        with snapshot(self._database) as session:
            orders = [TicketId.parse(order) for order in session.scalars(unjudged)]
        for order_id in orders:
            try:
                self._judge_all(order_id)
            except Refused as exc:
                _LOG.error("wipe.not-judged", extra={"order": str(order_id), "why": str(exc)})

    def _take(self, held: Known, signed: bytes, who: Participant, brought_by: str | None) -> None:
        order_id = held.ticket.ticket_id
        what = (*recorded_as(held.ticket), _report_subject(signed))
        happening = Happening(Event.WIPE_EVIDENCE_RECEIVED, Action.CREATE, Outcome.SUCCESS, (who,), what)
        try:
            report = self._verified(held, signed)
            told = Subject("fact", f"ending: {report.ending}")
            in_one_commit(
                self._database,
                lambda session: self._keep(
                    session, order_id, signed, brought_by, replace(happening, what=(*what, told))
                ),
            )
        except (Refused, IntegrityFailure) as exc:
            self._journal.record(
                replace(
                    happening, event=Event.WIPE_EVIDENCE_REFUSED, outcome=Outcome.SERIOUS_FAILURE,
                    reason=readable(f"{type(exc).__name__}: {exc}", 500),
                )
            )  # fmt: skip
            raise
        self._judge_all(order_id)

    def _verified(self, held: Known, signed: bytes) -> WipeReport:
        report = self._reading.verified_report(held.ticket, signed)
        if report.ending is not Ending.REFUSED:
            _verify_drive(held.ticket, report)
            if not held.signatures:
                raise NeverApproved(held.ticket.ticket_id)
        return report

    def _keep(
        self, session: Session, order_id: TicketId, signed: bytes, brought_by: str | None, happening: Happening
    ) -> None:
        held = find(session, order_id)
        if any(row.signed == signed for row in held.reports):
            return
        if held.reports:
            newest = WipeReport.parse(claimed_payload(held.reports[-1].signed))
            if newest.ending is not Ending.REFUSED or len(held.reports) >= _MOST_REPORTS:
                raise ReportHeld(order_id)
        session.add(
            WipeReportRow(
                order_id=str(order_id), number=len(held.reports) + 1, signed=signed, received=self._clock.now(),
                brought_by=brought_by, judged=None,
            )
        )  # fmt: skip
        self._journal.append(session, happening)

    def _judge_all(self, order_id: TicketId) -> None:
        with snapshot(self._database) as session:
            held = find(session, order_id)
        for row in held.reports:
            if row.judged is not None:
                continue
            try:
                self._judge_one(held, row.number, row.signed)
            except (Refused, IntegrityFailure) as exc:  # somebody wrote that row; its order shows as not authentic
                _LOG.error("wipe.not-judged", extra={"order": str(order_id), "why": str(exc)})

    def _judge_one(self, held: Known, number: int, signed: bytes) -> None:
        ticket = held.ticket
        judgement = self._judge(ticket, self._reading.verified_report(ticket, signed))
        outcome = Outcome.SUCCESS if judgement.may_be_certified else Outcome.SERIOUS_FAILURE
        told = (_report_subject(signed), Subject("fact", f"result: {judgement.result}"))
        happening = Happening(
            Event.WIPE_JUDGED, Action.EXECUTE, outcome, _CENTRE, (*recorded_as(ticket), *told),
            "" if judgement.may_be_certified else ", ".join(judgement.why),
        )  # fmt: skip

        def work(session: Session) -> None:
            row = session.get_one(WipeReportRow, (str(ticket.ticket_id), number))
            if row.judged is None:
                row.judged = str(judgement.result)
                self._journal.append(session, happening)

        in_one_commit(self._database, work)


def _of(session: Session, order_id: TicketId, sender: HostId) -> Known:
    """Raises OrderUnknown, NotItsOrder."""
    held = find(session, order_id)
    if held.row.host_id != str(sender):
        raise NotItsOrder(order_id, sender)
    return held


def _report_subject(signed: bytes) -> Subject:
    return Subject("fact", f"report: {sha256(signed).hexdigest()}")


def _verify_drive(ticket: Ticket, report: WipeReport) -> None:
    wanted, found = ticket.drive, report.medium
    for what, is_same in (
        ("the serial number", found.serial == wanted.serial),
        ("the WWN", found.wwn == wanted.wwn),
        ("the size", found.size_bytes == wanted.size_bytes),
    ):
        if not is_same:
            raise ReportOfAnotherDrive(ticket.ticket_id, what)
