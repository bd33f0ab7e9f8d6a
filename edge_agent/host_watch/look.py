"""One look at this host, by psutil, /proc and the C library. It decides nothing and leaves out nothing silently."""

import os
import re
import socket
import stat
from dataclasses import replace
from pathlib import Path

import psutil

from edge_agent.export_folder import lies_on
from edge_agent.export_folder.lies_on import BlockDevices, Mount
from edge_agent.export_folder.sysfs import MOUNTINFO, SysfsBlockDevices
from edge_agent.host_watch.adjtimex import read_clock
from edge_agent.host_watch.observations import Connection, Observations, Place, Process, Space
from shared.devices.watch import WatchPolicy, is_program

SWAPS = Path("/proc/swaps")
_NO_DEVICE = "no disk of its own: a network share, an overlay, btrfs or ZFS"
_INIT = 1


def look(
    policy: WatchPolicy, mountinfo: Path = MOUNTINFO, swaps: Path = SWAPS, sys: Path = Path("/sys")
) -> Observations:
    """Look for what `policy` names and for nothing else."""
    devices = SysfsBlockDevices(sys)
    mounts = _mounts(mountinfo)
    processes, processes_unseen = _processes() if policy.processes or policy.forbidden else ((), "")
    if policy.processes:
        processes = tuple(_with_sockets(p) if _is_one(p, policy.processes) else p for p in processes)
    connections, connections_unseen = _connections() if policy.processes else ((), "")
    swapped, swaps_unseen = _swaps(swaps, mounts, devices, sys) if policy.encrypted_swap else ((), "")
    clock, clock_unseen = read_clock() if policy.most_drift_ms else (None, "")
    return Observations(
        processes,
        processes_unseen,
        connections,
        connections_unseen,
        tuple(_place(folder, mounts, devices) for folder in policy.encrypted),
        swapped,
        swaps_unseen,
        tuple(_space(free.folder) for free in policy.free),
        clock,
        clock_unseen,
    )


def _is_one(process: Process, patterns: tuple[str, ...]) -> bool:
    return any(is_program(pattern, process.name, process.path) for pattern in patterns)


# ---- processes


def _processes() -> tuple[tuple[Process, ...], str]:
    found, unnamed = [], 0
    for process in psutil.process_iter():
        try:
            found.append(_process(process))
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            unnamed += 1
    if not any(process.pid == _INIT for process in found):
        return tuple(found), "processes of other accounts are hidden (hidepid of /proc)"
    return tuple(found), f"{unnamed} processes cannot be named" if unnamed else ""


def _process(process: psutil.Process) -> Process:
    name = process.name()
    try:
        return Process(process.pid, name, process.exe())
    except psutil.AccessDenied:
        return Process(process.pid, name, path_unseen=True)


def _with_sockets(process: Process) -> Process:
    folder = Path("/proc") / str(process.pid)
    try:
        os.listdir(folder / "fd")  # noqa: PTH208  only whether it may be read
        own, its = (os.stat(path).st_ino for path in ("/proc/self/ns/net", folder / "ns" / "net"))  # noqa: PTH116
    except FileNotFoundError:
        return process
    except OSError as exc:
        return replace(process, sockets_unseen=f"its connections cannot be seen: {exc.strerror}")
    return process if own == its else replace(process, sockets_unseen="it has a network of its own (a container)")


def _connections() -> tuple[tuple[Connection, ...], str]:
    try:
        sockets = psutil.net_connections("inet")
    except (psutil.Error, OSError) as exc:
        return (), f"connections cannot be listed: {exc}"
    listened = {(each.type, each.laddr.port) for each in sockets if each.laddr and each.status == psutil.CONN_LISTEN}
    return tuple(
        Connection(
            each.pid,
            "tcp" if each.type == socket.SOCK_STREAM else "udp",
            each.raddr.ip,
            each.raddr.port,
            each.laddr.port,
            (each.type, each.laddr.port) in listened,
        )
        for each in sockets
        if each.raddr and each.laddr
    ), ""


# ---- disks


def _mounts(mountinfo: Path) -> tuple[Mount, ...]:
    try:
        return lies_on.parse_mounts(mountinfo.read_bytes())
    except OSError:
        return ()


def _place(name: str, mounts: tuple[Mount, ...], devices: BlockDevices) -> Place:
    """Say where a folder lies, or what a disk's node is made of."""
    real = os.path.realpath(os.fsencode(name))
    try:
        found = os.stat(real)  # noqa: PTH116  bytes
    except OSError as exc:
        return Place(name, lies_on.UNKNOWN, str(exc.strerror))
    if stat.S_ISBLK(found.st_mode):
        return _disk(name, _number(found.st_rdev), devices)
    if not stat.S_ISDIR(found.st_mode):
        return Place(name, lies_on.UNKNOWN, "neither a folder nor a disk")
    mount = lies_on.mount_of(real, mounts)
    if mount is None:
        return Place(name, lies_on.UNKNOWN, "the mount table cannot be read")
    word = lies_on.evaluate(real, mounts, devices)
    return Place(name, word, _NO_DEVICE if word == lies_on.UNKNOWN else f"{mount.kind} on {mount.device}")


def _disk(name: str, number: str, devices: BlockDevices) -> Place:
    return Place(name, lies_on.of_device(number, devices), f"disk {number}")


def _swaps(swaps: Path, mounts: tuple[Mount, ...], devices: BlockDevices, sys: Path) -> tuple[tuple[Place, ...], str]:
    try:
        lines = swaps.read_bytes().splitlines()[1:]
    except OSError as exc:
        return (), f"swap cannot be listed: {exc.strerror}"
    names = (lies_on.unescaped(line.split()[0]) for line in lines if line.strip())
    return tuple(_swap(os.fsdecode(name), mounts, devices, sys) for name in names), ""


def _swap(name: str, mounts: tuple[Mount, ...], devices: BlockDevices, sys: Path) -> Place:
    try:
        found = os.stat(name)  # noqa: PTH116
    except OSError as exc:
        return Place(name, lies_on.UNKNOWN, str(exc.strerror))
    if not stat.S_ISBLK(found.st_mode):
        return replace(_place(os.path.dirname(name), mounts, devices), name=name)  # noqa: PTH120
    if re.fullmatch(r"/dev/zram[0-9]+", name):
        return _zram(name, sys)
    return _disk(name, _number(found.st_rdev), devices)


def _zram(name: str, sys: Path) -> Place:
    """Compressed memory, unless what does not compress is written back to a disk."""
    try:
        behind = (sys / "block" / Path(name).name / "backing_dev").read_text().strip()
    except FileNotFoundError:
        behind = "none"  # the kernel is built without it
    except OSError as exc:
        return Place(name, lies_on.UNKNOWN, str(exc.strerror))
    return Place(name, lies_on.MEMORY, "zram") if behind == "none" else Place(name, lies_on.UNKNOWN, f"zram, {behind}")


def _number(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def _space(folder: str) -> Space:
    try:
        found = os.statvfs(folder)
    except OSError as exc:
        return Space(folder, unseen=str(exc.strerror))
    return Space(folder, found.f_bavail * found.f_frsize)
