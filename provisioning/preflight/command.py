"""`leadglass-provision preflight`: what a person types, and what it says."""

import argparse

from provisioning import site_options
from provisioning.command import OK, REFUSED, Commands

_DESCRIPTION = """\
Look whether this machine is fit to be a protected host, and change nothing. Exit code 0 only if all that is needed
passed; what is advised makes a host better protected and keeps nobody from going on.
"""


def add_to(commands: Commands) -> None:
    """Add `preflight` to the commands of `leadglass-provision`."""
    parser = commands.add_parser(
        "preflight", help="is this machine fit, and what has to be done about it", description=_DESCRIPTION
    )
    site_options.add_to(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import json

    from provisioning.finding import lines
    from provisioning.preflight.evaluate import evaluate, is_needed
    from provisioning.preflight.look import look
    from provisioning.preflight.machine import Machine
    from provisioning.site import joined
    from shared.clock import SystemClock

    site = joined({"asset": "this host"}, *site_options.given(options))
    judged = evaluate(site, look(site, Machine(options.root), SystemClock()))
    if options.json:
        needed = [one.check for one in judged.findings if is_needed(one)]
        findings = [one.json() for one in judged.findings]
        print(json.dumps({"v": 1, "ready": judged.is_ready, "needed": needed, "findings": findings}))
    else:
        print("\n".join(lines([one for one in judged.findings if is_needed(one)])))
        print("\nadvised:\n" + "\n".join(lines([one for one in judged.findings if not is_needed(one)])))
    return OK if judged.is_ready else REFUSED
