"""`leadglass-provision install`, `uninstall`, `addresses` and `migrate`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.command import OK, Commands

if TYPE_CHECKING:
    from edge_agent.settings_file.document import AgentSettings
    from provisioning.install.installer import Choice, Installer

_INSTALL = """\
Put Leadglass into place on this host: account, folders, units of systemd, settings, and with --guard the device guard.
Run it again to complete it, to change it, or after an upgrade: it changes what is not as it has to be, nothing else.
"""
_DENY = """\
nothing on the USB is authorised by itself any more, from the next start of this machine on; refused before
`leadglass-guard pin-console` has proved that keyboard and mouse work without the guard"""
_UNINSTALL = "Take away what `install` put into place, as it noted it. Identity, spool and changed files stay."
_ADDRESSES = """\
Write down whom the agent's service may talk to: the centre as enrolment noted it, and what agent.toml names.
Names are resolved now, and again by leadglass-addresses.timer.
"""


def add_to(commands: Commands) -> None:
    """Add the commands of this package to those of `leadglass-provision`."""
    install = commands.add_parser("install", help="put Leadglass into place on this host", description=_INSTALL)
    install.add_argument("--guard", action="store_true", help="the device guard too; it denies nothing by itself yet")
    install.add_argument("--sidecar", action="store_true", help="this is a box beside the modality (with --guard)")
    install.add_argument("--deny-by-default", action="store_true", help=_DENY)
    install.add_argument(
        "--no-usb-console", action="store_true", help="this machine has no keyboard and no mouse on the USB, ever"
    )
    install.add_argument("--centre", action="store_true", help="the control plane's service instead of an agent")
    install.add_argument(
        "--replace", action="store_true", help="what somebody else put in the way; a copy is kept and put back"
    )
    install.add_argument(
        "--refresh", action="store_true", help="what is placed already as this version has it; starts nothing"
    )
    _settings(install)
    _common(install)
    install.set_defaults(run=_install)

    uninstall = commands.add_parser(
        "uninstall", help="take away what `install` put into place, and say what stays", description=_UNINSTALL
    )
    uninstall.add_argument(
        "--erase-identity", action="store_true",
        help="identity, journal and spool too; refused while an image or audit record waits that nobody else has",
    )  # fmt: skip
    uninstall.add_argument("--erase-guard-records", action="store_true", help="the guard's trust and records too")
    uninstall.add_argument("--erase-changed", action="store_true", help="files too that somebody changed since")
    _common(uninstall)
    uninstall.set_defaults(run=_uninstall)

    addresses = commands.add_parser(
        "addresses", help="write down whom the agent may talk to, after enrolment", description=_ADDRESSES
    )
    addresses.add_argument("--follow", action="store_true", help="names that are written already, and no other centre")
    _common(addresses)
    addresses.set_defaults(run=_addresses)

    migrate = commands.add_parser("migrate", help="change agent.toml to the version that this program reads")
    _common(migrate)
    migrate.set_defaults(run=_migrate)


def _settings(install: argparse.ArgumentParser) -> None:
    new = install.add_argument_group("settings of a new agent.toml; one that is there stays as it is")
    new.add_argument("--dicom-host", metavar="ADDRESS", help="where modalities reach this host [127.0.0.1]")
    new.add_argument("--dicom-port", type=int, metavar="PORT", help="[11112]")
    new.add_argument("--dicom-tls-port", type=int, metavar="PORT", help="DICOM over TLS too")
    new.add_argument("--ae-title", metavar="TITLE", help="our own AE title [LEADGLASS]")
    new.add_argument(
        "--modalities", action="append", default=[], metavar="NETWORK", help="where they are: 10.1.2.0/24 (repeatable)"
    )
    new.add_argument(
        "--archive", action="append", default=[], metavar="ADDRESS",
        help="an archive that this host forwards to (repeatable)",
    )  # fmt: skip
    new.add_argument(
        "--export-folder", action="append", default=[], metavar="AE_TITLE=PATH", help="(repeatable)"
    )  # fmt: skip


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="print every change, and make none")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="for tests: the host's files lie there"
    )


def _installer(options: argparse.Namespace) -> "Installer":
    from provisioning.files import system_files
    from provisioning.install.installer import Installer, program_data

    return Installer(program_data(system_files()), options.root)


def _install(options: argparse.Namespace) -> int:
    installer = _installer(options)
    plan = installer.plan(_choice(options))
    for line in plan.lines():
        print(line)
    if options.dry_run:
        print("nothing was changed" if not plan.is_nothing else "everything is as it has to be")
        return OK
    installer.apply(plan)
    units = [] if options.refresh else installer.to_start()
    installer.start(units)
    for unit in units:
        print(f"start     {unit}")
    print("everything is as it has to be")
    if not options.centre and installer.host() is None:
        print("next: enrol this host; its agent starts after that")
    return OK


def _uninstall(options: argparse.Namespace) -> int:
    from provisioning.install.remover import Erasing, Remover

    remover = Remover(options.root)
    erasing = Erasing(options.erase_identity, options.erase_guard_records, options.erase_changed)
    for line in remover.plan(erasing).lines():
        print(line)
    if options.dry_run:
        for line in remover.foreseen(erasing):
            print(line)
        print("nothing was changed")
        return OK
    left = remover.apply(erasing)
    for line in left:
        print(f"left: {line}")
    if not left:
        print("nothing is left")
    return OK


def _addresses(options: argparse.Namespace) -> int:
    installer = _installer(options)
    plan = installer.plan_addresses(following=options.follow)
    for line in plan.lines():
        print(line)
    for step in plan.changes:
        if step.wanted is not None and step.wanted.content:
            print(step.wanted.content.decode(), end="")
    if not options.dry_run:
        installer.apply(plan)
    if installer.host() is None:
        print("this host is not enrolled; its agent may talk to this machine alone until it is")
    return OK


def _migrate(options: argparse.Namespace) -> int:
    from provisioning.install.migration import migrate_file

    for line in migrate_file(options.root, dry=options.dry_run):
        print(line)
    return OK


def _choice(options: argparse.Namespace) -> "Choice":
    from provisioning.install.installer import Choice
    from provisioning.install.item import Part

    asked = {Part.GUARD: options.guard, Part.SIDECAR: options.sidecar, Part.DENIAL: options.deny_by_default}
    parts = {part for part, is_asked in asked.items() if is_asked}
    if parts:
        parts.add(Part.GUARD)
    if not options.refresh:
        parts.add(Part.CENTRE if options.centre else Part.AGENT)
    return Choice(frozenset(parts), _new_settings(options), options.replace, options.no_usb_console, options.refresh)


def _new_settings(options: argparse.Namespace) -> "AgentSettings":
    """Raises Malformed."""
    from dataclasses import replace

    from edge_agent.settings_file.chosen import named_folder
    from edge_agent.settings_file.document import AgentSettings, parse

    names = ("dicom_host", "dicom_port", "dicom_tls_port", "ae_title")
    settings = replace(
        AgentSettings(),
        modalities=tuple(options.modalities),
        archives=tuple(options.archive),
        export_folders=tuple(map(named_folder, options.export_folder)),
        **{name: getattr(options, name) for name in names if getattr(options, name) is not None},
    )
    return parse(settings.text().encode(), "the new agent.toml")
