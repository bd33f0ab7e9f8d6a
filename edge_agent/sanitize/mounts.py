"""What /proc says is mounted and swapped to.  proc(5): /proc/pid/mountinfo, /proc/swaps"""

import re
from dataclasses import dataclass

from shared.errors import Malformed

_OCTAL = re.compile(r"\\([0-7]{3})")
_NUMBER = re.compile(r"[0-9]+:[0-9]+")
# Their data is somebody else's, wherever they are mounted; of what runs in a process nobody can tell where it is.
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
    "orangefs", "smb3", "smbfs", "virtiofs",
}  # fmt: skip


@dataclass(frozen=True)
class Mount:
    """`number` is that of the file system, which is no block device's for some (btrfs, NFS); then `source` may tell."""

    number: str
    point: str
    type: str
    source: str

    @property
    def is_network(self) -> bool:
        return self.type in _NETWORK or self.type.startswith("fuse.")


def mounts(told: str) -> list[Mount]:
    """Raises Malformed: a line that is not understood may be the one that matters."""
    return [_mount(each) for each in told.splitlines()]


def _mount(told: str) -> Mount:
    before, found, after = told.partition(" - ")
    fields, of_type = before.split(" "), after.split(" ")
    if not found or len(fields) < 6 or len(of_type) < 2 or not _NUMBER.fullmatch(fields[2]):
        raise Malformed("/proc/*/mountinfo", "a line of it is not what proc(5) has")
    return Mount(fields[2], _plain(fields[4]), of_type[0], _plain(of_type[1]))


def swaps(told: str) -> list[str]:
    """Return the paths of partitions that are swapped to; a file lies on what is mounted. Raises Malformed."""
    rows = [each.split() for each in told.splitlines()[1:]]
    if any(len(row) < 2 for row in rows):
        raise Malformed("/proc/swaps", "a line of it is not what proc(5) has")
    return [_plain(row[0]) for row in rows if row[1] != "file"]


def holding(every: list[Mount], path: str) -> Mount | None:
    """Return the mount in which a path lies: the longest, and of two in one place the later one."""
    found = [each for each in every if path == each.point or path.startswith(each.point.rstrip("/") + "/")]
    return max(enumerate(found), key=lambda each: (len(each[1].point), each[0]))[1] if found else None


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
