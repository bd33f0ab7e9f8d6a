"""Takes a host out of service on the certificate of a wipe: one person is enough, for the certificate took several."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host, WipeCertificateRow, WipeOrderRow
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.replacing import IdentityEnded
from control_plane.enrolment.standing import ENDED, Standing
from control_plane.fleet.devices import NoSuchHost
from control_plane.people.two_persons import Journal
from control_plane.sanitize.certificate_rows import statement_record, statement_subject
from control_plane.sanitize.reading import Known, known
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId
from shared.sanitization.certificate import Statement, WipeCertificate
from shared.sanitization.ticket import Reason, Ticket
from shared.signing import EvidencePublicKey

_LEAVES = frozenset({Reason.DISPOSAL, Reason.RETURN})


class NotForThis(Refused):
    """A certificate that takes nobody's host out of service."""

    def __init__(self, host_id: HostId, why: str) -> None:
        super().__init__(
            f"this certificate does not take {host_id} out of service: {why}; without one that takes two persons "
            f"(`leadglass-server host decommission {host_id} --exception --reason …`)"
        )
        self.host_id, self.why = host_id, why


class DecommissioningByWipe:
    """`own` is the centre's evidence key, under which the certificate has to hold."""

    def __init__(
        self, database: sessionmaker[Session], journal: Journal, own: EvidencePublicKey,
        close_session: Callable[[HostId], object],
    ) -> None:  # fmt: skip
        self._database, self._journal, self._own, self._close_session = database, journal, own, close_session

    def decommission(self, person: str, host_id: HostId, offered: bytes) -> None:
        """Raises Malformed, WrongSigner, SignatureInvalid, NotForThis, NoSuchHost, IdentityEnded."""
        who, what = (Participant("person", person, True),), (Subject("host", str(host_id)),)
        attempt = Happening(Event.HOST_DECOMMISSIONED, Action.UPDATE, Outcome.SUCCESS, who, what)
        try:
            certificate = WipeCertificate.parse(offered)
            certificate.verify(self._own)
            statement = certificate.body.statement
            _verify_meant(statement, host_id)
            in_one_commit(self._database, lambda session: self._end(session, statement, who))
        except (Refused, IntegrityFailure) as exc:
            self._journal.record(failure(attempt, Event.HOST_DECOMMISSIONED, exc))
            raise
        self._close_session(host_id)

    def _end(self, session: Session, statement: Statement, who: tuple[Participant, ...]) -> None:
        ticket = statement.ticket
        host = session.get(Host, str(ticket.host_id))
        if host is None:
            raise NoSuchHost(str(ticket.host_id))
        if host.standing in ENDED:
            raise IdentityEnded(ticket.host_id, host.standing)
        if EvidencePublicKey.parse(host.evidence_spki).key_id != ticket.evidence_key:
            raise NotForThis(ticket.host_id, "the host was set up anew since its drive was wiped")
        held = session.get(WipeCertificateRow, str(ticket.ticket_id))
        if held is None or held.statement != statement.payload:
            raise NotForThis(ticket.host_id, "it is not the one that is held of its order")
        if statement_record(session, str(ticket.ticket_id)) is None:
            raise NotForThis(ticket.host_id, "no record of the log names it")
        if left := _begun_and_not_ended(session, ticket):
            drive, order_id = left.ticket.drive.serial, left.ticket.ticket_id
            why = f"the wipe of its drive {drive} was begun by order {order_id}, which has no certificate"
            raise NotForThis(
                ticket.host_id, f"{why}; bring that to its end and certify it, or have the drive destroyed"
            )
        host.standing = Standing.DECOMMISSIONED
        what = (
            Subject("host", host.host_id),
            Subject("asset", host.asset),
            Subject("order", str(ticket.ticket_id)),
            Subject("drive", ticket.drive.serial),
            statement_subject(statement.payload),
        )
        told = "by the certificate of a wipe"
        happening = Happening(Event.HOST_DECOMMISSIONED, Action.UPDATE, Outcome.SUCCESS, who, what, told)
        self._journal.append(session, happening)


def _begun_and_not_ended(session: Session, certified: Ticket) -> Known | None:
    """Return an order of the host whose drive may hold data: something was done to it, and nobody proved what.

    A drive that another order has proved since is not meant. Raises Malformed.
    """
    theirs = select(WipeOrderRow).where(WipeOrderRow.host_id == str(certified.host_id))
    proved = set[str]()
    for held in (known(session, row) for row in session.scalars(theirs.order_by(WipeOrderRow.requested.desc()))):
        serial = held.ticket.drive.serial
        if held.is_certified or held.row.destruction is not None:
            proved.add(serial)
        elif held.has_begun and serial not in proved:
            return held
    return None


def _verify_meant(statement: Statement, host_id: HostId) -> None:
    """Raises NotForThis."""
    ticket = statement.ticket
    if ticket.host_id != host_id:
        raise NotForThis(host_id, f"it is of a drive of {ticket.host_id}")
    if ticket.reason not in _LEAVES:
        raise NotForThis(host_id, f"the drive was wiped for {ticket.reason}, and neither for disposal nor for return")
    if not statement.judged.may_be_certified:
        raise NotForThis(host_id, f"the wipe came to {statement.judged.result}")
