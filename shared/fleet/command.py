"""Commands: what people have one host do, once and before it is too late; and what became of it.

    command  = canonical JSON, the members of `Command`
    envelope = canonical JSON {"v", "signed": [base64 of a signed statement, ...]}, all over the same command
    result   = canonical JSON, the members of `CommandResult`, in a signed statement of the host's

A person signs a command with the key that signs policies; the label keeps the two apart. Arguments are typed and
flat. A reader takes an action that it does not know for what it is, a command that it has to refuse, so that actions
can be added without a new version.
docs/formats/command.md
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import TypeAlias

from shared import canonical, clock
from shared.audit.events import Subject
from shared.canonical import Json
from shared.envelope import MAX_ENVELOPE_BYTES, Envelope, Signatories, TooFewSignatures
from shared.errors import Malformed, Refused
from shared.fields import Fields, decode_base64, encode_base64
from shared.identity import CommandId, HostId
from shared.policy.layer import PART_NAME_PATTERN, named_parts
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

MAX_BYTES = 4096  # of a command as it is signed
MAX_RESULT_BYTES = 64 << 10
MAX_LISTED = 16
MAX_DETAIL_CHARS = 500
LONGEST = timedelta(hours=24)
_MOST_ARGUMENTS, _MOST_FACTS, _MOST_LISTED_FACTS = 16, 64, 100
_ACTION, _NAME = r"[a-z][a-z0-9-]{0,39}", r"[a-z][a-z0-9_]{0,39}"
_PERSON = r"[^\x00-\x1f\x7f]{1,80}"
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,300}")

Argument: TypeAlias = "str | int | bool"
Fact: TypeAlias = "str | int | bool | list[str]"


class CommandAction(StrEnum):
    """Every action that there is; what each takes is in `ARGUMENTS`."""

    DIAGNOSTICS = "diagnostics"
    ROTATE_CERTIFICATE = "rotate-certificate"
    RESCAN = "rescan"
    ISOLATE = "isolate"
    REJOIN = "rejoin"
    SET_LAYERS = "set-layers"


@dataclass(frozen=True)
class Parameter:
    """One argument of an action: `take` reads it, and `default` is what a person who does not say otherwise means."""

    take: Callable[[Fields, str], Argument]
    default: Argument


def _whole(least: int, most: int) -> Callable[[Fields, str], Argument]:
    return lambda fields, name: fields.integer(name, least=least, most=most)


def _text(most: int) -> Callable[[Fields, str], Argument]:
    return lambda fields, name: fields.text(name, max_chars=most)


def _part_name(fields: Fields, name: str) -> Argument:
    return fields.text(name, rf"({PART_NAME_PATTERN})?")


ARGUMENTS: dict[CommandAction, dict[str, Parameter]] = {
    CommandAction.DIAGNOSTICS: {"events": Parameter(_whole(0, 100), 20)},
    CommandAction.ROTATE_CERTIFICATE: {},
    CommandAction.RESCAN: {"ae_title": Parameter(_text(16), "")},
    CommandAction.ISOLATE: {},
    CommandAction.REJOIN: {},
    CommandAction.SET_LAYERS: {"site": Parameter(_part_name, ""), "modality_type": Parameter(_part_name, "")},
}


class ActionUnknown(Refused):
    def __init__(self, action: str) -> None:
        super().__init__(
            f"there is no action {action} here; an earlier version of the software does not know newer ones"
        )
        self.action = action


@dataclass(frozen=True)
class Command:
    """`arguments` are read only as flat values here; `arguments_of` holds them against the action."""

    command_id: CommandId
    host_id: HostId
    action: str
    arguments: Mapping[str, Argument]
    issued: datetime
    expires: datetime
    person: str

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "command": str(self.command_id),
                "host": str(self.host_id),
                "action": self.action,
                "arguments": dict(self.arguments),
                "issued": clock.text(self.issued),
                "expires": clock.text(self.expires),
                "person": self.person,
            }
        )

    @property
    def digest(self) -> bytes:
        return sha256(self.encode()).digest()

    @classmethod
    def parse(cls, data: bytes) -> "Command":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("command", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "command"), "command")
        fields.version()
        command = cls(
            command_id=CommandId.parse(fields.text("command")),
            host_id=HostId.parse(fields.text("host")),
            action=fields.text("action", _ACTION),
            arguments={
                _name(name, "command argument"): _argument(value)
                for name, value in fields.mapping("arguments", most=_MOST_ARGUMENTS).items()
            },
            issued=fields.instant("issued"),
            expires=fields.instant("expires"),
            person=fields.text("person", _PERSON),
        )
        fields.done()
        if not timedelta(0) < command.expires - command.issued <= LONGEST:
            raise Malformed("command field 'expires'", "expected to follow 'issued' by at most 24 hours")
        return command


class SignedCommand(Envelope[Command]):
    """A command with one signature or several."""

    label, what = Label.COMMAND, "command"

    @property
    def claimed(self) -> Command:
        """Return what it says before anything is believed. Raises Malformed."""
        return Command.parse(self.payload)


class Outcome(StrEnum):
    """`UNKNOWN` is the host's own word that it began and does not know how it ended."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class CommandResult:
    """What became of the command whose bytes have this digest; `facts` are what proves it, or what was asked for."""

    command_id: CommandId
    command_sha256: bytes
    host_id: HostId
    outcome: Outcome
    detail: str
    time: datetime
    facts: Mapping[str, Fact]

    def encode(self) -> bytes:
        facts: dict[str, Json] = {
            name: [*value] if isinstance(value, list) else value for name, value in self.facts.items()
        }
        return canonical.encode(
            {
                "v": 1,
                "command": str(self.command_id),
                "command_sha256": self.command_sha256.hex(),
                "host": str(self.host_id),
                "outcome": self.outcome.value,
                "detail": self.detail,
                "time": clock.text(self.time),
                "facts": facts,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "CommandResult":
        """Raises Malformed."""
        if len(data) > MAX_RESULT_BYTES:
            raise Malformed("command result", f"larger than {MAX_RESULT_BYTES} bytes")
        fields = Fields(canonical.parse(data, "command result"), "command result")
        fields.version()
        result = cls(
            command_id=CommandId.parse(fields.text("command")),
            command_sha256=fields.hex("command_sha256", 32),
            host_id=HostId.parse(fields.text("host")),
            outcome=Outcome(fields.choice("outcome", list(Outcome))),
            detail=fields.text("detail", max_chars=MAX_DETAIL_CHARS),
            time=fields.instant("time"),
            facts={
                _name(name, "command result fact"): _fact(value)
                for name, value in fields.mapping("facts", most=_MOST_FACTS).items()
            },
        )
        fields.done()
        return result


def recorded_as(command: Command) -> tuple[Subject, ...]:
    """Return what an audit record says of a command: its name, action and digest, its claims, and each argument."""
    arguments = (Subject("fact", f"{name}: {value}") for name, value in sorted(command.arguments.items()))
    return *recorded_briefly(command.command_id, command.action, command.digest, command.person), *arguments


def recorded_briefly(command_id: CommandId, action: str, digest: bytes, person: str) -> tuple[Subject, ...]:
    return (
        Subject("command", str(command_id)),
        Subject("action", action),
        Subject("digest", digest.hex()),
        # Whoever signs can write any name there, so it is never a participant.
        Subject("fact", f"claimed author: {person}"),
    )


def arguments_of(command: Command) -> tuple[CommandAction, Mapping[str, Argument]]:
    """Return what to do, each argument there and of its type. Raises ActionUnknown, Malformed."""
    try:
        action = CommandAction(command.action)
    except ValueError as exc:
        raise ActionUnknown(command.action) from exc
    fields = Fields(dict(command.arguments), f"arguments of {action}")
    arguments = {name: parameter.take(fields, name) for name, parameter in ARGUMENTS[action].items()}
    fields.done()
    return action, arguments


def parts_of(arguments: Mapping[str, Argument]) -> tuple[str, ...]:
    """Return the layers that `set-layers` names besides the organisation's. Raises Malformed."""
    site, modality_type = (str(arguments[name]) or None for name in ("site", "modality_type"))
    return named_parts(site=site, modality_type=modality_type)


def sign_command(command: Command, signers: Sequence[EvidenceSigner]) -> SignedCommand:
    return SignedCommand.signed(command.encode(), signers)


def verify_command(offered: SignedCommand, signatories: Signatories) -> Command:
    """Return the command once every signature on it is one of `signatories`' and there are enough of them.

    Raises SignerUnknown, SignatureInvalid, TooFewSignatures, Malformed.
    """
    signers = offered.verified(signatories)
    if len(signers) < signatories.threshold:
        raise TooFewSignatures(given=len(signers), needed=signatories.threshold)
    return offered.claimed


def sign_result(result: CommandResult, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.COMMAND_RESULT, result.encode())


def verify_result(signed: bytes, key: EvidencePublicKey) -> CommandResult:
    """Raises Malformed, WrongSigner, SignatureInvalid. Whether it is of a command of ours is the caller's to judge."""
    return CommandResult.parse(verify_statement(signed, Label.COMMAND_RESULT, key))


def encode_commands(envelopes: Sequence[bytes]) -> bytes:
    """Return what the hosts' door answers when a host asks for its commands."""
    return canonical.encode({"v": 1, "commands": [encode_base64(one) for one in envelopes]})


def parse_commands(data: bytes) -> tuple[bytes, ...]:
    """Return the envelopes of such an answer, none of them read yet. Raises Malformed."""
    fields = Fields(canonical.parse(data, "list of commands"), "list of commands")
    fields.version()
    listed = fields.items("commands", most=MAX_LISTED)
    fields.done()
    return tuple(decode_base64(one, "list of commands", MAX_ENVELOPE_BYTES) for one in listed)


def _name(name: str, what: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise Malformed(what, f"expected a name matching {_NAME}")
    return name


def _argument(value: Json) -> Argument:
    if isinstance(value, bool | int) or (isinstance(value, str) and _TEXT.fullmatch(value)):
        return value
    raise Malformed("command argument", "expected a flag, a whole number or at most 300 characters of text")


def _fact(value: Json) -> Fact:
    if isinstance(value, bool | int) or (isinstance(value, str) and _TEXT.fullmatch(value)):
        return value
    if isinstance(value, list) and len(value) <= _MOST_LISTED_FACTS:
        texts = [one for one in value if isinstance(one, str) and _TEXT.fullmatch(one)]
        if len(texts) == len(value):
            return texts
    raise Malformed("command result fact", "expected a flag, a whole number, text, or a list of at most 100 texts")
