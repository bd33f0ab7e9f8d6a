"""The joined guard in this process, over folders that look like /sys and /proc; its turns are taken one by one."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.devices.udev import NoEvents
from edge_agent.guard import Guard, _database
from edge_agent.guard_options import RunOptions
from edge_agent.watchdog import ServiceManager
from shared.devices.record import GuardEvent, GuardRecord
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.fakes.usb_tree import STORAGE, UsbTree


@dataclass
class Machine:
    """A machine with one root hub; `guard` runs a guard on it, as often as a test wants to."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    log: MemoryLog = field(default_factory=MemoryLog)

    def __post_init__(self) -> None:
        self.tree = UsbTree(self.folder / "sys")
        self.plug("1-1", serial="first")
        self.options = RunOptions(
            self.folder / "state",
            self.folder / "run" / "guard.sock",
            sys=self.folder / "sys",
            proc=self.folder / "proc",
        )
        for folder in (self.options.state, self.options.socket.parent, self.options.proc / "sys/kernel/random"):
            folder.mkdir(parents=True)
        (self.options.proc / "sys/kernel/random/boot_id").write_text("this start\n")
        (self.options.proc / "cmdline").write_text("quiet usbcore.authorized_default=0\n")
        self.set_default(0)

    def plug(self, port: str, *, serial: str) -> None:
        folder = self.tree.attach(port, 0x0781, 0x5581, (STORAGE,))
        for name, value in (("devnum", "2"), ("serial", serial)):
            (folder / name).write_text(f"{value}\n")
        (folder.parent / "devnum").write_text("1\n")

    def set_default(self, value: int) -> None:
        for name in ("authorized_default", "interface_authorized_default"):
            (self.folder / "sys/bus/usb/devices/usb1" / name).write_text(f"{value}\n")

    @contextmanager
    def guard(self, manager: ServiceManager = ServiceManager()) -> Iterator[Guard]:  # noqa: B008  a frozen value
        with _database(self.options.state, self.log) as (database, _):
            guard = Guard(self.options, database, self.clock, self.log, manager)
            with closing(guard):
                yield guard


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def records(guard: Guard) -> list[GuardRecord]:
    return [GuardRecord.parse(line) for line in guard.journal.after(0, 1000)]


def no_events() -> None:
    raise NoEvents("the socket was closed")


def test_a_guard_to_which_no_events_come_ends_instead_of_living_blind(machine: Machine) -> None:
    with machine.guard() as guard:
        guard.begin()
        guard._events.read = no_events  # type: ignore[method-assign]

        with pytest.raises(NoEvents):
            guard.turns.run()

    assert machine.log.names().count("task.failed") == 1
    with machine.guard() as guard:
        last = records(guard)[-1]
    assert (last.event, "the socket was closed" in last.fields["why"]) == (GuardEvent.STOPPED, True)
