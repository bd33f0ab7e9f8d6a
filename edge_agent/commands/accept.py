"""Decides whether an offered command is for this host, of the right people, in time, and new."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from edge_agent.policy_sync.delegation import DelegationExpired, NotDelegated
from edge_agent.policy_sync.verification import MetadataInvalid
from shared import clock
from shared.envelope import Signatories, SignerUnknown, TooFewSignatures
from shared.errors import Refused
from shared.fleet.command import Command, SignedCommand, arguments_of, verify_command
from shared.identity import CommandId, HostId

# How far the clocks of a person's machine and of a host may be apart.
_CLOCKS_APART = timedelta(minutes=5)


class CommandOfAnother(Refused):
    def __init__(self, *, named: HostId, here: HostId) -> None:
        super().__init__(f"the command is for {named}, this is {here}")
        self.named, self.here = named, here


class CommandExpired(Refused):
    def __init__(self, *, expires: datetime, now: datetime) -> None:
        super().__init__(f"the command expired at {clock.text(expires)}, it is {clock.text(now)} here")
        self.expires, self.now = expires, now


class CommandTooEarly(Refused):
    def __init__(self, *, issued: datetime, now: datetime) -> None:
        super().__init__(f"the command was issued at {clock.text(issued)}, it is only {clock.text(now)} here")
        self.issued, self.now = issued, now


class CommandUsed(Refused):
    def __init__(self, command_id: CommandId) -> None:
        super().__init__(f"command {command_id} was taken or refused here before, and its name holds only once")
        self.command_id = command_id


@dataclass(frozen=True)
class Here:
    """What an offered command is held against."""

    host_id: HostId
    signatories: Signatories
    now: datetime
    is_used: Callable[[CommandId], bool]


# What newer policy metadata, or the time by which it was signed, may let pass.
REFUSED_BY_POLICY = (
    DelegationExpired, NotDelegated, MetadataInvalid, SignerUnknown, TooFewSignatures, CommandTooEarly,
)  # fmt: skip

Check: TypeAlias = Callable[[SignedCommand, Here], None]


def is_signed(offered: SignedCommand, here: Here) -> None:
    verify_command(offered, here.signatories)


def is_for_this_host(offered: SignedCommand, here: Here) -> None:
    if (named := offered.claimed.host_id) != here.host_id:
        raise CommandOfAnother(named=named, here=here.host_id)


def is_in_time(offered: SignedCommand, here: Here) -> None:
    command = offered.claimed
    if here.now >= command.expires:
        raise CommandExpired(expires=command.expires, now=here.now)
    if command.issued > here.now + _CLOCKS_APART:
        raise CommandTooEarly(issued=command.issued, now=here.now)


def is_new(offered: SignedCommand, here: Here) -> None:
    if here.is_used(offered.claimed.command_id):
        raise CommandUsed(offered.claimed.command_id)


def is_known(offered: SignedCommand, _here: Here) -> None:
    arguments_of(offered.claimed)


# What was taken before is told again also when it has expired since: its result may have been lost.
CHECKS: Sequence[Check] = (is_signed, is_for_this_host, is_new, is_in_time, is_known)


def accept(offered: SignedCommand, here: Here, checks: Sequence[Check] = CHECKS) -> Command:
    """Return the command that is to be done. A test leaves out a check to see what it protects from.

    Raises Malformed, SignerUnknown, SignatureInvalid, TooFewSignatures, CommandOfAnother, CommandExpired,
    CommandTooEarly, CommandUsed, ActionUnknown.
    """
    for check in checks:
        check(offered, here)
    return offered.claimed
