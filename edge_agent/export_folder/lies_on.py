"""Where a folder lies: whether the images in it survive on a disk that a thief can read.

Decided from the mount table and from what the kernel says of block devices. The answer errs to the worse side: an
encrypted disk is one whose every way down to the hardware leads through dm-crypt.
"""

import re
from dataclasses import dataclass
from typing import Protocol

MEMORY, ENCRYPTED, PLAIN, UNKNOWN, MISSING = "memory", "encrypted disk", "plain disk", "unknown", "missing"
_IN_MEMORY, _UPPER = {"tmpfs", "ramfs"}, b"upperdir="
_ESCAPE = re.compile(rb"\\([0-7]{3})")
# cryptsetup gives these to devices that check what they read and encrypt nothing.
_CRYPT = "CRYPT-"
_NOT_ENCRYPTING = ("CRYPT-VERITY-", "CRYPT-INTEGRITY-")
_MAX_DEPTH = 16


class BlockDevices(Protocol):
    """Block devices by their numbers, `major:minor`."""

    def below(self, device: str, /) -> tuple[str, ...] | None:
        """Return the devices that this one is made of, none for a disk; None: there is no such device."""

    def mapper_uuid(self, device: str, /) -> str:
        """Return the UUID of a device-mapper device, "" for any other."""


@dataclass(frozen=True)
class Mount:
    device: str  # major:minor
    point: bytes
    kind: str
    upper: bytes = b""  # of an overlay: where what is written goes


def parse_mounts(mountinfo: bytes) -> tuple[Mount, ...]:
    """Read /proc/self/mountinfo (proc(5)); lines that do not have its form are left out."""
    mounts = []
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(b" - ")
        fields, behind = before.split(b" "), after.split(b" ")
        if separator and len(fields) >= 6:
            kind = behind[0].decode("latin-1")
            mounts.append(Mount(fields[2].decode("latin-1"), unescaped(fields[4]), kind, _upper(behind[-1])))
    return tuple(mounts)


def evaluate(folder: bytes, mounts: tuple[Mount, ...], devices: BlockDevices) -> str:
    """Return where `folder` lies, an absolute path without symbolic links."""
    mount = mount_of(folder, mounts)
    if mount is None:
        return UNKNOWN
    upper = mount_of(mount.upper, mounts) if mount.upper else None
    if mount.kind in _IN_MEMORY or (upper is not None and upper.kind in _IN_MEMORY):
        return MEMORY
    if mount.device.startswith("0:"):
        # No block device of its own: a network, an overlay, btrfs or ZFS over several.
        return UNKNOWN
    return of_device(mount.device, devices)


def of_device(device: str, devices: BlockDevices) -> str:
    """Return whether what is written to a block device, `major:minor`, ends on the disk encrypted."""
    if devices.below(device) is None:
        return UNKNOWN
    return ENCRYPTED if _is_encrypted(device, devices, 0) else PLAIN


def mount_of(folder: bytes, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return what is mounted at or above `folder`, the last one where several lie over each other."""
    above = [m for m in mounts if m.point == b"/" or folder == m.point or folder.startswith(m.point + b"/")]
    longest = max((len(m.point) for m in above), default=0)
    return next((m for m in reversed(above) if len(m.point) == longest), None)


def _is_encrypted(device: str, devices: BlockDevices, depth: int) -> bool:
    uuid = devices.mapper_uuid(device)
    if uuid.startswith(_CRYPT) and not uuid.startswith(_NOT_ENCRYPTING):
        return True
    below = devices.below(device) or ()
    return bool(below) and depth < _MAX_DEPTH and all(_is_encrypted(part, devices, depth + 1) for part in below)


def _upper(options: bytes) -> bytes:
    said = next((one for one in options.split(b",") if one.startswith(_UPPER)), b"")
    return unescaped(said.removeprefix(_UPPER))


def unescaped(field: bytes) -> bytes:
    """Return a field of /proc as it was before its white space was written in octal."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)
