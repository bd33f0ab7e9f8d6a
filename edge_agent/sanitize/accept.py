"""Decides whether an offered ticket is one that this enrolment may act on now. Of the drive it says nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared import clock
from shared.envelope import Signatories
from shared.errors import Refused
from shared.identity import HostId, KeyId
from shared.policy.wipe import WipePolicy
from shared.sanitization.envelope import ApprovedTicket, SignedTicket, verify_ticket

# How far the clocks of a person's machine and of a host may be apart.
_CLOCKS_APART = timedelta(minutes=5)


class TicketOfAnotherHost(Refused):
    def __init__(self, *, named: HostId, here: HostId) -> None:
        super().__init__(f"the ticket is for {named}, this is {here}")
        self.named, self.here = named, here


class TicketOfAnotherEnrolment(Refused):
    def __init__(self, *, named: KeyId, here: KeyId) -> None:
        super().__init__(
            f"the ticket is for this host as it was enrolled with evidence key {named}; it has {here} now, so it was "
            "set up anew since: what is to be wiped now takes a new order"
        )
        self.named, self.here = named, here


class TicketExpired(Refused):
    def __init__(self, *, expires: datetime, now: datetime) -> None:
        super().__init__(
            f"the ticket expired at {clock.text(expires)}, it is {clock.text(now)} here; have it ordered anew"
        )
        self.expires, self.now = expires, now


class TicketTooEarly(Refused):
    def __init__(self, *, issued: datetime, now: datetime) -> None:
        super().__init__(f"the ticket was issued at {clock.text(issued)}, it is only {clock.text(now)} here")
        self.issued, self.now = issued, now


@dataclass(frozen=True)
class Enrolled:
    """What an offered ticket is held against: who this host is, and what the policy in force says."""

    host_id: HostId
    evidence_key: KeyId
    signatories: Signatories
    policy: WipePolicy | None


def accept(offered: SignedTicket, enrolled: Enrolled, now: datetime) -> ApprovedTicket:
    """Return the ticket that may be acted on.

    Raises what `verify_ticket` does; TicketOfAnotherHost, TicketOfAnotherEnrolment, TicketExpired, TicketTooEarly.
    """
    approved = accept_begun(offered, enrolled)
    ticket = approved.ticket
    if now >= ticket.expires:
        raise TicketExpired(expires=ticket.expires, now=now)
    if ticket.issued > now + _CLOCKS_APART:
        raise TicketTooEarly(issued=ticket.issued, now=now)
    return approved


def accept_begun(offered: SignedTicket, enrolled: Enrolled) -> ApprovedTicket:
    """Return a ticket that was begun in time: that it expired since does not keep its wipe from being finished."""
    approved = verify_ticket(offered, enrolled.signatories, enrolled.policy)
    ticket = approved.ticket
    if ticket.host_id != enrolled.host_id:
        raise TicketOfAnotherHost(named=ticket.host_id, here=enrolled.host_id)
    if ticket.evidence_key != enrolled.evidence_key:
        raise TicketOfAnotherEnrolment(named=ticket.evidence_key, here=enrolled.evidence_key)
    return approved
