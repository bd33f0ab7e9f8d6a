"""Mount table and block devices of this machine, from /proc and /sys."""

import os
from pathlib import Path

from edge_agent.export_folder import lies_on
from edge_agent.export_folder.lies_on import MISSING, UNKNOWN, Mount, evaluate, mount_of, parse_mounts

MOUNTINFO = Path("/proc/self/mountinfo")


class SysfsBlockDevices:
    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root

    def below(self, device: str, /) -> tuple[str, ...] | None:
        folder = self._folder(device)
        if folder is None:
            return None
        if (folder / "partition").exists():
            # A partition of a RAID or a mapped device is as safe as what it is a part of.
            return self._numbers([folder.parent]) if (folder.parent / "slaves").is_dir() else ()
        slaves = folder / "slaves"
        return self._numbers(sorted(slaves.iterdir())) if slaves.is_dir() else ()

    def mapper_uuid(self, device: str, /) -> str:
        folder = self._folder(device)
        return _text(folder / "dm" / "uuid") if folder is not None else ""

    def _folder(self, device: str) -> Path | None:
        folder = self._root / "dev" / "block" / device
        return folder.resolve() if folder.exists() else None

    def _numbers(self, folders: list[Path]) -> tuple[str, ...]:
        return tuple(_text(folder / "dev") for folder in folders)


class Places:
    """Says where folders lie. `mountinfo` and `devices` are what a test replaces."""

    def __init__(self, mountinfo: Path = MOUNTINFO, devices: lies_on.BlockDevices | None = None) -> None:
        self._mountinfo, self._devices = mountinfo, devices or SysfsBlockDevices()

    def of(self, folder: bytes) -> str:
        """Return one of the words of `shared.fleet.state.LIES_ON`."""
        real = os.path.realpath(folder)
        if not os.path.isdir(real):  # noqa: PTH112  bytes
            return MISSING
        mounts = self._mounts()
        return evaluate(real, mounts, self._devices) if mounts else UNKNOWN

    def is_mount_point(self, folder: bytes) -> bool:
        real = os.path.realpath(folder)
        mount = mount_of(real, self._mounts())
        return mount is not None and mount.point == real

    def _mounts(self) -> tuple[Mount, ...]:
        try:
            return parse_mounts(self._mountinfo.read_bytes())
        except OSError:
            return ()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="latin-1").strip()
    except OSError:
        return ""
