"""A desk whose wipes are certified as a running centre does it, under an authority whose root anybody may be given."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any, TypeVar

from control_plane.enrolment import authority
from control_plane.keys import store
from control_plane.sanitize.certifying import CentresWord, Certifying, Released
from control_plane.sanitize.pades import Seal, sign_pdf
from control_plane.tlog.proofs import LogProofs
from shared.audit.tlog.log_key import LogKeyOffer, sign_log_key
from shared.enrolment.chain import parse_chain
from shared.sanitization.certificate import Facts
from shared.sanitization.ticket import Ticket, TicketId
from tests.control_plane.sanitize.desk import Desk
from tests.control_plane.vault.bench import Bench
from tests.shared import made
from tests.shared.sanitization import wipes

FACTS = Facts(
    organisation="北区医院 North Hospital", property_number="固资-2026-0117", media_source="CT 2, console",
    confidentiality_before="patient data", destination="back to the maker", location="plant room B, 地下一层",
    contact="ext. 4711", technician_role="field engineer", verifier_role="information security officer",
)  # fmt: skip
_Value = TypeVar("_Value")


class CertifyingDesk(Desk):
    """Its clock stands later than its certificates, as every real one does."""

    def __init__(self, bench: Bench, time_authority: str | None = None) -> None:
        begun = bench.clock.now()
        super().__init__(bench, bench.enrol())
        self.clock.advance(begun - self.clock.now() + timedelta(minutes=10))
        keys, ca = bench.keys, bench.ca

        def shown(name: str) -> bytes:
            return ca.shown(authority.newest_certificate(bench.database, keys.p256(name)))

        def sign(pdf: bytes, reason: str) -> bytes:
            chain = parse_chain(shown(store.DOCUMENTS), "certificate of documents")
            return sign_pdf(pdf, Seal(keys.p256(store.DOCUMENTS), chain, time_authority), reason, self.clock.now())

        signed = sign_log_key(keys.signer(store.JOURNAL), bench.journal.sequencer.key)
        proofs = LogProofs(bench.database, lambda: LogKeyOffer(signed, shown(store.JOURNAL).decode()))
        word = CentresWord(
            keys.signer(store.JOURNAL), lambda one: ca.shown(one).decode(), sign, proofs.of_record,
        )  # fmt: skip
        self.certifying = Certifying(bench.database, bench.journal, self.desk.reading, word, self.clock)

    def done(self, ticket: Ticket, **changes: Any) -> Ticket:
        """Have the host report that it did what the ticket says."""
        self.desk.intake.take_report(
            self.host.host_id, ticket.ticket_id, self.signed(moved(wipes.report_of(ticket, **changes), ticket))
        )
        self.clock.advance(timedelta(hours=2))
        return ticket

    def certified(self, ticket: Ticket, facts: Facts = FACTS, by: str = "Cai") -> Released:
        self.certifying.certify(by, ticket.ticket_id, facts)
        return self.fetch(ticket.ticket_id)

    def fetch(self, order_id: TicketId) -> Released:
        return self.certifying.fetch(order_id)


def moved(value: _Value, ticket: Ticket) -> _Value:
    """Return what was made for the tests' own time, at the ticket's."""
    result: _Value = _moved(value, ticket.issued - made.NOW)
    return result


def _moved(value: Any, by: timedelta) -> Any:
    if isinstance(value, datetime):
        return value + by
    if isinstance(value, tuple):
        return tuple(_moved(one, by) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {one.name: _moved(getattr(value, one.name), by) for one in dataclasses.fields(value) if one.init}
        return dataclasses.replace(value, **changes)
    return value
