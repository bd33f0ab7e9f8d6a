"""A control group hierarchy as files, as Linux 6.1 and systemd 252 show it."""

from pathlib import Path

_STAT = """\
anon {anon}
file {file}
kernel 2097152
active_anon {anon}
inactive_file {file}
active_file 0
"""
_PRESSURE = """\
some avg10=0.00 avg60=0.00 avg300=0.00 total=1234567
full avg10=0.00 avg60=0.00 avg300=0.00 total=1
"""


class FakeSlice:
    def __init__(self, folder: Path, *, slice_name: str = "leadglass-host.slice") -> None:
        self.root, self.own = folder / "cgroup", folder / "own"
        self._slice = self.root / slice_name
        self.agent, self.guard = self._slice / "leadglass-agent.service", self._slice / "leadglass-guard.service"
        for unit in (self.agent, self.guard):
            unit.mkdir(parents=True)
        (self.root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        self.own.write_text(f"0::/{slice_name}/leadglass-agent.service\n")
        self.takes(cpu_us=0)
        for name in ("cpu", "io", "memory"):
            self.write(f"{name}.pressure", _PRESSURE)

    def takes(self, *, cpu_us: int, agent_mib: int = 70, guard_mib: int = 28, cached_mib: int = 40) -> None:
        for folder, mib in ((self._slice, agent_mib + guard_mib), (self.agent, agent_mib), (self.guard, guard_mib)):
            if folder.is_dir():
                (folder / "memory.current").write_text(f"{(mib + cached_mib) << 20}\n")
                (folder / "memory.stat").write_text(_STAT.format(anon=mib << 20, file=cached_mib << 20))
        self.write("memory.peak", f"{150 << 20}\n")
        self.write("memory.high", f"{150 << 20}\n")
        self.write("memory.events", "low 0\nhigh 3\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n")
        self.write("cpu.stat", f"usage_usec {cpu_us}\nuser_usec {cpu_us}\nsystem_usec 0\n")

    def write(self, name: str, text: str) -> None:
        (self._slice / name).write_text(text)

    def remove(self, name: str) -> None:
        (self._slice / name).unlink()
