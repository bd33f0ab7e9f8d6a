"""A wipe ticket as people signed it, and whether that is enough: the one judgement, at the centre and on the host.

docs/formats/wipe.md
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared.envelope import Envelope, Signatories, Signer, TooFewSignatures
from shared.errors import Refused
from shared.identity import KeyId
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from shared.sanitization.method import Method
from shared.sanitization.ticket import Ticket
from shared.signing import EvidenceSigner, Label

FOR_AN_OVERRIDE = 2


class NoWipes(Refused):
    def __init__(self) -> None:
        super().__init__("the host's policy has no section `wipe`, so none of its drives is wiped")


class LaxerThanPolicy(Refused):
    def __init__(self, what: str, *, asked: str, least: str) -> None:
        super().__init__(f"the ticket has {what} {asked}, and policy asks for {least} at least")
        self.what, self.asked, self.least = what, asked, least


class HoldsTooLong(Refused):
    def __init__(self, *, life: timedelta, most: timedelta) -> None:
        super().__init__(f"the ticket holds for {life}, and policy allows {most} at most")
        self.life, self.most = life, most


class OwnTicket(Refused):
    def __init__(self, requester: str) -> None:
        super().__init__(f"{requester} asked for this wipe and cannot approve it; that takes another person")
        self.requester = requester


class SignerUnnamed(Refused):
    """Who cannot be told from the requester does not count."""

    def __init__(self, key_id: KeyId) -> None:
        super().__init__(f"the ticket is signed by key {key_id}, and the policy's root does not say whose that is")
        self.key_id = key_id


class SignedTicket(Envelope[Ticket]):
    """A ticket with one signature or several."""

    label, what = Label.WIPE_TICKET, "wipe ticket"

    @property
    def claimed(self) -> Ticket:
        """Return what it says before anything is believed. Raises Malformed."""
        return Ticket.parse(self.payload)


@dataclass(frozen=True)
class ApprovedTicket:
    """What `verify_ticket` passed, and who approved it."""

    ticket: Ticket
    signers: tuple[Signer, ...]


def sign_ticket(ticket: Ticket, signers: Sequence[EvidenceSigner]) -> SignedTicket:
    return SignedTicket.signed(ticket.encode(), signers)


def verify_ticket(offered: SignedTicket, signatories: Signatories, policy: WipePolicy | None) -> ApprovedTicket:
    """Return the ticket once enough people approved it and policy allows what it says.

    Whether it is for this host and drive, in time, and new, is not asked here.
    Raises NoWipes, SignerUnknown, SignatureInvalid, SignerUnnamed, OwnTicket, TooFewSignatures, LaxerThanPolicy,
    HoldsTooLong, Malformed.
    """
    ticket = offered.claimed
    verify_allowed(ticket, policy)
    signers = verify_signers(offered, signatories)
    given, needed = len({same_name(signer.name) for signer in signers}), approvals_needed(ticket, signatories, policy)
    if given < needed:
        raise TooFewSignatures(given=given, needed=needed)
    return ApprovedTicket(ticket, signers)


def verify_signers(offered: SignedTicket, signatories: Signatories) -> tuple[Signer, ...]:
    """Return who signed it, each of whom may; how many are enough is not asked.

    Raises SignerUnknown, SignatureInvalid, SignerUnnamed, OwnTicket, Malformed.
    """
    signers, requester = offered.verified(signatories), offered.claimed.requester
    for signer in signers:
        if not signer.name:
            raise SignerUnnamed(signer.key_id)
        if same_name(signer.name) == same_name(requester):
            raise OwnTicket(requester)
    return signers


def verify_allowed(ticket: Ticket, policy: WipePolicy | None) -> None:
    """Hold what a ticket says against policy, whoever signed it. Raises NoWipes, LaxerThanPolicy, HoldsTooLong."""
    if policy is None:
        raise NoWipes
    verify_strict_enough(ticket.method, policy)
    life, most = ticket.expires - ticket.issued, timedelta(hours=policy.ticket_hours)
    if life > most:
        raise HoldsTooLong(life=life, most=most)


def verify_strict_enough(method: Method, policy: WipePolicy) -> None:
    """Raises LaxerThanPolicy."""
    classes, amounts = list(LeastClass), list(ReadBack)
    if classes.index(method.least) < classes.index(policy.least):
        raise LaxerThanPolicy("class", asked=method.least.value, least=policy.least.value)
    if amounts.index(method.read_back) < amounts.index(policy.read_back):
        raise LaxerThanPolicy("a read back of", asked=method.read_back.value, least=policy.read_back.value)


def approvals_needed(ticket: Ticket, signatories: Signatories, policy: WipePolicy | None) -> int:
    """Return how many people, none of them the requester, have to sign. Raises NoWipes."""
    if policy is None:
        raise NoWipes
    return max(policy.approvals, signatories.threshold, FOR_AN_OVERRIDE if ticket.overrides else 1)


def same_name(name: str) -> str:
    """Return a name in the spelling in which two of one person are equal."""
    return name.strip().casefold()
