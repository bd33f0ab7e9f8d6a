"""Reads this machine's own facts: files of /proc, /sys, /run, /usr and /etc below `root`, and two system calls."""

import gzip
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edge_agent.console.pinned import PinsUnreadable, load_pins
from edge_agent.host_watch.adjtimex import read_clock
from edge_agent.host_watch.look import look
from edge_agent.host_watch.observations import KernelClock
from provisioning.layout import ACCOUNT, AGENT_DATA, GUARD_STATE
from provisioning.preflight.facts import Disks, Memory, System, Tpm, Usb
from shared.devices.watch import LeastFree, WatchPolicy

_SYSTEMD = re.compile(r"libsystemd-shared-([0-9]+)")
_BPF = re.compile(r"^CONFIG_CGROUP_BPF=(y)$", re.MULTILINE)
_NEVER = 60  # how often, which one look does not ask

ReadClock = Callable[[], tuple[KernelClock | None, str]]


class Machine:
    def __init__(self, root: Path = Path("/"), read_clock: ReadClock = read_clock) -> None:
        self._root, self.clock = root, read_clock

    def system(self) -> System:
        kernel = self._text("proc/sys/kernel/osrelease")
        return System(
            kernel,
            udev_runs=(self._root / "run/udev/control").exists(),
            systemd=self._systemd(),
            systemd_runs=(self._root / "run/systemd/system").is_dir(),
            has_cgroup2=(self._root / "sys/fs/cgroup/cgroup.controllers").exists(),
            has_cgroup_bpf=self._has_cgroup_bpf(kernel),
            time_zone=self._time_zone(),
        )

    def memory(self) -> Memory | None:
        read = dict(re.findall(r"^(MemTotal|MemAvailable): +([0-9]+) kB$", self._text("proc/meminfo"), re.MULTILINE))
        if len(read) < len(("MemTotal", "MemAvailable")):
            return None
        return Memory(int(read["MemTotal"]) >> 10, int(read["MemAvailable"]) >> 10)

    def usb(self) -> Usb:
        default = self._text("sys/module/usbcore/parameters/authorized_default")
        number = int(default) if re.fullmatch(r"-?[0-9]+", default) else None
        try:
            return Usb(number, len(load_pins(self._below(GUARD_STATE)).consoles))
        except PinsUnreadable as exc:
            return Usb(number, 0, str(exc))

    def tpm(self) -> Tpm:
        version = self._text("sys/class/tpm/tpm0/tpm_version_major")
        device = self._root / "dev/tpmrm0"
        groups = [line.split(":") for line in self._text("etc/group").splitlines()]
        members = [set(fields[3].split(",")) for fields in groups if len(fields) == 4 and fields[0] == "tss"]
        accounts = {line.partition(":")[0] for line in self._text("etc/passwd").splitlines()}
        return Tpm(
            int(version) if version.isdecimal() else None,
            has_device=device.exists(),
            has_account=ACCOUNT in accounts,
            account_may=any(ACCOUNT in names for names in members),
        )

    def disks(self) -> Disks:
        """Look where the agent's folder is, or would be."""
        place = self._below(AGENT_DATA)
        while not place.exists() and place != place.parent:
            place = place.parent
        policy = WatchPolicy(
            _NEVER, encrypted=(str(place),), encrypted_swap=True, free=(LeastFree(str(place), 1),)
        )  # fmt: skip
        seen = look(policy, self._root / "proc/self/mountinfo", self._root / "proc/swaps", self._root / "sys")
        return Disks(seen.places[0], seen.swaps, seen.swaps_unseen, seen.spaces[0])

    def _systemd(self) -> int | None:
        # The library's name carries it, and a machine whose manager does not answer has it all the same.
        libraries = [*self._root.glob("usr/lib/systemd/libsystemd-shared-*.so"),
                     *self._root.glob("usr/lib/*/systemd/libsystemd-shared-*.so")]  # fmt: skip
        versions = [int(found[1]) for library in libraries if (found := _SYSTEMD.match(library.name))]
        return max(versions, default=None)

    def _has_cgroup_bpf(self, kernel: str) -> bool | None:
        configuration = self._text(f"boot/config-{kernel}") if kernel else ""
        with suppress(OSError, EOFError):
            configuration = configuration or gzip.decompress((self._root / "proc/config.gz").read_bytes()).decode()
        return bool(_BPF.search(configuration)) if configuration else None

    def _time_zone(self) -> str:
        try:
            return str((self._root / "etc/localtime").readlink()).rpartition("zoneinfo/")[2]
        except OSError:
            return self._text("etc/timezone")

    def _below(self, path: Path) -> Path:
        return self._root / path.relative_to("/")

    def _text(self, name: str) -> str:
        try:
            return (self._root / name).read_text(errors="replace").strip()
        except OSError:
            return ""
