"""`leadglass-provision hand-over`: what was found, signed by this host, as a file and as one page."""

import argparse
from pathlib import Path

from provisioning.command import OK, Commands

_DESCRIPTION = """\
Sign what the steps of the visit found, with this host's own key, and draw one page of it in English and Chinese. A
step of which nothing is given stands there as not evaluated. Whoever has the authority's root certificate checks it
anywhere, without network: leadglass-verify hand-over FILE --root ca.pem
"""


def add_to(commands: Commands) -> None:
    """Add `hand-over` to the commands of `leadglass-provision`."""
    parser = commands.add_parser("hand-over", help="the signed report, as JSON and one page", description=_DESCRIPTION)
    parser.add_argument(
        "--data", type=Path, default=Path("/var/lib/leadglass"), help="the agent's folder (%(default)s)"
    )
    parser.add_argument(
        "--guard-socket",
        type=Path,
        default=Path("/run/leadglass-guard/guard.sock"),
        help="where the guard listens (%(default)s)",
    )
    parser.add_argument(
        "--found",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what a step found, as self-test --out writes it (repeatable)",
    )
    parser.add_argument("--engineer", required=True, metavar="NAME", help="who made the visit")
    parser.add_argument("--received-by", required=True, metavar="NAME", help="who takes the host over")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where both files go (here)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from edge_agent.config import AgentFolder
    from provisioning.finding import Verdict
    from provisioning.handover.hand_over import Persons, make, write
    from provisioning.outcome import MAX_BYTES, Outcome
    from shared.clock import SystemClock

    found = []
    for file in options.found:
        with file.open("rb") as opened:
            found.append(Outcome.parse(opened.read(MAX_BYTES + 1)))
    persons = Persons(options.engineer, options.received_by)
    signed = make(AgentFolder(options.data.absolute()), options.guard_socket, found, persons, SystemClock())
    written = write(signed, options.out)
    counts = ", ".join(f"{signed.report.count(verdict)} {verdict.value}" for verdict in Verdict)
    print(f"{counts}\n{written.json}\n{written.pdf}\nSHA-256 {signed.sha256}")
    return OK
