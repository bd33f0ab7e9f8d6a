"""Reads what the kernel counts of a control group, version 2, by the files that systemd keeps for slice and units."""

import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import Unavailable
from shared.fleet.budget import Stalled

SLICE, GUARD_UNIT = "leadglass-host.slice", "leadglass-guard.service"
ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_MAX_BYTES = 64 << 10


class NotCountedHere(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"what agent and guard take of this host is not counted: {why}")
        self.why = why


@dataclass(frozen=True)
class Reading:
    """Of the slice, since it was made. Memory is without what the kernel caches of files, `peak_bytes` with it."""

    cpu_us: int
    memory_bytes: int
    peak_bytes: int  # 0: this kernel does not say
    limit_bytes: int  # 0: none
    held_back: int
    killed: int
    agent_bytes: int
    guard_bytes: int | None
    stalled: Stalled | None


class SliceFiles:
    """`root` is where the hierarchy is mounted, `own` says where this process is in it."""

    def __init__(self, root: Path = ROOT, own: Path = OWN) -> None:
        self._root, self._own = root, own

    def read(self) -> Reading:
        """Raises NotCountedHere."""
        unit = self._unit()
        in_slice = unit.parent
        guard = in_slice / GUARD_UNIT
        events = _counts(_text(in_slice / "memory.events"))
        return Reading(
            cpu_us=_counts(_text(in_slice / "cpu.stat"))["usage_usec"],
            memory_bytes=_memory(in_slice),
            peak_bytes=_number(in_slice / "memory.peak"),
            limit_bytes=_number(in_slice / "memory.high"),
            held_back=events.get("high", 0),
            killed=events.get("oom_kill", 0),
            agent_bytes=_memory(unit),
            guard_bytes=_memory(guard) if guard.is_dir() else None,
            stalled=_stalled(in_slice),
        )

    def _unit(self) -> Path:
        if not (self._root / "cgroup.controllers").is_file():
            raise NotCountedHere("no cgroup v2")
        ours = re.search(r"^0::(/.*)$", _text(self._own), re.MULTILINE)
        if ours is None:
            raise NotCountedHere("no cgroup v2")
        unit = self._root / ours[1].lstrip("/")
        if unit.parent.name != SLICE:
            raise NotCountedHere(f"this agent does not run in {SLICE}")
        if not (unit.parent / "memory.current").is_file():
            raise NotCountedHere(f"memory is not accounted for in {SLICE}")
        return unit


def _memory(group: Path) -> int:
    cached = _counts(_text(group / "memory.stat"))
    return max(_number(group / "memory.current") - cached["active_file"] - cached["inactive_file"], 0)


def _stalled(group: Path) -> Stalled | None:
    """Return None where the kernel does not count pressure, as without `psi=1` where that is not the default."""
    try:
        return Stalled(*(_stalled_ms(group / f"{name}.pressure") for name in ("cpu", "io", "memory")))
    except NotCountedHere:
        return None


def _stalled_ms(file: Path) -> int:
    some = re.search(r"^some .*total=(\d+)$", _text(file), re.MULTILINE)
    if some is None:
        raise NotCountedHere(f"{file.name} cannot be read")
    return int(some[1]) // 1000


def _number(file: Path) -> int:
    """Return 0 where there is no such file, or it names no number."""
    try:
        text = _text(file).strip()
    except NotCountedHere:
        return 0
    return int(text) if text.isdecimal() else 0


def _counts(text: str) -> dict[str, int]:
    return {name: int(value) for name, _, value in (line.partition(" ") for line in text.splitlines())}


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_BYTES).decode("ascii", "replace")
    except OSError as exc:
        raise NotCountedHere(f"{file.name} cannot be read ({exc.strerror})") from exc
