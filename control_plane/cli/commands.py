"""Commands to hosts. Each is drawn up and signed here, on the person's machine, with the key in the credential."""

import json
import re
import secrets
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from control_plane.cli.people import door
from control_plane.durable import write_new
from control_plane.policy.authoring import load_credential
from control_plane.policy.evidence import PersonSigner
from shared import clock as clocks
from shared.canonical import Json
from shared.clock import Clock, SystemClock
from shared.envelope import MAX_ENVELOPE_BYTES
from shared.errors import Malformed, Refused
from shared.fields import encode_base64
from shared.fleet.command import ARGUMENTS, Argument, Command, CommandAction, SignedCommand, arguments_of, sign_command
from shared.identity import CommandId, HostId, RandomBytes

_DURATION = re.compile(r"([1-9][0-9]{0,4})(m|h)")
_PROTECTS_NOTHING = (
    "an isolated host takes nothing in: its modalities fall back to what they do without Leadglass, and what they make "
    "is not protected until `rejoin`; say --yes to isolate it"
)


class NotConfirmed(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(why)


def issue(options: Namespace) -> int:
    action = CommandAction(options.action)
    if action is CommandAction.ISOLATE and not options.yes:
        raise NotConfirmed(_PROTECTS_NOTHING)
    credential, given = load_credential(options.credential), _arguments(action, options.argument)
    command = draw_up(credential.person, HostId.parse(options.host), action, given, lasts(options.lasts), SystemClock())
    return send_or_keep(options, sign_command(command, [PersonSigner(credential.signer)]))


def sign(options: Namespace) -> int:
    """Add one's own signature to a command that somebody else drew up."""
    credential = load_credential(options.credential)
    with options.file.open("rb") as file:
        offered = SignedCommand.parse(file.read(MAX_ENVELOPE_BYTES + 1))
    command = offered.claimed
    action, arguments = arguments_of(command)
    if not options.yes:
        raise NotConfirmed(
            f"it has {command.host_id} do {action} {dict(arguments) or ''} until {clocks.text(command.expires)}, and "
            f"says that {command.person} drew it up; say --yes to sign it"
        )
    return send_or_keep(options, offered.countersigned(PersonSigner(credential.signer)))


def show(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/commands", {"host": options.host, "command": options.command})
    return _tell(options, answer["commands"])


def draw_up(
    person: str,
    host_id: HostId,
    action: CommandAction,
    arguments: Mapping[str, Argument],
    life: timedelta,
    clock: Clock,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> Command:
    """Return a command that a host takes once, from now on and until `life` is over. Raises Malformed."""
    now = clock.now()
    command = Command(CommandId.new(random_bytes), host_id, action.value, arguments, now, now + life, person)
    arguments_of(Command.parse(command.encode()))
    return command


def lasts(text: str) -> timedelta:
    """Read a length of time such as 30m or 2h. Raises Malformed."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Malformed("--lasts", "expected minutes or hours, such as 30m or 2h")
    return timedelta(minutes=int(found[1])) if found[2] == "m" else timedelta(hours=int(found[1]))


def line_of(command: Mapping[str, Any]) -> str:
    """Return a command in one line."""
    detail = f"; {command['detail']}" if command["detail"] else ""
    return (
        f"{command['command']} {command['state']}: {command['action']} on {command['asset']} ({command['host']}), "
        f"issued by {command['person']} at {command['issued']}, until {command['expires']}{detail}"
    )


def _arguments(action: CommandAction, given: Sequence[str]) -> Mapping[str, Argument]:
    arguments = {name: parameter.default for name, parameter in ARGUMENTS[action].items()}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or name not in arguments:
            known = ", ".join(f"{name}=..." for name in arguments) or "none"
            raise Malformed("--argument", f"{action} takes {known}")
        arguments[name] = _read(arguments[name], name, value)
    return arguments


def _read(default: Argument, name: str, value: str) -> Argument:
    readers: dict[type, Callable[[str], Argument]] = {bool: _flag, int: _number, str: str}
    try:
        return readers[type(default)](value)
    except ValueError as exc:
        raise Malformed("--argument", f"{name} takes {exc}") from exc


def _flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("true or false")
    return value == "true"


def _number(value: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,14}", value):
        raise ValueError("a whole number")
    return int(value)


def send_or_keep(options: Namespace, signed: SignedCommand) -> int:
    out: Path | None = options.out
    if out is not None:
        write_new(out, signed.encode())
        print(f"{out}: {len(signed.statements)} signatures; the next person signs it with `command-sign`")
        return 0
    body: dict[str, Json] = {"signed": encode_base64(signed.encode())}
    answer: Any = door(options).post("/api/v1/commands", body)
    return _tell(options, answer["commands"])


def _tell(options: Namespace, commands: Sequence[Mapping[str, Any]]) -> int:
    if options.json:
        print(json.dumps(commands, indent=2))
        return 0
    for command in commands:
        print(line_of(command))
    if len(commands) == 1:
        for name, value in commands[0]["facts"].items():
            for line in value if isinstance(value, list) else [value]:
                print(f"    {name:20} {line}")
    if not commands:
        print("no command was issued")
    return 0
