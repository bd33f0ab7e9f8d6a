"""leadglass-guard: nothing plugs into a modality host unseen or unallowed.

Its exit codes (exit_codes.py): 0 done, 1 refused, 2 usage or bad input, 3 something it needs does not answer.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """\
Leadglass device guard: decides by signed policy which USB devices a modality host uses, and records all that happens.

Before it is put to use, at the machine and with its keyboard attached:
  leadglass-guard pin-console
  leadglass-guard trust --agent-data /var/lib/leadglass

What is attached, what became of it and why:
  leadglass-guard devices
  leadglass-guard explain 1-2.4
  leadglass-guard records

Writing rules for it:
  leadglass-guard learn > rules.txt
  leadglass-guard simulate rules.txt

Everybody at the machine may run `leadglass-guard tell`.
"""

_EPILOG = "exit codes: 0 done, 1 refused, 2 usage or bad input, 3 something it needs does not answer"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command_line().parse_args(argv)
    # Imported here so that --help answers at once.
    from edge_agent.exit_codes import exit_code

    return exit_code(
        lambda: arguments.act(arguments), program=f"leadglass-guard {arguments.command}", failed="guard.failed"
    )


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "leadglass-guard",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what, add in (
        ("run", "guard this machine until SIGTERM (as root)", _add_run),
        ("devices", "what is attached, the verdicts, and whether they are enforced", _add_devices),
        ("explain", "why the device in a port is treated as it is", _add_explain),
        ("records", "what the guard wrote down", _add_records),
        ("learn", "print a rule for each device that is attached now", _add_learn),
        ("simulate", "which attached devices other rules would treat differently", _add_simulate),
        ("pin-console", "have this machine's keyboard and pointer work without the guard (as root)", _add_pin_console),
        ("trust", "pin whose policy the guard follows (as root)", _add_trust),
        ("tell", "what the people at the machine are told", _add_tell),
    ):
        add(commands.add_parser(name, help=what, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_state(parser)
    _add_socket(parser)
    _add_roots(parser)
    parser.add_argument("--agent-user", metavar="ACCOUNT", help="the agent's account, which may ask at the socket")
    parser.add_argument(
        "--sidecar",
        action="store_true",
        help="this is a box beside the modality: the modality's own ports are reported as not evaluated",
    )
    parser.set_defaults(act=_run)


def _add_devices(parser: argparse.ArgumentParser) -> None:
    _add_socket(parser)
    parser.add_argument("--json", action="store_true", help="the whole report as one JSON object instead of text")
    parser.set_defaults(act=_devices)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    _add_socket(parser)
    parser.add_argument("port", metavar="PORT", help="as `devices` shows it, such as 1-2.4")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--language", choices=("en", "zh"), help="of the sentence, instead of the one policy names")
    parser.set_defaults(act=_explain)


def _add_records(parser: argparse.ArgumentParser) -> None:
    _add_socket(parser)
    parser.add_argument(
        "--after", type=int, default=0, metavar="NUMBER", help="only those after this one (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="the records themselves, one a line")
    parser.set_defaults(act=_records)


def _add_learn(parser: argparse.ArgumentParser) -> None:
    _add_roots(parser)
    parser.add_argument(
        "--ports",
        choices=("without-serial", "all", "none"),
        default="without-serial",
        help="which rules hold for one port only: those of devices without a serial, all, or none (%(default)s)",
    )
    parser.add_argument(
        "--no-hashes",
        action="store_true",
        help="leave the hashes out: the rules then hold in any port at any speed, and for a clone",
    )
    parser.set_defaults(act=_learn)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    _add_socket(parser)
    _add_roots(parser)
    parser.add_argument("rules", type=Path, metavar="RULES_FILE", help="rules as `learn` prints them")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    parser.set_defaults(act=_simulate)


def _add_pin_console(parser: argparse.ArgumentParser) -> None:
    from edge_agent.console import commands

    _add_state(parser)
    _add_roots(parser)
    commands.add_arguments(parser)
    parser.description = commands.DESCRIPTION
    parser.set_defaults(act=commands.act)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    _add_state(parser)
    parser.add_argument("--agent-data", type=Path, required=True, metavar="DIR", help="the enrolled agent's folder")
    parser.add_argument(
        "--replace", metavar="FINGERPRINT", help="follow another root than the one pinned, which is named by this"
    )
    parser.add_argument("--expect", metavar="FINGERPRINT", help="pin this root, as the administrator named it, or none")
    parser.set_defaults(act=_trust)


def _add_tell(parser: argparse.ArgumentParser) -> None:
    from edge_agent.notices import commands

    commands.add_arguments(parser)
    parser.description = commands.DESCRIPTION
    parser.set_defaults(act=commands.act)


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, default=Path("/var/lib/leadglass-guard"), metavar="DIR", help="its folder (%(default)s)"
    )


def _add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket",
        type=Path,
        default=Path("/run/leadglass-guard/guard.sock"),
        metavar="PATH",
        help="where it is asked (%(default)s)",
    )


def _add_roots(parser: argparse.ArgumentParser) -> None:
    for name in ("sys", "proc"):
        parser.add_argument(f"--{name}", type=Path, default=Path(f"/{name}"), help=argparse.SUPPRESS)


def _run(arguments: argparse.Namespace) -> None:
    from edge_agent.guard import run
    from edge_agent.guard_options import RunOptions

    run(
        RunOptions(
            arguments.state.absolute(),
            arguments.socket.absolute(),
            arguments.agent_user,
            arguments.sidecar,
            arguments.sys,
            arguments.proc,
        )
    )


def _devices(arguments: argparse.Namespace) -> None:
    from edge_agent.guard_commands.asking import devices
    from edge_agent.link.client import GuardClient

    with GuardClient(arguments.socket) as guard:
        devices(guard, as_json=arguments.json)


def _explain(arguments: argparse.Namespace) -> None:
    from edge_agent.guard_commands.asking import explain
    from edge_agent.link.client import GuardClient

    with GuardClient(arguments.socket) as guard:
        explain(guard, arguments.port, arguments.language or "", as_json=arguments.json)


def _records(arguments: argparse.Namespace) -> None:
    from edge_agent.guard_commands.asking import records
    from edge_agent.link.client import GuardClient

    with GuardClient(arguments.socket) as guard:
        records(guard, arguments.after, as_json=arguments.json)


def _learn(arguments: argparse.Namespace) -> None:
    from edge_agent.guard_commands.rules import learn
    from shared.devices.learn import Ports

    ports = {"without-serial": Ports.WITHOUT_SERIAL, "all": Ports.ALL, "none": Ports.NONE}[arguments.ports]
    learn(arguments.sys, arguments.proc, ports, hashes=not arguments.no_hashes)


def _simulate(arguments: argparse.Namespace) -> None:
    from edge_agent.guard_commands.rules import simulate
    from edge_agent.link.client import GuardClient

    with GuardClient(arguments.socket) as guard:
        simulate(guard, arguments.rules, arguments.sys, arguments.proc, as_json=arguments.json)


def _trust(arguments: argparse.Namespace) -> None:
    from edge_agent.usb_policy.commands import trust

    trust(arguments.state.absolute(), arguments.agent_data.absolute(), arguments.replace, arguments.expect)


if __name__ == "__main__":
    sys.exit(main())
