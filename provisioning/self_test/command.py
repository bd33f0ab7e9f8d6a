"""`leadglass-provision self-test`: an image goes the whole way, and what the host is there for is looked at."""

import argparse
from pathlib import Path

from provisioning.command import OK, REFUSED, Commands

_AS_SETTINGS = ("data", "dicom_host", "dicom_port", "ae_title", "guard_socket")
_DESCRIPTION = """\
Send a phantom, which is nobody's image, to the agent of this host, as a modality would, and follow it: sealed,
delivered, opened at the centre and compared there. Beside it: keys, certificate, policy, clock, device guard. As root,
with the agent running. Made again it is a new test. Exit code 0 only if nothing failed; what was not evaluated is said.
"""


def add_to(commands: Commands) -> None:
    """Add `self-test` to the commands of `leadglass-provision`."""
    parser = commands.add_parser(
        "self-test", help="does it work, from the modality to the centre", description=_DESCRIPTION
    )
    parser.add_argument(
        "--config", type=Path, default=Path("/etc/leadglass/agent.toml"), help="the agent's settings (%(default)s)"
    )
    parser.add_argument("--data", help="the agent's folder, instead of the one in the settings")
    parser.add_argument("--dicom-host", help="where the agent listens, instead of what the settings say")
    parser.add_argument("--dicom-port", type=int, help="its port, likewise")
    parser.add_argument("--ae-title", help="its AE title, likewise")
    parser.add_argument("--guard-socket", help="where the guard listens, likewise")
    parser.add_argument(
        "--guard",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="this host has the device guard (by default: if it is put to use)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for each thing to happen (%(default)s)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write what was found there too, for hand-over")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from edge_agent.config import AgentFolder
    from edge_agent.link.client import GuardClient
    from edge_agent.settings_file.chosen import load
    from edge_agent.settings_file.document import AgentSettings
    from provisioning.finding import lines
    from provisioning.self_test.device import is_put_to_use
    from provisioning.self_test.needed import unproved
    from provisioning.self_test.patience import Patience
    from provisioning.self_test.run import Context, run
    from provisioning.self_test.sending import AgentPort
    from shared.clock import SystemClock

    settings = load(options.config) if options.config.exists() else AgentSettings()
    given = {name: getattr(options, name) for name in _AS_SETTINGS if getattr(options, name) is not None}
    settings = replace(settings, **given)
    socket = Path(settings.guard_socket)
    context = Context(
        AgentFolder(Path(settings.data).absolute()),
        AgentPort(settings.dicom_host, settings.dicom_port, settings.ae_title),
        SystemClock(),
        has_guard=is_put_to_use(Path("/"), socket) if options.guard is None else options.guard,
        guard=lambda: GuardClient(socket),
        patience=Patience(options.wait),
    )
    step = run(context)
    if options.out is not None:
        options.out.write_bytes(step.encode())
    print(step.encode().decode() if options.json else "\n".join(lines(step.findings)))
    return REFUSED if unproved(step.findings, has_guard=context.has_guard) else OK
