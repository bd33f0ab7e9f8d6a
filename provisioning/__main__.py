"""`leadglass-provision`: the field engineer's tool.

The only place of exit codes: 0 done, 1 refused or not well, 2 bad input, 3 something it needs does not answer.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from provisioning import VERSION
from provisioning.broker import command as broker
from provisioning.bundle import command as bundle
from provisioning.command import BAD_INPUT, REFUSED, UNAVAILABLE
from provisioning.completion import command as completion
from provisioning.handover import command as hand_over
from provisioning.install import command as install
from provisioning.preflight import command as preflight
from provisioning.self_test import command as self_test
from provisioning.visit import command as visit
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable

_DESCRIPTION = "The field engineer's tool: brings a host under protection, proves it, and hands it over."
_EPILOG = "exit codes: 0 done, 1 refused or not well, 2 bad input, 3 something it needs does not answer"
_COMMANDS = (visit, preflight, install, self_test, hand_over, bundle, broker, completion)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = command_line().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except Malformed as exc:
        return _say(str(exc), BAD_INPUT)
    except (Refused, IntegrityFailure) as exc:
        return _say(str(exc), REFUSED)
    except Unavailable as exc:
        return _say(str(exc), UNAVAILABLE)
    except KeyboardInterrupt:
        return _say("stopped; the same command goes on, or begins again", REFUSED)
    except OSError as exc:
        return _say(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc), BAD_INPUT)


def _say(message: str, code: int) -> int:
    print(f"leadglass-provision: {message}", file=sys.stderr)
    return code


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leadglass-provision", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
