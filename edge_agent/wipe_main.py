"""leadglass-wipe: wipes a drive of this machine by a ticket, and leaves what proves it.

Its exit codes (exit_codes.py): 0 done, 1 refused or not wiped, 2 usage or bad input, 3 something it needs does not
answer.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_DESCRIPTION = """\
Leadglass wipe: wipes a drive of this machine by a ticket that people signed, and leaves a signed report of it.

In a terminal, as root; it leads from the ticket to the result:
  leadglass-wipe
  leadglass-wipe --ticket FILE        a ticket that somebody brought: a file, or the text of its QR codes

Beside that:
  leadglass-wipe drives               which drives are here
  leadglass-wipe verify-ticket FILE   whether a ticket holds here and now
  leadglass-wipe status               what was begun here, and what came of it
  leadglass-wipe resume [TICKET]      bring to an end what was cut short
  leadglass-wipe report TICKET --qr   the signed report, for a machine without a network
"""

_EPILOG = "exit codes: 0 done, 1 refused or not wiped, 2 usage or bad input, 3 something it needs does not answer"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = command_line().parse_args(argv)
    # Imported here so that --help answers at once.
    from edge_agent.exit_codes import exit_code

    return exit_code(lambda: arguments.act(arguments), program="leadglass-wipe", failed="wipe.failed")


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "leadglass-wipe",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, place, what in (
        ("--state", "/var/lib/leadglass-wipe", "its folder"),
        ("--guard-state", "/var/lib/leadglass-guard", "the device guard's folder, whose policy counts"),
        ("--agent-data", "/var/lib/leadglass", "the agent's folder, with this host's evidence key"),
    ):
        parser.add_argument(name, type=Path, default=Path(place), metavar="DIR", help=f"{what} (%(default)s)")
    parser.add_argument("--language", choices=("en", "zh"), help="of the screens, instead of that of the terminal")
    parser.add_argument("--ticket", type=Path, metavar="FILE", help="a ticket, or the text of its QR codes")
    parser.set_defaults(act=_screens)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, what, add in (
        ("drives", "which drives are here; never a name of a volume", _add_drives),
        ("status", "what was begun here, and what came of it", _add_status),
        ("verify-ticket", "whether a ticket holds on this host, now", _add_verify_ticket),
        ("resume", "bring to an end what was cut short", _add_resume),
        ("report", "the signed report of a ticket", _add_report),
    ):
        add(commands.add_parser(name, help=what, epilog=_EPILOG))
    return parser


def _add_drives(parser: argparse.ArgumentParser) -> None:
    _add_json(parser)
    parser.set_defaults(act=_drives)


def _add_status(parser: argparse.ArgumentParser) -> None:
    _add_json(parser)
    parser.set_defaults(act=_status)


def _add_verify_ticket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a ticket, or the text of its QR codes")
    parser.set_defaults(act=_verify_ticket)


def _add_resume(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "of", nargs="?", metavar="TICKET", help="which, where there are several (its id or how it begins)"
    )
    parser.set_defaults(act=_resume)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("of", metavar="TICKET", help="its id, or how it begins")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--out", type=Path, metavar="FILE", help="write it there; `leadglass-server wipe import` takes it")
    how.add_argument("--qr", action="store_true", help="show it as QR codes, and the text of each")
    parser.set_defaults(act=_report)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")


def _screens(arguments: argparse.Namespace) -> int:
    from edge_agent.sanitize.terminal.program import Places, screens

    return screens(Places.of(arguments), arguments.language, arguments.ticket)


def _resume(arguments: argparse.Namespace) -> int:
    from edge_agent.sanitize.terminal.program import Places, resume

    return resume(Places.of(arguments), arguments.language, arguments.of)


def _drives(arguments: argparse.Namespace) -> int:
    from edge_agent.sanitize.terminal.program import drives

    return drives(as_json=arguments.json)


def _status(arguments: argparse.Namespace) -> int:
    from edge_agent.sanitize.terminal.program import Places, status

    return status(Places.of(arguments), as_json=arguments.json)


def _verify_ticket(arguments: argparse.Namespace) -> int:
    from edge_agent.sanitize.terminal.program import Places, verify_ticket

    return verify_ticket(Places.of(arguments), arguments.file)


def _report(arguments: argparse.Namespace) -> int:
    from edge_agent.sanitize.terminal.program import Places, report

    return report(Places.of(arguments), arguments.of, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
