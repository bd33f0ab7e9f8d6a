"""Commands at the centre: taken from people, offered to their host, and what the host says became of them.

The centre can write no command and no result: each is signed by somebody else, and shown as what it proves. Without a
result a command is *waiting* until it expires and *unknown* after that, never done.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import CommandRow, Host
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment.codes import parts_text
from control_plane.fleet.states import HostUnknown, Journal
from shared import clock as clocks
from shared.audit import events as audit
from shared.audit.events import Event, Happening, Participant, Subject
from shared.audit.record import readable
from shared.canonical import Json
from shared.clock import Clock
from shared.envelope import Signatories, Signer, recorded_keys, recorded_people
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fleet.command import (
    MAX_LISTED,
    Command,
    CommandAction,
    CommandResult,
    Outcome,
    SignedCommand,
    arguments_of,
    parts_of,
    recorded_as,
    verify_command,
    verify_result,
)
from shared.identity import CommandId, HostId
from shared.signing import EvidencePublicKey

_LOG = logging.getLogger(__name__)
_CLOCKS_APART = timedelta(minutes=5)
_SHOWN, _SHOWN_BRIEFLY = 100, 10
_STAYS_IN_SIGHT = timedelta(days=7)


class CommandNotInTime(Refused):
    def __init__(self, *, issued: datetime, expires: datetime, now: datetime) -> None:
        super().__init__(
            f"the command holds from {clocks.text(issued)} to {clocks.text(expires)}, it is {clocks.text(now)}; "
            "issue it anew"
        )
        self.issued, self.expires, self.now = issued, expires, now


class CommandOfAnotherPerson(Refused):
    def __init__(self, *, named: str, sender: str) -> None:
        super().__init__(f"the command names {named} as its author and nobody else signed it, {sender} brought it")
        self.named, self.sender = named, sender


class CommandExists(Refused):
    def __init__(self, command_id: CommandId) -> None:
        super().__init__(f"command {command_id} was issued before; draw up a new one")
        self.command_id = command_id


class LayerNotPublished(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(
            f"nothing is published of layer {layer}, so no host can go by it; `leadglass-server policy layer list` "
            "lists those there are"
        )
        self.layer = layer


class CommandUnknown(Refused):
    def __init__(self, command_id: CommandId) -> None:
        super().__init__(f"no command {command_id} was issued to this host")
        self.command_id = command_id


class ResultOfAnother(Refused):
    """A result of a command with the same name and other bytes, or one of another host."""

    def __init__(self, command_id: CommandId) -> None:
        super().__init__(f"the result is not of command {command_id} as it was issued to this host")
        self.command_id = command_id


class ResultHeld(Refused):
    def __init__(self, command_id: CommandId) -> None:
        super().__init__(f"another result of command {command_id} is held; the first one stays")
        self.command_id = command_id


class FleetCommands:
    """`signatories` are those whom the published policy names; `layers` are those of which something
    is published; `hint` tells a host that something waits for it.
    """

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        clock: Clock,
        *,
        signatories: Callable[[], Signatories],
        layers: Callable[[], Collection[str]],
        hint: Callable[[HostId], None] = lambda _host: None,
    ) -> None:
        self._database, self._journal, self._clock = database, journal, clock
        self._signatories, self._layers, self._hint = signatories, layers, hint

    # ---- people

    def issue(self, person: str, offered: bytes) -> Command:
        """Keep a signed command for its host, which judges it for itself once more.

        Raises Malformed, SignerUnknown, SignatureInvalid, TooFewSignatures, ActionUnknown, CommandNotInTime,
        CommandOfAnotherPerson, HostUnknown, CommandExists, LayerNotPublished, NobodySigns, DatabaseUnavailable.
        """
        envelope = SignedCommand.parse(offered)
        claimed = envelope.claimed
        try:
            signatories = self._signatories()
            command, signers = verify_command(envelope, signatories), envelope.signers(signatories)
            arguments_of(command)
            self._verify_layers(command)
            if command.person != person and len(envelope.statements) == 1:
                raise CommandOfAnotherPerson(named=command.person, sender=person)
            in_one_commit(self._database, lambda session: self._keep(session, person, command, envelope, signers))
        except (Refused, IntegrityFailure) as exc:
            refused = _happening(Event.COMMAND_REFUSED, claimed, _person(person), audit.Outcome.SERIOUS_FAILURE, exc)
            in_one_commit(self._database, lambda session: self._journal.append(session, refused))
            raise
        self._hint(command.host_id)
        return command

    def status(self, host_id: HostId | None = None, command_id: CommandId | None = None) -> list[dict[str, Json]]:
        """Return the commands that were issued last, the newest first."""
        return self._status(_SHOWN, host_id, command_id)

    def newest(self) -> list[dict[str, Json]]:
        """Return the few that were issued last, without what they proved."""
        return [{**one, "facts": {}} for one in self._status(_SHOWN_BRIEFLY)]

    def moves(self) -> Mapping[str, tuple[str, ...]]:
        """Return, by host, the layers that it was asked last to move to and has not answered in time."""
        waiting = (
            select(CommandRow.host_id, CommandRow.envelope)
            .where(
                CommandRow.action == CommandAction.SET_LAYERS.value,
                CommandRow.result.is_(None),
                CommandRow.expires > self._clock.now(),
            )
            .order_by(CommandRow.issued, CommandRow.command_id)
        )
        with snapshot(self._database) as session:
            rows = [(host, envelope) for host, envelope in session.execute(waiting)]
        asked = {host: _claimed_parts(envelope) for host, envelope in rows}
        return {host: parts for host, parts in asked.items() if parts is not None}

    # ---- hosts

    def waiting(self, host_id: HostId) -> tuple[bytes, ...]:
        """Return the envelopes that a host has not answered and that have not expired, the oldest first."""
        unanswered = (
            select(CommandRow.envelope)
            .where(
                CommandRow.host_id == str(host_id),
                CommandRow.result.is_(None),
                CommandRow.expires > self._clock.now(),
            )
            .order_by(CommandRow.issued, CommandRow.command_id)
            .limit(MAX_LISTED)
        )
        with snapshot(self._database) as session:
            return tuple(session.scalars(unanswered))

    def take_result(self, host_id: HostId, command_id: CommandId, signed: bytes) -> None:
        """Keep what a host says became of a command, also when it comes late; the same one again changes nothing.

        Raises HostUnknown, Malformed, WrongSigner, SignatureInvalid, CommandUnknown, ResultOfAnother, ResultHeld.
        """
        in_one_commit(self._database, lambda session: self._keep_result(session, host_id, command_id, signed))

    def _verify_layers(self, command: Command) -> None:
        """Raises Malformed, LayerNotPublished."""
        parts = _asked_for(command)
        published = self._layers() if parts else ()
        for layer in parts or ():
            if layer not in published:
                raise LayerNotPublished(layer)

    # ---- rows

    def _keep(
        self, session: Session, person: str, command: Command, envelope: SignedCommand, signers: Sequence[Signer]
    ) -> None:
        now = self._clock.now()
        if not command.issued - _CLOCKS_APART <= now < command.expires:
            raise CommandNotInTime(issued=command.issued, expires=command.expires, now=now)
        host = session.get(Host, str(command.host_id))
        if host is None or not host.active:
            raise HostUnknown(command.host_id)
        if session.get(CommandRow, str(command.command_id)) is not None:
            raise CommandExists(command.command_id)
        session.add(
            CommandRow(
                command_id=str(command.command_id), host_id=str(command.host_id), action=command.action, person=person,
                issued=command.issued, expires=command.expires, envelope=envelope.encode(), result=None, answered=None,
            )
        )  # fmt: skip
        self._journal.append(session, _issued(command, person, signers))

    def _keep_result(self, session: Session, host_id: HostId, command_id: CommandId, signed: bytes) -> None:
        host, row = session.get(Host, str(host_id)), session.get(CommandRow, str(command_id))
        if host is None or not host.active:
            raise HostUnknown(host_id)
        if row is None or row.host_id != str(host_id):
            raise CommandUnknown(command_id)
        command = SignedCommand.parse(row.envelope).claimed
        result = _verified(signed, host, command)
        if row.result is not None:
            if row.result != signed:
                raise ResultHeld(command_id)
            return
        row.result, row.answered = signed, self._clock.now()
        is_done = result.outcome is Outcome.DONE
        outcome = audit.Outcome.SUCCESS if is_done else audit.Outcome.SERIOUS_FAILURE
        who = (Participant("host", str(host_id), True), Participant("person", row.person, False))
        reason = "" if is_done else f"{result.outcome}: {result.detail}"
        self._journal.append(session, _happening(Event.COMMAND_ANSWERED, command, who, outcome, reason))
        if is_done and (parts := _asked_for(command)) is not None:
            self._move(session, host, parts, command, who)

    def _move(
        self, session: Session, host: Host, parts: Sequence[str], command: Command, who: tuple[Participant, ...]
    ) -> None:
        host.parts = parts_text(parts)
        layers = tuple(Subject("layer", part) for part in parts)
        what = Subject("host", host.host_id), Subject("asset", host.asset), Subject("command", str(command.command_id))
        moved = Happening(Event.HOST_MOVED, audit.Action.UPDATE, audit.Outcome.SUCCESS, who, (*what, *layers))
        self._journal.append(session, moved)

    def _status(
        self, most: int, host_id: HostId | None = None, command_id: CommandId | None = None
    ) -> list[dict[str, Json]]:
        wanted = select(CommandRow, Host).join(Host, Host.host_id == CommandRow.host_id)
        if host_id is not None:
            wanted = wanted.where(CommandRow.host_id == str(host_id))
        if command_id is not None:
            wanted = wanted.where(CommandRow.command_id == str(command_id))
        with snapshot(self._database) as session:
            rows = session.execute(wanted.order_by(CommandRow.issued.desc(), CommandRow.command_id).limit(most)).all()
            return [_shown(row, host, self._clock.now()) for row, host in rows]


def gaps(commands: Sequence[Mapping[str, Json]], now: datetime) -> Iterator[str]:
    """Say of which commands nobody knows what became of them."""
    for one in commands:
        if (
            one["state"] in {Outcome.UNKNOWN, _NOT_AUTHENTIC}
            and clocks.parse(str(one["issued"])) > now - _STAYS_IN_SIGHT
        ):
            yield f"{one['asset']}: command {one['action']} of {one['person']}: {one['state']}: {one['detail']}"


_NOT_AUTHENTIC, _WAITING = "not authentic", "waiting"


def _shown(row: CommandRow, host: Host, now: datetime) -> dict[str, Json]:
    state, detail, facts = _judged(row, host, now)
    return {
        "command": row.command_id,
        "host": row.host_id,
        "asset": host.asset,
        "action": row.action,
        "person": row.person,
        "issued": clocks.text(row.issued),
        "expires": clocks.text(row.expires),
        "state": state,
        "detail": detail,
        "answered": clocks.text(row.answered) if row.answered else None,
        "facts": facts,
    }


def _judged(row: CommandRow, host: Host, now: datetime) -> tuple[str, str, dict[str, Json]]:
    if row.result is None:
        if now < row.expires:
            return _WAITING, "the host has not answered yet", {}
        return Outcome.UNKNOWN.value, "it expired, and the host has said nothing of it", {}
    try:
        result = _verified(row.result, host, SignedCommand.parse(row.envelope).claimed)
    except (Refused, IntegrityFailure) as exc:
        return _NOT_AUTHENTIC, str(exc), {}
    facts: dict[str, Json] = {
        name: [*value] if isinstance(value, list) else value for name, value in result.facts.items()
    }
    return result.outcome.value, result.detail, facts


def _verified(signed: bytes, host: Host, command: Command) -> CommandResult:
    result = verify_result(signed, EvidencePublicKey.parse(host.evidence_spki))
    about = result.command_id, result.command_sha256, str(result.host_id)
    if about != (command.command_id, command.digest, host.host_id):
        raise ResultOfAnother(command.command_id)
    return result


def _asked_for(command: Command) -> tuple[str, ...] | None:
    """Return the layers that a host is to have, None where that is not what it is told. Raises Malformed."""
    return parts_of(arguments_of(command)[1]) if command.action == CommandAction.SET_LAYERS else None


def _claimed_parts(envelope: bytes) -> tuple[str, ...] | None:
    """Return it as a row says it, None also where somebody changed that."""
    try:
        return _asked_for(SignedCommand.parse(envelope).claimed)
    except Malformed:
        return None


def _person(name: str) -> tuple[Participant, ...]:
    return (Participant("person", name, True),)


def _issued(command: Command, person: str, signers: Sequence[Signer]) -> Happening:
    """Return what is recorded: who sent it, and whose keys signed it, which may be others than it claims."""
    who = *_person(person), *recorded_people(signers, requestor=False)
    what = Subject("host", str(command.host_id)), *recorded_as(command), *recorded_keys(signers)
    return Happening(Event.COMMAND_ISSUED, audit.Action.EXECUTE, audit.Outcome.SUCCESS, who, what)


def _happening(
    event: Event, command: Command, who: tuple[Participant, ...], outcome: audit.Outcome, why: object = ""
) -> Happening:
    what = Subject("host", str(command.host_id)), *recorded_as(command)
    reason = readable(str(why), 500) if str(why) else ""
    return Happening(event, audit.Action.EXECUTE, outcome, who, what, reason)
