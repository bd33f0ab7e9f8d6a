"""Wipe orders: asked for by one person, signed by others on their own machines, offered to the host.

The centre can make no ticket. An order is a draft of one; with enough signatures over its very bytes it is the ticket.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.db.models import Host, WipeOrderRow, WipeSignatureRow
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment.codes import readable_parts
from control_plane.fleet.states import HostUnknown
from control_plane.people.two_persons import Journal, PerhapsOne
from control_plane.people.ways_in import given_lately
from control_plane.sanitize.holds import HostHeld, is_held
from control_plane.sanitize.reading import Allowed, Known, WipeReading, approvals, counting, find, known
from control_plane.sanitize.same_drive import with_others
from control_plane.sanitize.wish import Wish, method_of
from shared import clock as clocks
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.envelope import Signatories, Signer, recorded_keys, recorded_people
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId, RandomBytes
from shared.sanitization.destruction import Destruction
from shared.sanitization.envelope import (
    NoWipes,
    OwnTicket,
    SignedTicket,
    approvals_needed,
    same_name,
    verify_allowed,
    verify_signers,
)
from shared.sanitization.exchange import MAX_LISTED
from shared.sanitization.ticket import Override, Ticket, TicketId

_LOG = logging.getLogger(__name__)


class OrderClosed(Refused):
    def __init__(self, order_id: TicketId, why: str) -> None:
        super().__init__(f"wipe order {order_id} cannot be changed any more: {why}")
        self.order_id, self.why = order_id, why


class OrderHeld(Refused):
    def __init__(self, order_id: TicketId) -> None:
        super().__init__(f"wipe order {order_id} is held here; its ticket adds nothing to it")
        self.order_id = order_id


class SignedByAnother(Refused):
    def __init__(self, *, named: str, sender: str) -> None:
        super().__init__(
            f"the ticket is signed with the key that policy's root names as {named!r}, and {sender} brought it: "
            "each approves with their own key, under the name of their account"
        )
        self.named, self.sender = named, sender


class SignedBefore(Refused):
    def __init__(self, person: str) -> None:
        super().__init__(f"{person} has signed this ticket already")
        self.person = person


class TooFewToApprove(Refused):
    def __init__(self, *, there: int, needed: int) -> None:
        super().__init__(
            f"nobody could have this wipe approved: it takes {needed} people besides whoever asks for it, and policy's "
            f"root names {there}; make more of them signers (`leadglass-server policy root propose --add`)"
        )
        self.there, self.needed = there, needed


class DriveOrderedTwice(Refused):
    def __init__(self, order_id: TicketId, others: Sequence[str]) -> None:
        super().__init__(
            f"wipe order {order_id} is not the only one for its drive: {'; '.join(others)}. Cancel what is not meant, "
            "or approve it and say why both are (`--beside REASON`)"
        )
        self.order_id, self.others = order_id, tuple(others)


class NotApproved(Refused):
    def __init__(self, order_id: TicketId, *, given: int, needed: int) -> None:
        super().__init__(f"wipe order {order_id} is signed by {given} of the {needed} people that policy asks for")
        self.order_id, self.given, self.needed = order_id, given, needed


class WipeOrders:
    """`hint` tells a host that something waits for it."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        evidence: EvidenceKeys,
        reading: WipeReading,
        clock: Clock,
        *,
        hint: Callable[[HostId], None] = lambda _host: None,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._database, self._journal, self._evidence = database, journal, evidence
        self._reading, self._clock = reading, clock
        self._hint, self._random = hint, random_bytes

    # ---- people

    def order(self, person: str, wish: Wish) -> Ticket:
        """Draw up the ticket that others are to sign.

        Raises HostUnknown, NotCertified, NoWipes, LaxerThanPolicy, HoldsTooLong, TooFewToApprove, HostHeld, Malformed.
        """
        who, what = (Participant("person", person, True),), (Subject("host", str(wish.host_id)),)
        attempt = Happening(Event.WIPE_REQUESTED, Action.CREATE, Outcome.SUCCESS, who, what)
        try:
            ticket = self._drawn_up(person, wish)
            happening = replace(attempt, what=recorded_as(ticket), private={"reason": wish.text})
            in_one_commit(self._database, lambda session: self._keep(session, ticket, happening))
        except (Refused, IntegrityFailure) as exc:
            self._journal.record(failure(attempt, Event.WIPE_REQUESTED, exc))
            raise
        return ticket

    def approve(self, person: str, order_id: TicketId, offered: bytes, beside: str = "") -> None:
        """Take a person's own signature over the ticket; `beside` says why, where its drive has another order.

        Raises OrderUnknown, OrderClosed, DriveOrderedTwice, OwnTicket, SignedByAnother, SignedBefore, SignerUnknown,
        SignerUnnamed, SignatureInvalid, HostHeld, PerhapsOne, Malformed, and what `verify_allowed` refuses.
        """
        held, allowed = self._read(order_id)
        happening = self._happening(Event.WIPE_SIGNED, person, held.ticket)
        try:
            signed = SignedTicket.parse(offered)
            signer = _verified_signer(person, held, signed, allowed)
            twins = self._verify_said_why(held, beside)
            private: dict[str, Json] = {"reason": beside} if twins else {}
            happening = replace(happening, what=(*happening.what, *recorded_keys([signer]), *twins), private=private)
            is_enough = in_one_commit(
                self._database,
                lambda session: self._keep_signature(session, person, order_id, signed, signer, allowed, happening),
            )
        except (Refused, IntegrityFailure) as exc:
            self._journal.record(failure(happening, Event.WIPE_SIGNED, exc))
            raise
        if is_enough:
            self._hint(held.ticket.host_id)

    def close(self, person: str, order_id: TicketId, closed_as: str, reason: str) -> None:
        """Cancel an order, or refuse it, while its host has done nothing. Raises OrderUnknown, OrderClosed."""
        held, _ = self._read(order_id)
        event = Event.WIPE_CANCELLED if closed_as == "cancelled" else Event.WIPE_REFUSED
        happening = replace(self._happening(event, person, held.ticket), private={"reason": reason})

        def work(session: Session) -> None:
            row = _open(session, order_id).row
            row.closed, row.closed_as, row.closed_by = self._clock.now(), closed_as, person
            self._journal.append(session, happening)

        self._recorded(happening, work)
        self._hint(held.ticket.host_id)

    def destroyed(self, person: str, order_id: TicketId, witness: str, means: str, photographs: list[str]) -> None:
        """Keep people's word that the drive of an approved order was destroyed.

        Raises OrderUnknown, OrderClosed, NotApproved, Malformed.
        """
        held, allowed = self._read(order_id)
        destruction = Destruction.of(person, witness, means, photographs, self._clock.now())
        happening = self._happening(Event.DRIVE_DESTROYED, person, held.ticket)
        happening = replace(happening, what=(*happening.what, *destruction.subjects()))
        given, needed = approvals(held, allowed)

        def work(session: Session) -> None:
            now = find(session, order_id)
            if now.row.destruction is not None:
                raise OrderClosed(order_id, "that its drive was destroyed is held already")
            if now.row.closed_as is not None:
                raise OrderClosed(order_id, f"{now.row.closed_by} {now.row.closed_as} it")
            if given < needed:
                raise NotApproved(order_id, given=given, needed=needed)
            now.row.destruction = destruction.encode()
            self._journal.append(session, happening)

        self._recorded(happening, work)

    def ticket(self, order_id: TicketId) -> bytes:
        """Return the envelope for a person to carry. Raises OrderUnknown, OrderClosed, NotApproved, HostHeld."""
        held, allowed = self._read(order_id)
        given, needed = approvals(held, allowed)
        envelope = held.envelope()
        if given < needed or envelope is None:
            raise NotApproved(order_id, given=given, needed=needed)
        with snapshot(self._database) as session:
            _verify_not_held(session, held.ticket)
        self._verify_open(held)
        self._verify_needed(held)
        return envelope.encode()

    def bring(self, person: str, offered: bytes) -> TicketId:
        """Take an order or its signatures back that a restored centre has lost, by its ticket: who signed it proves it.

        Raises HostUnknown, OrderHeld, SignerUnknown, SignerUnnamed, OwnTicket, SignatureInvalid, PerhapsOne, Malformed.
        """
        signed = SignedTicket.parse(offered)
        ticket = signed.claimed
        happening = replace(self._happening(Event.WIPE_REQUESTED, person, ticket), action=Action.CREATE)
        try:
            with snapshot(self._database) as session:
                host = session.get(Host, str(ticket.host_id))
            if host is None:
                raise HostUnknown(ticket.host_id)
            allowed = self._reading.allowed(ticket.host_id, readable_parts(host.parts) or ())
            signers = verify_signers(signed, _signatories(allowed))
            who = (*happening.who, *recorded_people(signers, requestor=False))
            what, why = (*happening.what, *recorded_keys(signers)), "brought back by its ticket"
            happening = replace(happening, who=who, what=what, reason=why)
            in_one_commit(self._database, lambda session: self._keep_brought(session, signed, signers, happening))
        except (Refused, IntegrityFailure) as exc:
            self._journal.record(failure(happening, Event.WIPE_REQUESTED, exc))
            raise
        return ticket.ticket_id

    # ---- hosts

    def waiting(self, host_id: HostId) -> tuple[bool, tuple[bytes, ...]]:
        """Return whether an incident holds the host, and the tickets that wait for it, the oldest first."""
        mine = (
            select(WipeOrderRow)
            .where(
                WipeOrderRow.host_id == str(host_id),
                WipeOrderRow.closed.is_(None),
                WipeOrderRow.destruction.is_(None),
                WipeOrderRow.expires > self._clock.now(),
            )
            .order_by(WipeOrderRow.requested, WipeOrderRow.order_id)
        )
        with snapshot(self._database) as session:
            hold = is_held(session, host_id)
            orders = [with_others(session, known(session, row)) for row in session.scalars(mine)]
        return hold, tuple(self._waiting(orders, hold=hold))[:MAX_LISTED]

    def _waiting(self, orders: list[Known], *, hold: bool) -> list[bytes]:
        if not orders:
            return []
        found, allowed = [], self._reading.allowed(orders[0].ticket.host_id, orders[0].parts)
        for order in orders:
            given, needed = approvals(order, allowed)
            envelope = order.envelope()
            stopped = (hold and Override.INCIDENT_HOLD not in order.ticket.overrides) or self._reading.wiped_by(order)
            if envelope is not None and given >= needed and not order.is_spent and not stopped:
                found.append(envelope.encode())
        return found

    # ---- rows

    def _read(self, order_id: TicketId) -> tuple[Known, Allowed]:
        with snapshot(self._database) as session:
            held = with_others(session, find(session, order_id))
        return held, self._reading.allowed(held.ticket.host_id, held.parts)

    def _drawn_up(self, person: str, wish: Wish) -> Ticket:
        with snapshot(self._database) as session:
            host = session.get(Host, str(wish.host_id))
            if host is None or not host.active:
                raise HostUnknown(wish.host_id)
            asset, parts = host.asset, readable_parts(host.parts) or ()
        allowed, now = self._reading.allowed(wish.host_id, parts), self._clock.now()
        policy = allowed.policy
        if policy is None:
            raise NoWipes
        ticket = Ticket(
            ticket_id=TicketId.new(self._random),
            host_id=wish.host_id,
            evidence_key=self._evidence.of_active_host(wish.host_id).key_id,
            asset=asset,
            drive=wish.drive,
            method=method_of(wish, policy),
            reason=wish.reason,
            requester=person,
            person=wish.technician,
            overrides=tuple(sorted(set(wish.overrides))),
            issued=now,
            expires=now + timedelta(hours=policy.ticket_hours if wish.hours is None else wish.hours),
        )
        Ticket.parse(ticket.encode())
        verify_allowed(ticket, policy)
        _verify_approvable(ticket, allowed)
        return ticket

    def _keep(self, session: Session, ticket: Ticket, happening: Happening) -> None:
        _verify_not_held(session, ticket)
        session.add(_row_of(ticket))
        self._journal.append(session, happening)

    def _keep_brought(
        self, session: Session, signed: SignedTicket, signers: Sequence[Signer], happening: Happening
    ) -> None:
        order_id = str(signed.claimed.ticket_id)
        row = session.get(WipeOrderRow, order_id)
        by_key = select(WipeSignatureRow.key_id).where(WipeSignatureRow.order_id == order_id)
        held = set(session.scalars(by_key))
        lost = [pair for pair in zip(signers, signed.statements, strict=True) if str(pair[0].key_id) not in held]
        if row is not None and (row.ticket != signed.payload or not lost):
            raise OrderHeld(signed.claimed.ticket_id)
        if row is None:
            session.add(_row_of(signed.claimed))
            session.flush()
        for signer, statement in lost:
            if row is not None:  # it takes no more than at its approval
                others = (signed.claimed.requester, *(one.name for one in signers if one != signer))
                _verify_another(session, signer.name, others, self._clock)
            session.add(
                WipeSignatureRow(
                    order_id=order_id, key_id=str(signer.key_id), person=signer.name, signed=self._clock.now(),
                    statement=statement,
                )
            )  # fmt: skip
        self._journal.append(session, happening)

    def _keep_signature(
        self, session: Session, person: str, order_id: TicketId, signed: SignedTicket, signer: Signer,
        allowed: Allowed, happening: Happening,
    ) -> bool:  # fmt: skip
        held = _open(session, order_id)
        self._verify_open(held)
        _verify_not_held(session, held.ticket)
        if any(same_name(one.person) == same_name(person) for one in held.signatures):
            raise SignedBefore(person)
        _verify_another(session, person, (held.ticket.requester, *(one.person for one in held.signatures)), self._clock)
        session.add(
            WipeSignatureRow(
                order_id=str(order_id), key_id=str(signer.key_id), person=person, signed=self._clock.now(),
                statement=signed.statements[0],
            )
        )  # fmt: skip
        session.flush()
        self._journal.append(session, happening)
        signatories = _signatories(allowed)
        now, needed = find(session, order_id), approvals_needed(held.ticket, signatories, allowed.policy)
        before, after = len(counting(held, signatories)), len(counting(now, signatories))
        if before < needed <= after:
            people = tuple(Participant("person", one.person, True) for one in now.signatures)
            done = Happening(Event.WIPE_APPROVED, Action.EXECUTE, Outcome.SUCCESS, people, recorded_as(held.ticket))
            self._journal.append(session, done)
        return after >= needed

    def _verify_open(self, held: Known) -> None:
        if held.row.closed_as is not None:
            raise OrderClosed(held.ticket.ticket_id, f"{held.row.closed_by} {held.row.closed_as} it")
        if self._clock.now() >= held.ticket.expires:
            raise OrderClosed(held.ticket.ticket_id, f"it expired at {clocks.text(held.ticket.expires)}; order it anew")

    def _verify_needed(self, held: Known) -> None:
        """Raises OrderClosed: nobody wipes a drive by what was asked for before it was wiped; it may hold new data."""
        if by := self._reading.wiped_by(held):
            raise OrderClosed(held.ticket.ticket_id, f"its drive was wiped since by order {by}; order it anew")

    def _verify_said_why(self, held: Known, beside: str) -> tuple[Subject, ...]:
        """Return how the record names the other orders for the drive. Raises OrderClosed, DriveOrderedTwice."""
        self._verify_needed(held)
        twins = self._reading.under_way(held, self._clock.now())
        if twins and not beside:
            told = [f"order {one.row.order_id} of {one.asset} is {state}" for one, state in twins]
            raise DriveOrderedTwice(held.ticket.ticket_id, told)
        return tuple(Subject("fact", f"beside order: {one.row.order_id}") for one, _ in twins)

    def _recorded(self, happening: Happening, work: Callable[[Session], None]) -> None:
        try:
            in_one_commit(self._database, work)
        except Refused as exc:
            self._journal.record(failure(happening, happening.event, exc))
            raise

    def _happening(self, event: Event, person: str, ticket: Ticket) -> Happening:
        who = (Participant("person", person, True),)
        return Happening(event, Action.EXECUTE, Outcome.SUCCESS, who, recorded_as(ticket))


def _row_of(ticket: Ticket) -> WipeOrderRow:
    return WipeOrderRow(
        order_id=str(ticket.ticket_id), host_id=str(ticket.host_id), requested=ticket.issued, expires=ticket.expires,
        ticket=ticket.encode(),
    )  # fmt: skip


def recorded_as(ticket: Ticket) -> tuple[Subject, ...]:
    """Return what an audit record says of an order: never why in free words."""
    return (
        Subject("order", str(ticket.ticket_id)),
        Subject("host", str(ticket.host_id)),
        Subject("asset", ticket.asset),
        Subject("drive", ticket.drive.serial),
        Subject("digest", ticket.digest.hex()),
        Subject("fact", f"reason: {ticket.reason}"),
        Subject("fact", f"requester: {ticket.requester}"),
        Subject("fact", f"technician: {ticket.person}"),
        *(Subject("fact", f"override: {one}") for one in ticket.overrides),
    )


def _open(session: Session, order_id: TicketId) -> Known:
    """Raises OrderUnknown, OrderClosed."""
    held = find(session, order_id)
    if held.row.closed_as is not None:
        raise OrderClosed(order_id, f"{held.row.closed_by} {held.row.closed_as} it")
    if held.has_begun:
        raise OrderClosed(order_id, "it was begun; what becomes of it is up to the host's evidence")
    return held


def _verify_another(session: Session, person: str, others: Sequence[str], clock: Clock) -> None:
    """Raises PerhapsOne: of two of them, one got the other in lately and so may hold the token of both."""
    for one, giver in [(person, other) for other in others] + [(other, person) for other in others]:
        way = given_lately(session, one, clock.now())
        if way is not None and same_name(way.given_by) == same_name(giver):
            raise PerhapsOne(way)


def _verified_signer(person: str, held: Known, signed: SignedTicket, allowed: Allowed) -> Signer:
    if same_name(person) == same_name(held.ticket.requester):
        raise OwnTicket(person)
    if signed.payload != held.row.ticket:
        raise Malformed("wipe ticket envelope", f"it is not over the ticket of order {held.ticket.ticket_id}")
    if len(signed.statements) != 1:
        raise Malformed("wipe ticket envelope", "expected the sender's signature alone")
    verify_allowed(held.ticket, allowed.policy)
    (signer,) = verify_signers(signed, _signatories(allowed))
    if same_name(signer.name) != same_name(person):
        raise SignedByAnother(named=signer.name, sender=person)
    return signer


def _signatories(allowed: Allowed) -> Signatories:
    return allowed.signatories or Signatories((), 1)


def _verify_approvable(ticket: Ticket, allowed: Allowed) -> None:
    """Raises TooFewToApprove: however many sign of those who may, it stays an order."""
    signatories = _signatories(allowed)
    named = (signatories.names.get(key.key_id, "") for key in signatories.keys)
    others = {same_name(name) for name in named if name} - {same_name(ticket.requester)}
    needed = approvals_needed(ticket, signatories, allowed.policy)
    if len(others) < needed:
        raise TooFewToApprove(there=len(others), needed=needed)


def _verify_not_held(session: Session, ticket: Ticket) -> None:
    if is_held(session, ticket.host_id) and Override.INCIDENT_HOLD not in ticket.overrides:
        raise HostHeld(ticket.host_id)
