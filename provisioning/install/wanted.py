"""What Leadglass puts into place on a host, and on the centre's machine, by what somebody chose."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.settings_file.document import FILE, AgentSettings
from provisioning.install.item import Kind, Part, Rights, Wanted
from shared.errors import Refused

UNITS = "/etc/systemd/system"
AGENT_UNIT, GUARD_UNIT, SERVER_UNIT = "leadglass-agent.service", "leadglass-guard.service", "leadglass-server.service"
SLICE, HOST_SLICE, BACKGROUND_SLICE = "leadglass.slice", "leadglass-host.slice", "leadglass-background.slice"
HOST_TIMERS = ("leadglass-spool-verify.timer", "leadglass-addresses.timer")
CENTRE_TIMERS = ("leadglass-backup.timer", "leadglass-backups-verify.timer")
GUARD_STATE = "/var/lib/leadglass-guard"
WIPE_STATE = "/var/lib/leadglass-wipe"
CENTRE_DATA = "/var/lib/leadglass-server"
FOLDERS_DROP_IN = f"{UNITS}/{AGENT_UNIT}.d/30-export-folders.conf"
SIDECAR_DROP_IN = f"{UNITS}/{GUARD_UNIT}.d/10-sidecar.conf"
_HOMES = ("/home/", "/root/", "/run/user/")
GRUB, MODPROBE = "/etc/default/grub.d/leadglass.cfg", "/etc/modprobe.d/leadglass.conf"

ProgramData = Mapping[str, bytes]
"""The files of `systemd/`, by their path in it."""


@dataclass(frozen=True)
class Boot:
    """How this machine's kernel can be told to authorise nothing by itself; `is_told`: by others, and it was."""

    has_grub: bool
    has_initramfs_tools: bool
    is_told: bool = False


class NoWayToDeny(Refused):
    def __init__(self) -> None:
        super().__init__(
            "this machine has neither update-grub nor update-initramfs; put usbcore.authorized_default=0 on the "
            "kernel's command line by its own boot loader's means, start it anew, and run this again"
        )


def agent(data: ProgramData, settings: AgentSettings) -> list[Wanted]:
    part = Part.AGENT
    return [
        Wanted("/etc/leadglass", part, Kind.FOLDER, rights=Rights(0o755)),
        Wanted(FILE, part, content=settings.text().encode(), theirs=True),
        Wanted(settings.data, part, Kind.FOLDER, rights=Rights(0o700, "leadglass", "leadglass")),
        *(_unit(data, name, part) for name in (SLICE, HOST_SLICE, BACKGROUND_SLICE)),
        _unit(data, AGENT_UNIT, part),
        *_timers(data, HOST_TIMERS, part),
        *export_folders(settings),
        _enabled(AGENT_UNIT, "multi-user.target", part),
    ]


def export_folders(settings: AgentSettings) -> list[Wanted]:
    """Return the drop-in that lets the agent take files out of its export folders, where it has any."""
    paths = [folder.path for folder in settings.export_folders]
    if not paths:
        return []
    lines = ["# Written by leadglass-provision: the export folders of /etc/leadglass/agent.toml.", "[Service]"]
    if any(f"{path}/".startswith(_HOMES) for path in paths):
        # What is hidden cannot be given back one by one, what is laid over can.
        lines.append("ProtectHome=tmpfs")
    for path in paths:
        key = "BindPaths" if f"{path}/".startswith(_HOMES) else "ReadWritePaths"
        lines.append(f"{key}=-{_quoted(path)}")
    text = "\n".join(lines) + "\n"
    return [Wanted(FOLDERS_DROP_IN, Part.AGENT, content=text.encode())]


def guard(data: ProgramData) -> list[Wanted]:
    part = Part.GUARD
    return [
        Wanted(GUARD_STATE, part, Kind.FOLDER, rights=Rights(0o700)),
        # Root wipes and notes it; the agent only reads what lies in `out`.
        Wanted(WIPE_STATE, part, Kind.FOLDER, rights=Rights(0o750, group="leadglass")),
        Wanted(f"{WIPE_STATE}/out", part, Kind.FOLDER, rights=Rights(0o750, group="leadglass")),
        *(_unit(data, name, part) for name in (SLICE, HOST_SLICE)),
        _unit(data, GUARD_UNIT, part),
        Wanted("/etc/tmpfiles.d/leadglass-guard.conf", part, content=data["tmpfiles.d/leadglass-guard.conf"]),
    ]


def sidecar(data: ProgramData) -> list[Wanted]:
    """Return the drop-in by which the guard knows that the modality's own ports are not its machine's."""
    start = next(line for line in data[GUARD_UNIT].decode().splitlines() if line.startswith("ExecStart="))
    text = (
        "# Written by leadglass-provision: this is a box beside the modality.\n"
        f"[Service]\nExecStart=\n{start} --sidecar\n"
    )
    return [Wanted(SIDECAR_DROP_IN, Part.SIDECAR, content=text.encode())]


def denial(data: ProgramData, boot: Boot) -> list[Wanted]:
    """Return what has the kernel authorise nothing on the USB by itself, and starts the guard that allows.

    Raises NoWayToDeny.
    """
    part = Part.DENIAL
    wanted = [
        Wanted(f"/etc/udev/rules.d/{name.removeprefix('udev/')}", part, content=content)
        for name, content in sorted(data.items())
        if name.startswith("udev/")
    ]
    if boot.has_grub and not boot.is_told:
        wanted.append(Wanted(GRUB, part, content=data["grub.d/leadglass.cfg"]))
    elif boot.has_initramfs_tools and not boot.is_told:
        wanted.append(Wanted(MODPROBE, part, content=data["modprobe.d/leadglass.conf"]))
    elif not boot.is_told:
        raise NoWayToDeny
    return [*wanted, _enabled(GUARD_UNIT, "sysinit.target", part)]


def centre(data: ProgramData) -> list[Wanted]:
    part = Part.CENTRE
    return [
        Wanted("/etc/leadglass", part, Kind.FOLDER, rights=Rights(0o755)),
        Wanted(CENTRE_DATA, part, Kind.FOLDER, rights=Rights(0o700, "leadglass-server", "leadglass-server")),
        *(_unit(data, name, part) for name in (SLICE, BACKGROUND_SLICE)),
        _unit(data, SERVER_UNIT, part),
        *_timers(data, CENTRE_TIMERS, part),
        _enabled(SERVER_UNIT, "multi-user.target", part),
    ]


def accounts(parts: Sequence[Part]) -> dict[str, str]:
    """Return the accounts that these parts need, and the file of sysusers that makes each."""
    needed = {}
    if Part.CENTRE in parts:
        needed["leadglass-server"] = "sysusers.d/leadglass-server.conf"
    if set(parts) - {Part.CENTRE}:
        needed["leadglass"] = "sysusers.d/leadglass.conf"
    return needed


def _timers(data: ProgramData, timers: Sequence[str], part: Part) -> list[Wanted]:
    wanted = []
    for timer in timers:
        wanted += [_unit(data, timer.replace(".timer", ".service"), part), _unit(data, timer, part)]
        wanted.append(_enabled(timer, "timers.target", part))
    return wanted


def _unit(data: ProgramData, name: str, part: Part) -> Wanted:
    return Wanted(f"{UNITS}/{name}", part, content=data[name])


def _enabled(unit: str, target: str, part: Part) -> Wanted:
    """Return the link that `systemctl enable` would make."""
    return Wanted(f"{UNITS}/{target}.wants/{unit}", part, Kind.LINK, f"{UNITS}/{unit}".encode())


def _quoted(path: str) -> str:
    # % begins a specifier of systemd, and between quotes a backslash an escape.
    return json.dumps(path, ensure_ascii=False).replace("%", "%%")
