"""The step that puts Leadglass into place, and what of it follows enrolment: whom the agent may talk to, its start."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path

from edge_agent.settings_file.chosen import named_folder
from edge_agent.settings_file.document import FILE, AgentSettings, parse
from provisioning.files import system_files
from provisioning.finding import Finding, Verdict
from provisioning.install.installer import Choice, Installer, program_data
from provisioning.install.item import Part
from provisioning.install.plan import RESTART
from provisioning.install.system import RunningSystem
from provisioning.install.wanted import GUARD_UNIT
from provisioning.site import Site
from provisioning.visit.step import Context


class Install:
    name = "install"
    advised: Collection[str] = ()

    def run(self, context: Context) -> Sequence[Finding]:
        return [*installed(context.places.root, _choice(context.site))]


def installed(root: Path, choice: Choice) -> Sequence[Finding]:
    """Have everything in place that was chosen, and running that may run. Raises what `Installer` does."""
    installer = Installer(program_data(system_files()), root, sys=root / "sys")
    plan = installer.plan(choice)
    installer.apply(plan)
    units = installer.to_start()
    installer.start(units)
    changed = f"{len(plan.changes)} changes made" if plan.changes else "everything is as it has to be"
    found = [Finding("files", Verdict.PASS, changed), *_settings(installer.settings(), choice.settings)]
    return [*found, Finding("services", Verdict.PASS, f"started: {', '.join(units)}")] if units else found


def _settings(there: AgentSettings | None, said: AgentSettings) -> Sequence[Finding]:
    """Say where settings that were there already differ from what is said now; a visit changes none of them."""
    if there is None or there == said:
        return []
    differing = [one.name for one in fields(said) if getattr(there, one.name) != getattr(said, one.name)]
    reason = f"{FILE} was there and stays; in it is other than this visit says: {', '.join(differing)}"
    return [Finding("settings", Verdict.FAIL, reason, "change it there, or say it here as it stands there")]


def after_enrolment(context: Context) -> Sequence[Finding]:
    """Complete what was installed before this host had an identity; nothing where nothing was."""
    installer = Installer(program_data(system_files()), context.places.root)
    if Part.AGENT in installer.files.noted().parts:
        return installed(context.places.root, _choice(context.site))
    reason = "it was not installed by `leadglass-provision install`, so nobody started it here"
    return [Finding("services", Verdict.NOT_EVALUATED, reason, "start it, or run `leadglass-provision visit`")]


def deny(context: Context) -> Sequence[Finding]:
    """Have the kernel deny by default and the guard run. Raises ConsoleNotProved before anything is changed."""
    choice = _choice(context.site, Part.DENIAL)
    reason = "denied by default from the next start of this machine on, and the guard runs"
    return [*installed(context.places.root, choice), Finding("denial", Verdict.PASS, reason)]


def restart_guard(root: Path) -> None:
    """Have a guard that runs take up what was pinned. Raises ProgramFailed."""
    if root == Path("/"):
        RunningSystem().act(f"{RESTART} {GUARD_UNIT}")


def _choice(site: Site, *more: Part) -> Choice:
    """Raises Malformed."""
    parts = {Part.AGENT, *more}
    if site.guard:
        parts |= {Part.GUARD, Part.SIDECAR} if site.sidecar else {Part.GUARD}
    settings = AgentSettings(
        dicom_host=site.dicom_host,
        dicom_port=site.dicom_port,
        dicom_tls_port=site.dicom_tls_port,
        ae_title=site.ae_title,
        modalities=site.modalities,
        archives=site.archives,
        export_folders=tuple(map(named_folder, site.export_folders)),
    )
    read = parse(settings.text().encode(), "the new agent.toml")
    return Choice(frozenset(parts), read, no_usb_console=site.no_usb_console)
