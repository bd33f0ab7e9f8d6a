"""The wipes of one control plane: Ada asks, Bea and Cai approve, and a host with an evidence key of the authority's."""

import dataclasses
from typing import Any

from control_plane.sanitize.desk import WipeDesk
from control_plane.sanitize.wish import Wish
from shared.audit.events import EventName
from shared.envelope import Signatories
from shared.identity import HostId
from shared.policy.wipe import WipePolicy
from shared.sanitization.envelope import sign_ticket
from shared.sanitization.judge import judge
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.report import WipeReport
from shared.sanitization.technique import Sequence, Technique
from shared.sanitization.ticket import Reason, Ticket, TicketId
from shared.signing import EvidenceSigner, Label, SoftwareSigner, sign_statement
from tests.control_plane.vault.bench import Bench, HostBench
from tests.shared import made
from tests.shared.sanitization import wipes
from tests.shared.sanitization.tickets import BEA, PEOPLE, POLICY


class Desk:
    def __init__(self, bench: Bench, host: HostBench | None = None) -> None:
        """Begin at the time of the tickets and reports that tests are made of, with a host of its own."""
        self.bench, self.clock = bench, bench.clock
        self.clock.advance(made.NOW - self.clock.now())
        self._before = len(bench.events())
        self.policy: WipePolicy | None = POLICY
        self.people: Signatories = PEOPLE
        self.hinted: list[HostId] = []
        self.host = host or self.bench.enrol()
        self.desk = WipeDesk.of(
            self.bench.database, self.bench.journal, self.bench.evidence, self.clock, judge,
            policy_of=lambda _host, _parts: self.policy, signatories=lambda: self.people, hint=self.hinted.append,
        )  # fmt: skip

    def order(self, by: str = "Ada", **changes: Any) -> Ticket:
        wish = Wish(
            host_id=self.host.host_id,
            # Desks share a centre, and a wipe that is proved ends every other order for its drive.
            drive=dataclasses.replace(wipes.drive_of(wipes.DISK), wwn=f"naa.{self.host.host_id.raw.hex()[:16]}"),
            least=None,
            read_back=None,
            techniques=(Technique.OVERWRITE,),
            sequence=Sequence.RANDOM,
            passes=(),
            reason=Reason.DISPOSAL,
            text="the scanner goes back to its maker",
            technician="Dan",
            overrides=(),
            hours=None,
        )
        return self.desk.orders.order(by, dataclasses.replace(wish, **changes))

    def approve(
        self, ticket: Ticket, by: str = "Bea", signer: SoftwareSigner = BEA, beside: str = "tests have one drive"
    ) -> None:
        self.desk.orders.approve(by, ticket.ticket_id, sign_ticket(ticket, [signer]).encode(), beside)

    def approved(self, **changes: Any) -> Ticket:
        ticket = self.order(**changes)
        self.approve(ticket)
        return ticket

    def note(self, ticket: Ticket, seq: int, event: NoteEvent, detail: str = "") -> None:
        told = WipeNote(ticket.ticket_id, seq, event, self.clock.now(), detail)
        self.desk.intake.take_note(self.host.host_id, ticket.ticket_id, told.encode())

    def signed(self, report: WipeReport, signer: EvidenceSigner | None = None) -> bytes:
        return sign_statement(signer or self.host.signer, Label.WIPE_REPORT, report.encode())

    def report(self, ticket: Ticket, **changes: Any) -> bytes:
        signed = self.signed(wipes.report_of(ticket, **changes))
        self.desk.intake.take_report(self.host.host_id, ticket.ticket_id, signed)
        return signed

    def state(self, ticket: Ticket | TicketId) -> str:
        order_id = ticket.ticket_id if isinstance(ticket, Ticket) else ticket
        return self.desk.showing.state(order_id).value

    def tickets(self) -> tuple[bytes, ...]:
        return self.desk.orders.waiting(self.host.host_id)[1]

    def events(self) -> list[EventName]:
        """Return what was recorded since this desk began."""
        return self.bench.events()[self._before :]

    def gaps(self) -> list[str]:
        """Return the gaps that name one of this host's orders, or the host's own hold."""
        mine = [str(one["order"]) for one in self.desk.showing.orders(self.host.host_id)]
        return [gap for gap in self.desk.showing.gaps() if any(order in gap for order in mine)]
