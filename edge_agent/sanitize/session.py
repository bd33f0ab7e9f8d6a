"""One ticket from its bytes to its signed report: judged, held against the drives here, planned, done, told.

Whatever ends it leaves a note, and a report once there is a drive to speak of. Nothing is written to a drive before the
ticket is used up for good, and the ticket is not used up before everything that may refuse was asked twice.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import SOFTWARE
from edge_agent.sanitize.accept import accept, accept_begun
from edge_agent.sanitize.attempt import Attempt, Attempts, Found, NotKept, Standing, alone_on, standing
from edge_agent.sanitize.doing import Doing, Progress
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.ending import ending
from edge_agent.sanitize.fitting import Candidate, candidates, is_same
from edge_agent.sanitize.hands import Hands, Known, found_again
from edge_agent.sanitize.luks import NOTHING_ATTESTED, Attested
from edge_agent.sanitize.outbox import Outbox
from edge_agent.sanitize.plan import Plan, choose
from edge_agent.sanitize.refuse import Circumstances, Refusal, lost, refusals
from edge_agent.sanitize.tickets import is_held
from shared.clock import Clock
from shared.devices.printable import printable
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import RandomBytes
from shared.sanitization.envelope import ApprovedTicket, SignedTicket
from shared.sanitization.judge import judge
from shared.sanitization.judged import Judged
from shared.sanitization.note import NoteEvent
from shared.sanitization.report import Ending, HiddenArea, HiddenState, WipeReport
from shared.sanitization.technique import SanitizationClass
from shared.sanitization.ticket import Ticket, TicketId
from shared.signing import Label, claimed_payload, sign_statement

if TYPE_CHECKING:
    from edge_agent.sanitize.here import ThisHost  # which reads policy by TUF's means, and takes its time to load

_MAX_DETAIL_CHARS = 300
_ROOM_BYTES = 4 << 20
_OURS = (Refused, IntegrityFailure, Unavailable)


class NotThisDrive(Refused):
    def __init__(self) -> None:
        super().__init__("the drive is not the one that was looked at; nothing was written")


class NothingReaches(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"nothing that the ticket allows can be done to this drive and reach what it asks: {why}")
        self.why = why


class SpokenAgainst(Refused):
    def __init__(self, found: Sequence[Refusal]) -> None:
        super().__init__("; ".join(map(str, found)))
        self.found = tuple(found)


class NotGrown(Refused):
    def __init__(self, drive: Drive) -> None:
        super().__init__(
            f"what {drive.node} hid was opened, and this machine does not see it yet, so it would be left out; nothing "
            "was written: cut the drive's power, give it back, and have a new order made for its new size"
        )
        self.drive = drive


class NothingToDo(Refused):
    def __init__(self, ticket_id: TicketId) -> None:
        super().__init__(f"of ticket {ticket_id} nothing was begun here that could be brought to an end")
        self.ticket_id = ticket_id


class NothingKnown(IntegrityFailure):
    def __init__(self, ticket_id: TicketId, why: str) -> None:
        super().__init__(f"what was noted of ticket {ticket_id} cannot be read, so how it ended is unknown: {why}")
        self.ticket_id = ticket_id


@dataclass(frozen=True)
class Accepted:
    """A ticket that may be acted on, and the bytes that say so."""

    approved: ApprovedTicket
    envelope: bytes

    @property
    def ticket(self) -> Ticket:
        return self.approved.ticket


@dataclass(frozen=True)
class Looked:
    """What was found for a ticket. `drive` is the one that it is for; without one there is no plan."""

    accepted: Accepted
    candidates: tuple[Candidate, ...]
    drive: Drive | None
    refusals: tuple[Refusal, ...] = ()
    circumstances: Circumstances | None = None
    hidden: tuple[HiddenArea, ...] = ()
    plan: Plan | None = None


@dataclass(frozen=True)
class Confirmed:
    """What the person at the terminal said."""

    person: str
    attested: Attested = NOTHING_ATTESTED


@dataclass(frozen=True)
class Done:
    """`is_open`: a person stopped it, and it can be gone on with. `report_file` is None where it is not kept."""

    ticket: Ticket
    report: WipeReport
    judged: Judged
    report_file: Path | None
    is_open: bool = False


@dataclass(frozen=True)
class Unfinished:
    """An attempt that was begun here and has no end; `drive` is its drive, where it is here."""

    found: Found
    standing: Standing
    drive: Drive | None


class Session:
    """`host` says who this is and what policy is in force: asked anew before anything is begun or gone on with."""

    def __init__(
        self,
        state: Path,
        tickets: Path,
        host: "Callable[[], ThisHost]",
        hands: Hands,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        """Raises what `host` does."""
        self._state, self._tickets, self._look_at_host, self._hands = state, tickets, host, hands
        self._host = host()
        self._clock, self._random_bytes = clock, random_bytes
        self._attempts, self._outbox = Attempts(state), Outbox(state, clock)

    # ---- before the first write

    def accept(self, envelope: bytes) -> Accepted:
        """Raises what `accept.accept` does, and Malformed. A ticket that is not for us to judge leaves no note."""
        return Accepted(accept(SignedTicket.parse(envelope), self._host.enrolled, self._clock.now()), envelope)

    def look(self, accepted: Accepted) -> Looked:
        """Look for the drive of a ticket, at what speaks against it, and at what can be done to it."""
        ticket = accepted.ticket
        present = self._hands.drives()
        found = candidates(ticket.drive, present)
        fitting = [one.drive for one in found if one.is_it]
        if len(fitting) != 1:
            return Looked(accepted, found, None)
        (drive,) = fitting
        circumstances = self._circumstances(ticket, drive, present)
        looked = Looked(accepted, found, drive, refusals(ticket, circumstances), circumstances)
        if looked.refusals:
            return looked
        hidden = self._hands.hidden(drive)
        plan = choose(ticket.method, drive.medium, self._hands.considered(drive), hidden)
        return replace(looked, hidden=hidden, plan=plan)

    def refuse(self, looked: Looked, why: str) -> Done | None:
        """Leave a note, and a report where there is a drive to speak of: nothing was written. Raises NotKept."""
        ticket, detail = looked.accepted.ticket, printable(why, _MAX_DETAIL_CHARS)
        self._outbox.note(ticket.ticket_id, NoteEvent.REFUSED, detail)
        if looked.drive is None or self._attempts.is_used(ticket.ticket_id):
            return None
        report = replace(self._draft(looked, looked.drive, ""), ending=Ending.REFUSED, detail=detail)
        return Done(ticket, report, judge(ticket, report), self._outbox.report(ticket.ticket_id, self._signed(report)))

    # ---- the wipe

    def wipe(self, looked: Looked, confirmed: Confirmed, progress: Progress) -> Done:
        """Do what was planned, once everything was asked again.

        Raises AlreadyAtWork; NotKept: what is under way then is found by the next start; whatever refuses before the
        first write, of which a note and a report are left.
        """
        ticket, drive = looked.accepted.ticket, looked.drive
        if drive is None or looked.plan is None:
            raise NotThisDrive
        if looked.plan.is_refused:
            raise NothingReaches(looked.plan.why)
        with self._alone(ticket, drive):
            try:
                again = self._asked_again(looked, drive)
                self._outbox.verify_room(_ROOM_BYTES)
                self._outbox.note(ticket.ticket_id, NoteEvent.ACCEPTED, f"{confirmed.person}: {looked.plan.why}")
                draft = self._draft(again, drive, confirmed.person)
                attempt = self._attempts.begin(ticket.ticket_id, looked.accepted.envelope, draft)
            except _OURS as exc:
                with suppress(NotKept):
                    self.refuse(looked, str(exc))
                raise
            self._outbox.note(ticket.ticket_id, NoteEvent.STARTED, looked.plan.why)
            return self._do(self._doing(ticket, attempt, drive, draft, confirmed.attested), progress)

    def is_begun(self, ticket_id: TicketId) -> bool:
        return self._attempts.is_used(ticket_id)

    def unfinished(self) -> tuple[Unfinished, ...]:
        """Return what was begun here and has no end; what ended and was not told is told now. Raises NotKept."""
        left = list[Unfinished]()
        all_found = [found for found in self._attempts.all() if not self._attempts.is_at_work(found.ticket_id)]
        present = self._hands.drives() if any(not found.is_ended for found in all_found) else ()
        for found in all_found:
            if found.is_ended and found.draft is not None:
                self._tell(found.ticket_id, found.draft)
                continue
            same = [
                one for one in present if found.draft and is_same(found.draft.medium, one.medium, found.draft.hidden)
            ]
            drive = same[0] if len(same) == 1 else None
            left.append(Unfinished(found, standing(found, is_drive_there=drive is not None), drive))
        return tuple(left)

    def resume(self, unfinished: Unfinished, progress: Progress, attested: Attested = NOTHING_ATTESTED) -> Done:
        """Bring to an end what was cut short.

        Raises AlreadyAtWork, NotKept, NothingToDo; what refuses a ticket that is not for this host any more.
        """
        found, drive = unfinished.found, unfinished.drive
        if found.draft is None or drive is None:
            raise NothingToDo(found.ticket_id)
        self._host = self._look_at_host()
        ticket = accept_begun(SignedTicket.parse(found.envelope), self._host.enrolled).ticket
        with self._alone(ticket, drive):
            left = self._left(ticket.ticket_id)
            speaking = self._against_going_on(ticket, drive)
            if speaking:
                raise SpokenAgainst(speaking)
            attempt = self._attempts.go_on(ticket.ticket_id)
            draft = replace(left, interruptions=left.interruptions + 1)
            attempt.keep(draft)
            self._outbox.note(ticket.ticket_id, NoteEvent.RESUMED, f"interruption {draft.interruptions}")
            return self._do(self._doing(ticket, attempt, drive, draft, attested), progress)

    def give_up(self, unfinished: Unfinished) -> Done:
        """End for good what was begun, as far as it came. Raises AlreadyAtWork, NotKept.

        Raises NothingKnown: nobody can make a report of it; a note says so.
        """
        found = unfinished.found
        if found.draft is None:
            if not self._outbox.has_ended(found.ticket_id):
                self._outbox.note(found.ticket_id, NoteEvent.ENDED, f"unknown: {found.why}")
            raise NothingKnown(found.ticket_id, found.why)
        ticket = SignedTicket.parse(found.envelope).claimed
        with self._alone(ticket, unfinished.drive):
            draft, attempt = self._left(ticket.ticket_id), self._attempts.go_on(ticket.ticket_id)
            how, detail = ending(draft)
            if how is not Ending.UNKNOWN:
                how, detail = Ending.ABORTED, f"given up by a person; {detail}" if detail else "given up by a person"
            return self._end(ticket, attempt, draft, unfinished.drive, how, detail)

    def signed_report(self, ticket_id: TicketId) -> bytes | None:
        return self._outbox.signed_report(ticket_id)

    def ended(self) -> Iterator[tuple[Ticket, WipeReport, Judged]]:
        """Yield what came to an end here."""
        for found in self._attempts.all():
            if found.is_ended and found.draft is not None:
                ticket = SignedTicket.parse(found.envelope).claimed
                yield ticket, found.draft, judge(ticket, found.draft)

    # ---- its parts

    def _left(self, ticket_id: TicketId) -> WipeReport:
        """Return what is known of an attempt, for whoever has its lock: another run may have ended it since it was
        looked at. Raises NothingToDo.
        """
        found = self._attempts.find(ticket_id)
        if found is None or found.draft is None or found.is_ended:
            raise NothingToDo(ticket_id)
        return found.draft

    def _do(self, doing: Doing, progress: Progress) -> Done:
        ticket, attempt = doing.ticket, doing.attempt
        try:
            draft = doing.draft
            plan = choose(ticket.method, draft.medium, draft.considered, draft.hidden)
            if plan.removes_hidden and not draft.steps:
                self._remove_hidden(doing)
            draft = doing.run(progress)
        except NotKept:
            raise
        except _OURS as exc:
            detail = printable(str(exc), _MAX_DETAIL_CHARS)
            return self._end(ticket, attempt, doing.draft, doing.drive, Ending.FAILED, detail)
        how, detail = ending(draft)
        if how is Ending.ABORTED:
            return Done(ticket, replace(draft, ending=how, detail=detail), judge(ticket, draft), None, is_open=True)
        return self._end(ticket, attempt, draft, doing.drive, how, detail)

    def _remove_hidden(self, doing: Doing) -> None:
        """Open what is hidden, and go on with the drive at its new size. Raises DriveGone, NotKept, NotGrown."""
        hidden = self._hands.remove_hidden(doing.drive)
        doing.draft = replace(doing.draft, hidden=hidden)
        doing.attempt.keep(doing.draft)
        doing.drive = found_again(self._hands, doing.drive, doing.draft.medium, hidden)
        is_opened = any(area.state is HiddenState.REMOVED for area in hidden)
        if is_opened and doing.drive.medium.size_bytes <= doing.draft.medium.size_bytes:
            raise NotGrown(doing.drive)

    def _end(
        self, ticket: Ticket, attempt: Attempt, draft: WipeReport, drive: Drive | None, how: Ending, detail: str
    ) -> Done:
        after, health = None, draft.health_after
        if drive is not None:
            try:
                drive = found_again(self._hands, drive, draft.medium, draft.hidden)
                after, health = drive.medium, self._hands.health(drive)
            except _OURS as exc:
                detail = detail or str(exc)
        report = replace(
            draft,
            ending=how,
            detail=printable(detail, _MAX_DETAIL_CHARS),
            medium_after=after,
            health_after=health,
            ended=self._clock.now(),
        )
        attempt.end(report)
        return Done(ticket, report, judge(ticket, report), self._tell(ticket.ticket_id, report))

    def _tell(self, ticket_id: TicketId, report: WipeReport) -> Path:
        """Have report and note where the agent finds them; what is there already stays. Raises NotKept."""
        told = self._outbox.signed_report(ticket_id)
        if told is None or claimed_payload(told) != report.encode():
            self._outbox.report(ticket_id, self._signed(report))
        if not self._outbox.has_ended(ticket_id):
            detail = f"{report.ending.value}: {report.detail}" if report.detail else report.ending.value
            self._outbox.note(ticket_id, NoteEvent.ENDED, detail)
        return self._outbox.report_file(ticket_id)

    def _asked_again(self, looked: Looked, drive: Drive) -> Looked:
        """Return the same with what is so now. Raises DriveGone, DriveSwapped, SpokenAgainst, what `accept` and
        `host` do.
        """
        self._host = self._look_at_host()
        accept(SignedTicket.parse(looked.accepted.envelope), self._host.enrolled, self._clock.now())
        self._hands.again(drive)
        ticket = looked.accepted.ticket
        circumstances = self._circumstances(ticket, drive, self._hands.drives())
        if found := refusals(ticket, circumstances):
            raise SpokenAgainst(found)
        return replace(looked, circumstances=circumstances)

    def _against_going_on(self, ticket: Ticket, drive: Drive) -> tuple[Refusal, ...]:
        """Return what speaks against writing on to a drive that was begun: its ticket is used, and its images gone.

        An incident that came up since does, as soon as the centre has said so.
        """
        known = Known(is_ticket_used=False, hold=is_held(self._tickets) is True, is_clock_sure=True)
        circumstances = replace(self._hands.circumstances(drive, self._hands.drives(), known), undelivered=0)
        begun = replace(ticket, drive=replace(ticket.drive, size_bytes=drive.medium.size_bytes))
        return refusals(begun, circumstances)

    def _circumstances(self, ticket: Ticket, drive: Drive, present: Sequence[Drive]) -> Circumstances:
        found = self._hands.circumstances(drive, present, self._known(ticket))
        return replace(found, wiped_by=self._wiped_by(ticket))

    def _wiped_by(self, ticket: Ticket) -> TicketId | None:
        """Return a ticket by which this very drive was wiped here since `ticket` was issued, as far as that asks."""
        least = SanitizationClass(ticket.method.least.value)
        for other, report, judged in self.ended():
            is_done = judged.may_be_certified and judged.reached.reaches(least) and report.ended > ticket.issued
            if other.ticket_id != ticket.ticket_id and other.drive == ticket.drive and is_done:
                return other.ticket_id
        return None

    def _known(self, ticket: Ticket) -> Known:
        used = self._attempts.is_used(ticket.ticket_id)
        return Known(used, is_held(self._tickets), self._host.is_clock_sure)

    def _draft(self, looked: Looked, drive: Drive, person: str) -> WipeReport:
        ticket, circumstances, now = looked.accepted.ticket, looked.circumstances, self._clock.now()
        undelivered = -1 if circumstances is None or circumstances.undelivered is None else circumstances.undelivered
        return WipeReport(
            ticket_id=ticket.ticket_id,
            ticket_sha256=ticket.digest,
            host_id=self._host.enrolled.host_id,
            software=SOFTWARE,
            typed_person=person,
            clock_sure=self._host.is_clock_sure,
            started=now,
            ended=now,
            interruptions=0,
            ending=Ending.UNKNOWN,
            detail="",
            medium=drive.medium,
            medium_after=None,
            considered=looked.plan.considered if looked.plan is not None else (),
            hidden=looked.hidden,
            steps=(),
            checks=(),
            health_before=self._hands.health(drive),
            health_after={},
            overridden=lost(ticket, circumstances) if circumstances is not None else (),
            undelivered=undelivered,
        )

    def _doing(self, ticket: Ticket, attempt: Attempt, drive: Drive, draft: WipeReport, attested: Attested) -> Doing:
        return Doing(self._hands, attempt, self._clock, self._random_bytes, ticket, drive, draft, attested)

    @contextmanager
    def _alone(self, ticket: Ticket, drive: Drive | None) -> Iterator[None]:
        """Raises AlreadyAtWork, NotKept."""
        with alone_on(self._attempts.lock(ticket.ticket_id), f"ticket {ticket.ticket_id}"):
            if drive is None:
                yield
                return
            with alone_on(drive.node, str(drive.node)):
                yield

    def _signed(self, report: WipeReport) -> bytes:
        return sign_statement(self._host.signer, Label.WIPE_REPORT, report.encode())
