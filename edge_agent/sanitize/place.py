"""Where a drive belongs: to the running system, to another machine on the network, to the software's own state."""

import re
from collections.abc import Iterable
from pathlib import Path

from edge_agent.sanitize import mounts, sysfs
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.holders import NotTold, all_mounts, lies_on
from edge_agent.sanitize.mounts import Mount
from edge_agent.sanitize.sysfs import HOST, Block, Host

_OF_THE_SYSTEM = ("/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/etc", "/home", "/opt", "/srv", "/tmp")  # noqa: S108 (mount points)
_ON_THE_NETWORK = (
    (re.compile(r"/session\d+/"), "iSCSI"),
    (re.compile(r"/rport-[\d:-]+/"), "Fibre Channel"),
    (re.compile(r"/nvme-fabrics/"), "NVMe over fabrics"),
    (re.compile(r"/block/nbd\d+$"), "a network block device"),
    (re.compile(r"/block/rbd\d+$"), "Ceph"),
    (re.compile(r"/block/drbd\d+$"), "DRBD"),
    (re.compile(r"/block/etherd!"), "ATA over Ethernet"),
    (re.compile(r"/block/ublkb\d+$"), "a program that serves it"),
)
_LOCAL_NVME = {"pcie", "apple-nvme"}
_PARAMETER = re.compile(r"(?:^|\s)(root|resume)=(\S+)")
_BY = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}


def of_system(drive: Drive, host: Host = HOST) -> str:
    """Return what of the running system lies on the drive; empty: nothing that is known. Raises NotTold, Malformed."""
    by_name = {each.name: each for each in sysfs.built_on(host, drive.sysfs)}
    on_it = {mount.point for mount in all_mounts(host) if lies_on(host, mount, by_name)}
    if of_the_system := sorted(on_it & set(_OF_THE_SYSTEM)):
        return f"{of_the_system[0]} of the running system"
    resume = sysfs.text(host.sys / "power" / "resume")
    if any(each.number == resume for each in by_name.values()):
        return "what the system resumes from"
    for name, value in _PARAMETER.findall(sysfs.text(host.proc / "cmdline")):
        if _named(host, value) in by_name:
            return f"what the kernel was started with as {name}"
    return ""


def on_network(drive: Drive, host: Host = HOST) -> str:
    """Return which network the drive is reached over, or cannot be told not to be; empty: it is of this machine.

    Raises NotTold, Malformed.
    """
    place = str(drive.sysfs)
    for pattern, name in _ON_THE_NETWORK:
        if pattern.search(place):
            return name
    for transport in _transports(drive.sysfs):
        if transport not in _LOCAL_NVME:
            return f"NVMe over {transport}"
    backing = sysfs.text(drive.sysfs / "loop" / "backing_file")
    if not backing:
        return ""
    mount = mounts.holding(_own_mounts(host), backing)
    if mount is None:
        return "a file of a file system that is not seen from here"
    return f"a file on {mount.type}" if mount.is_network else ""


def has_state(drive: Drive, folders: Iterable[Path], host: Host = HOST) -> bool:
    """Return whether one of these folders lies on the drive. Raises NotTold, Malformed."""
    by_name: dict[str, Block] = {each.name: each for each in sysfs.built_on(host, drive.sysfs)}
    own = _own_mounts(host)
    holding = [mounts.holding(own, str(folder.resolve())) for folder in folders if folder.exists()]
    return any(mount is not None and lies_on(host, mount, by_name) for mount in holding)


def is_read_only(drive: Drive) -> bool | None:
    """Return the kernel's flag (what BLKROGET says); None: it does not say."""
    return {"1": True, "0": False}.get(sysfs.text(drive.sysfs / "ro"))


def _own_mounts(host: Host) -> list[Mount]:
    try:
        return mounts.mounts((host.proc / "self" / "mountinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError as exc:
        raise NotTold("its own mounts", exc.strerror or "unreadable") from exc


def _transports(disk: Path) -> set[str]:
    """Return how the controllers of an NVMe drive are reached; with several paths there are several."""
    found = [disk / "device" / "transport", *(disk / "device").glob("nvme*/transport")]
    return {told for each in found if (told := sysfs.text(each))} if disk.name.startswith("nvme") else set()


def _named(host: Host, value: str) -> str:
    kind, found, name = value.partition("=")
    path = f"/dev/disk/{_BY[kind.upper()]}/{name}" if found and kind.upper() in _BY else value
    return sysfs.name_of(host, path)
