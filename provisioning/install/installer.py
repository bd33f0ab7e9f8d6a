"""Installs Leadglass on a host and takes it away again: looks, has it planned, writes it down, does it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.config import AgentFolder, HostConfig, load_config
from edge_agent.devices.command_line import authorized_default
from edge_agent.settings_file.document import FILE, MAX_BYTES, AgentSettings
from edge_agent.settings_file.document import parse as parse_settings
from provisioning.finding import Finding, Verdict
from provisioning.install import addresses, console
from provisioning.install import wanted as catalogue
from provisioning.install.item import Kind, Part, Wanted
from provisioning.install.local import COMMAND_LINE, LocalFiles
from provisioning.install.noted import Installed
from provisioning.install.plan import RESTART, Plan, Step, folders_above, plan_install
from provisioning.install.resolve import resolve
from provisioning.install.system import RunningSystem, System, SystemBelow, has_program
from shared.errors import Refused

Resolve = Callable[[Sequence[addresses.Peer]], dict[str, tuple[str, ...]]]
_ROOT = Path("/")
_AS_USUAL = AgentSettings()


class InTheWay(Refused):
    """Nothing was changed."""

    def __init__(self, conflicts: Sequence[Step]) -> None:
        named = "".join(f"\n  {step.path}: {step.why}" for step in conflicts)
        super().__init__(
            f"what is there is not ours to overwrite:{named}\nmove it away, or run this with --replace, "
            "which keeps a copy and puts it back on uninstalling"
        )
        self.conflicts = tuple(conflicts)


class ConsoleNotProved(Refused):
    def __init__(self, findings: Sequence[Finding]) -> None:
        failed = [found for found in findings if found.verdict is Verdict.FAIL]
        named = "".join(f"\n  {found.check}: {found.reason}; do: {found.fix}" for found in failed)
        super().__init__(f"nothing is denied before this machine's console is proved to work without the guard:{named}")
        self.findings = tuple(findings)


class NotInstalled(Refused):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not installed on this host; run `leadglass-provision install` first")


class OtherDataFolder(Refused):
    """Nothing was changed: units that know one folder alone would start no agent in another, and say nothing of it."""

    def __init__(self, data: str) -> None:
        super().__init__(
            f"{FILE} names the data folder {data}, and the services know {AgentSettings().data} alone: name that one, "
            "and mount the disk that is to hold it there"
        )
        self.data = data


@dataclass(frozen=True)
class Choice:
    """What somebody wants installed beside what is installed already. `settings` are those of a new agent.toml."""

    parts: frozenset[Part] = frozenset({Part.AGENT})
    settings: AgentSettings = _AS_USUAL
    replacing: bool = False
    no_usb_console: bool = False
    following: bool = False  # nobody is here to confirm where the centre is


class Installer:
    """`data` are the files of `systemd/`, by their path there; `resolve` asks for the addresses of names."""

    def __init__(
        self,
        data: catalogue.ProgramData,
        root: Path = _ROOT,
        system: System | None = None,
        resolve: Resolve = resolve,
        find: Callable[[str], bool] = has_program,
        sys: Path = Path("/sys"),
    ) -> None:
        self.files = LocalFiles(root)
        self._system: System = system or (RunningSystem() if root == _ROOT else SystemBelow(root))
        self._data, self._root, self._resolve, self._find, self._sys = data, root, resolve, find, sys

    # ---- installing

    def plan(self, choice: Choice) -> Plan:
        """Plan so that what was chosen is in place, beside what is already.

        Raises ConsoleNotProved, NoWayToDeny, OtherDataFolder, StrangeDoor, NameNotResolved, Malformed, OtherVersion,
        OSError.
        """
        installed = self.files.noted()
        parts = choice.parts | installed.parts
        if Part.DENIAL in choice.parts - installed.parts:
            self.verify_console(no_usb_console=choice.no_usb_console)
        settings = self.settings() or choice.settings
        if choice.following:
            self._verify_doors(self.host())
        if Part.AGENT in parts and settings.data != AgentSettings().data:
            raise OtherDataFolder(settings.data)
        wanted = self._wanted(parts, settings)
        missing = [name for name in catalogue.accounts(sorted(parts)) if not self.files.is_account(name)]
        there = self.files.there(_all_paths(wanted, installed))
        return plan_install(
            wanted, parts, there, installed, replacing=choice.replacing, missing_accounts=missing
        )  # fmt: skip

    def to_start(self) -> list[str]:
        """Return the units that are to run and do not."""
        parts, units = self.files.noted().parts, []
        if Part.AGENT in parts:
            units += [*catalogue.HOST_TIMERS, *([catalogue.AGENT_UNIT] if self.host() else [])]
        if Part.DENIAL in parts:
            units.append(catalogue.GUARD_UNIT)
        if Part.CENTRE in parts:
            units += catalogue.CENTRE_TIMERS
        return [unit for unit in units if not self._system.is_active(unit)]

    def apply(self, plan: Plan) -> None:
        """Do what the plan says; cut off anywhere, the next one goes on from there.

        Raises InTheWay: nothing was done; CannotChange, ProgramFailed, OSError.
        """
        if plan.conflicts:
            raise InTheWay(plan.conflicts)
        if plan.is_nothing:
            return
        self.files.note(plan.before)
        self.files.sweep(entry.path for entry in plan.before.entries if entry.kind is not Kind.FOLDER)
        for account, file in catalogue.accounts(sorted(plan.before.parts)).items():
            if account in plan.accounts:
                self._make_account(file)
        for step in plan.steps:
            self.files.take(step)
        for action in plan.actions:
            self._system.act(action)
        self.files.note(plan.after)

    def start(self, units: Iterable[str]) -> None:
        """Raises ProgramFailed."""
        for unit in units:
            self._system.start(unit)

    def verify_console(self, *, no_usb_console: bool = False) -> list[Finding]:
        """Return what proves the console. Raises ConsoleNotProved, PinsUnreadable."""
        findings = console.look(self._root, no_usb_console=no_usb_console, sys=self._sys)
        if any(found.verdict is Verdict.FAIL for found in findings):
            raise ConsoleNotProved(findings)
        return findings

    # ---- following enrolment

    def plan_addresses(self, *, following: bool = False) -> Plan:
        """Plan whom the agent may talk to, by what enrolment and settings say now.

        `following`: nobody is here to confirm what enrolment left, so another centre than the one written is none.

        Raises NotInstalled, NameNotResolved, StrangeDoor, IdentityUnreadable, Malformed, OtherVersion, OSError.
        """
        installed, settings, host = self.files.noted(), self.settings(), self.host()
        if settings is None or Part.AGENT not in installed.parts:
            raise NotInstalled("the agent")
        if following:
            self._verify_doors(host)
        wanted = self._addresses(settings, host) if host is not None else []
        there = self.files.there(_all_paths(wanted, installed))
        plan = plan_install(wanted, {Part.ADDRESSES}, there, installed)
        # The new list holds from the reload on, so no association has to end for it.
        actions = tuple(action for action in plan.actions if not action.startswith(RESTART))
        return replace(plan, actions=actions, before=replace(plan.before, pending=actions))

    # ---- what is there

    def settings(self) -> AgentSettings | None:
        """Return what stands in agent.toml, None: there is none. Raises Malformed, OtherVersion, OSError."""
        if not self.files.has(FILE):
            return None
        return parse_settings(self.files.read(FILE)[: MAX_BYTES + 1], FILE)

    def host(self) -> HostConfig | None:
        """Return who this host is, None: it is not enrolled. Raises IdentityUnreadable, Malformed."""
        settings = self.settings() or AgentSettings()
        folder = AgentFolder(self._root / settings.data.lstrip("/"))
        return load_config(folder) if folder.config.is_file() else None

    def _wanted(self, parts: frozenset[Part], settings: AgentSettings) -> list[Wanted]:
        wanted: list[Wanted] = []
        if Part.AGENT in parts:
            host = self.host()
            wanted += catalogue.agent(self._data, settings)
            wanted += self._addresses(settings, host) if host is not None else []
        if Part.GUARD in parts:
            wanted += catalogue.guard(self._data)
        if Part.SIDECAR in parts:
            wanted += catalogue.sidecar(self._data)
        if Part.DENIAL in parts:
            wanted += catalogue.denial(self._data, self._boot())
        if Part.CENTRE in parts:
            wanted += catalogue.centre(self._data)
        return list({item.path: item for item in wanted}.values())

    def _boot(self) -> catalogue.Boot:
        ours = {entry.path for entry in self.files.noted().entries} & {catalogue.GRUB, catalogue.MODPROBE}
        line = self.files.read(COMMAND_LINE) if self.files.has(COMMAND_LINE) else b""
        is_told = not ours and authorized_default(line.decode(errors="replace")) == 0
        return catalogue.Boot(self._find("update-grub"), self._find("update-initramfs"), is_told)

    def _verify_doors(self, host: HostConfig | None) -> None:
        """Raises StrangeDoor."""
        if host is not None and self.files.has(addresses.DROP_IN):
            addresses.verify_confirmed(addresses.doors(host), self.files.read(addresses.DROP_IN).decode())

    def _addresses(self, settings: AgentSettings, host: HostConfig) -> list[Wanted]:
        peers = addresses.peers(settings, host)
        asked = self.files.read("/etc/resolv.conf") if self.files.has("/etc/resolv.conf") else b""
        servers = addresses.name_servers(asked.decode(errors="replace"))
        return [addresses.drop_in(peers, self._resolve(peers), servers)]

    def _make_account(self, file: str) -> None:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="leadglass-") as folder:
            lines = Path(folder) / "account.conf"
            lines.write_bytes(self._data[file])
            self._system.make_accounts(lines)


def program_data(folder: Path) -> dict[str, bytes]:
    """Return the files of a `systemd/` folder by their path in it. Raises OSError."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _all_paths(wanted: Sequence[Wanted], installed: Installed) -> list[str]:
    paths = [*(item.path for item in wanted), *(entry.path for entry in installed.entries)]
    return [*folders_above(paths), *paths]
