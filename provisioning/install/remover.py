"""Takes Leadglass away from a host again, and says what it leaves: never an image that nobody else has."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.config import AgentFolder
from edge_agent.console.initramfs import rebuild
from edge_agent.console.pinned import load_pins
from edge_agent.console.pinning import Machine
from edge_agent.console.pinning import store as store_pins
from edge_agent.console.pins import Pins
from edge_agent.devices.command_line import authorized_default
from edge_agent.health.local import read_status
from edge_agent.settings_file.document import FILE, AgentSettings
from edge_agent.settings_file.document import parse as parse_settings
from provisioning.install import wanted as catalogue
from provisioning.install.item import Part
from provisioning.install.local import COMMAND_LINE, LocalFiles
from provisioning.install.noted import Installed
from provisioning.install.plan import Plan, plan_removal
from provisioning.install.system import RunningSystem, System, SystemBelow
from shared.errors import IntegrityFailure, Refused, Unavailable

_ROOT = Path("/")
_UNIT_ENDS = (".service", ".timer")


class ImagesWait(Refused):
    """Nothing was erased."""

    def __init__(self, folder: str, what: str) -> None:
        super().__init__(
            f"{folder} is not erased: {what}; let the agent deliver it, or take it along with "
            "`leadglass-agent spool export`, and then move the folder away yourself"
        )
        self.folder, self.what = folder, what


_OF_A_STOP = 1
_CHECKS = "/usr/lib/leadglass"  # where the pinned console is checked from
_OF_AGENT = ("identity", "journal", "policy", "spool", "agent.lock", "formats")


@dataclass(frozen=True)
class Erasing:
    """What goes beside what was installed; by itself nothing of it does."""

    identity: bool = False
    guard_records: bool = False
    changed: bool = False


class Remover:
    def __init__(self, root: Path = _ROOT, system: System | None = None, sys: Path = Path("/sys")) -> None:
        self._files, self._root, self._sys = LocalFiles(root), root, sys
        self._system: System = system or (RunningSystem() if root == _ROOT else SystemBelow(root))

    def plan(self, erasing: Erasing) -> Plan:
        """Raises Malformed, OSError."""
        installed = self._files.noted()
        there = self._files.there(entry.path for entry in installed.entries)
        return plan_removal(installed, there, erase_changed=erasing.changed)

    def foreseen(self, erasing: Erasing) -> list[str]:
        """Return what `apply` would leave, and which console it would give up, a line each.

        Raises ImagesWait: it would do nothing; Malformed, OSError.
        """
        installed, data, plan = self._files.noted(), self._data(), self.plan(erasing)
        if erasing.identity:
            self.verify_delivered(data)
        erased = {data} if erasing.identity else set[str]()
        if erasing.guard_records:
            erased.add(catalogue.GUARD_STATE)
        folders = (data, catalogue.GUARD_STATE, catalogue.WIPE_STATE, catalogue.CENTRE_DATA)
        stay = [path for path in folders if path not in erased and self._holds(path)]
        lines = [f"left: {step.path}: {step.why}" for step in plan.left]
        lines += [f"left: {self._why_left(path, data)}" for path in stay]
        denying = self._denying(installed, plan)
        if denying is not None:
            return [*lines, f"left: {denying}"]
        if Part.GUARD in installed.parts:
            pins = load_pins(self._at(catalogue.GUARD_STATE)).pins
            lines += [f"unpin     the {pin.role} in port {pin.port}: once nothing denies any more" for pin in pins]
        return lines

    def _holds(self, path: str) -> bool:
        """Return whether there is a file below: of folders alone nothing stays."""
        return any(not below.is_dir() for below in self._at(path).rglob("*"))

    def apply(self, erasing: Erasing) -> list[str]:
        """Take everything away, and return what is left, a line each. Cut off anywhere, the next one goes on.

        Raises ImagesWait: nothing was done; CannotChange, ProgramFailed, Malformed, OSError.
        """
        installed, data = self._files.noted(), self._data()
        if erasing.identity:
            self.verify_delivered(data)
        self._stop(installed)
        if erasing.identity:
            self._erase_identity(installed, data)
        plan = self.plan(erasing)
        self._files.note(plan.before)
        self._files.sweep(entry.path for entry in installed.entries)
        stay, denying = self._take_away(plan, installed, erasing)
        left = [f"{step.path}: {step.why}" for step in plan.left]
        left += [self._why_left(path, data) for path in stay]
        if data not in stay and AgentFolder(self._at(data)).identity.exists():
            left.append(self._why_left(data, data))
        left += self._remove_accounts(installed)
        if Part.GUARD in installed.parts:
            shutil.rmtree(self._at("/run/leadglass-guard"), ignore_errors=True)
        self._settle(plan, installed, stay)
        if denying is not None:
            left.append(denying)
        elif Part.DENIAL in installed.parts:
            left.append("the kernel that runs now still authorises nothing on the USB; the next start ends that")
        return left

    def _take_away(self, plan: Plan, installed: Installed, erasing: Erasing) -> tuple[list[str], str | None]:
        """Return which folders are not empty and stay, and what goes on denying.

        Of the console nothing goes before nothing denies any more, whatever ends this run.
        """
        last = [step for step in plan.changes if f"{catalogue.GUARD_STATE}/".startswith(f"{step.path}/")]
        stay = [step.path for step in plan.changes if step not in last and not self._files.take(step)]
        for action in plan.actions:
            self._system.act(action)
        denying = self._denying(installed, plan)
        if denying is None:
            self._unpin(installed)
            if erasing.guard_records:
                shutil.rmtree(self._at(catalogue.GUARD_STATE), ignore_errors=True)
        return [*stay, *(step.path for step in last if not self._files.take(step))], denying

    def _denying(self, installed: Installed, plan: Plan) -> str | None:
        """Return what goes on denying after the next start too, for which the console stays pinned."""
        parts = {entry.path: entry.part for entry in installed.entries}
        by = next((step.path for step in plan.left if parts[step.path] is Part.DENIAL), None)
        if by is None and not parts.keys() & {catalogue.GRUB, catalogue.MODPROBE}:
            line = self._files.read(COMMAND_LINE) if self._files.has(COMMAND_LINE) else b""
            by = "the kernel's command line" if authorized_default(line.decode(errors="replace")) == 0 else None
        if by is None or Part.GUARD not in installed.parts or not load_pins(self._at(catalogue.GUARD_STATE)).pins:
            return None
        return (
            f"{by} goes on denying what is on the USB, so the console stays pinned: take that away, start this machine "
            "anew, and uninstall again; or give the keyboard up first: leadglass-guard pin-console --remove PORT"
        )

    def verify_delivered(self, data: str) -> None:
        """Raises ImagesWait unless nothing that was captured or recorded lies here alone."""
        folder = AgentFolder(self._at(data))
        if not folder.spool.exists():
            return
        if not folder.database.exists():
            raise ImagesWait(data, "whether an image waits there cannot be told: the database of its spool is gone")
        try:
            status = read_status(folder)
        except (Refused, Unavailable, IntegrityFailure) as exc:
            raise ImagesWait(data, f"whether an image waits there cannot be told: {exc}") from exc
        waiting = {
            "are coming in": status.coming_in,
            "wait for the vault": status.waiting,
            "are put aside": status.put_aside,
            "brought here wait": sum(moved.objects for moved in status.moved),
            "wait for an archive": sum(route.waiting for route in status.routes),
            "may be gone from the vault, which was restored": status.receipts_in_doubt,
        }
        named = [f"{count} images {what}" for what, count in waiting.items() if count]
        # A stop records itself, and there is nobody any more who delivers that.
        if status.audit_waiting > _OF_A_STOP:
            named.append(f"{status.audit_waiting} audit records wait for the centre")
        if named:
            raise ImagesWait(data, ", ".join(named))

    def _data(self) -> str:
        if not self._files.has(FILE):
            return AgentSettings().data
        try:
            return parse_settings(self._files.read(FILE), FILE).data
        except Refused:
            return AgentSettings().data

    def _stop(self, installed: Installed) -> None:
        for entry in installed.entries:
            name = entry.path.rpartition("/")[2]
            if entry.path == f"{catalogue.UNITS}/{name}" and name.endswith(_UNIT_ENDS) and self._files.has(entry.path):
                self._system.stop(name)

    def _erase_identity(self, installed: Installed, data: str) -> None:
        try:
            self.verify_delivered(data)
        except ImagesWait:
            # One came in while it was being stopped.
            if self._files.has(f"{catalogue.UNITS}/{catalogue.AGENT_UNIT}"):
                self._system.start(catalogue.AGENT_UNIT)
            raise
        folder = self._at(data)
        if installed.of(data) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        # A folder that was there before, as a disk of its own is: what the agent made in it goes, and nothing else.
        for name in _OF_AGENT:
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).unlink(missing_ok=True)

    def _unpin(self, installed: Installed) -> None:
        if Part.GUARD not in installed.parts:
            return
        machine = Machine(self._root, self._at(catalogue.GUARD_STATE), self._sys)
        if load_pins(machine.state).pins:
            store_pins(machine, Pins())
            if self._root == _ROOT:
                rebuild()
        with contextlib.suppress(OSError):
            self._at(_CHECKS).rmdir()

    def _why_left(self, path: str, data: str) -> str:
        if path == data:
            return f"{path}: identity, spool and journal; --erase-identity erases them once everything is delivered"
        if path == catalogue.GUARD_STATE:
            return f"{path}: whom the guard trusts, and its records; --erase-guard-records erases them"
        if path.startswith(catalogue.WIPE_STATE):
            return f"{path}: which wipe tickets were used here, and what came of them; none is to be used twice"
        if path == catalogue.CENTRE_DATA:
            return f"{path}: the centre itself; only you erase that"
        return f"{path}: it is not empty"

    def _remove_accounts(self, installed: Installed) -> list[str]:
        left = []
        homes = {"leadglass": self._data(), "leadglass-server": catalogue.CENTRE_DATA}
        for name in installed.accounts:
            if self._files.has(homes[name]):
                left.append(f"account {name}: {homes[name]} is its")
            elif self._files.is_account(name):
                self._system.remove_account(name)
        return left

    def _settle(self, plan: Plan, installed: Installed, stay: Sequence[str]) -> None:
        kept = {*(step.path for step in plan.left), *stay}
        entries = tuple(entry for entry in installed.entries if entry.path in kept)
        accounts = tuple(name for name in installed.accounts if self._files.is_account(name))
        if entries or accounts:
            self._files.note(replace(plan.after, entries=entries, accounts=accounts))
        else:
            self._files.forget()

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")
