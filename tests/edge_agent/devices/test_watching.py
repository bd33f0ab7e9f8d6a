from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.database import Database
from edge_agent.devices.events import KernelEvent
from edge_agent.devices.journal import GuardJournal
from edge_agent.devices.others import Others
from edge_agent.devices.udev import Missed
from edge_agent.devices.watching import Watching
from shared.devices.record import GuardEvent, GuardRecord
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog

STICK = KernelEvent("add", "usb", "usb_device", "1-1", "/sys/devices/pci/usb1/1-1", 7)


@dataclass
class Bench:
    """Watching, with events that are handed in and a USB side that notes what it is told."""

    database: Database
    coming: list[KernelEvent | Missed] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    lives: list[int] = field(default_factory=list)  # what had been told when it was said that the guard lives
    unseen: int = 0
    now_s: float = 1000.0
    broken: set[str] = field(default_factory=set)  # ports of devices at which the USB side has a bug
    log: MemoryLog = field(default_factory=MemoryLog)

    def __post_init__(self) -> None:
        self.journal = GuardJournal(self.database, FakeClock())
        self.watching = Watching(
            self,
            self,
            Others(list, self.database, self.journal, FakeClock(), "boot", lambda: None),
            self.journal,
            self.log,
            on_root_hub=lambda: self.told.append("root hub"),
            on_storage=lambda: self.told.append("storage"),
            alive=lambda: self.lives.append(len(self.told)),
            monotonic_s=lambda: self.now_s,
        )

    def read(self) -> KernelEvent | Missed | None:
        return self.coming.pop(0) if self.coming else None

    def attached(self, port: str) -> None:
        if port in self.broken:
            raise RuntimeError
        self.told.append(f"+{port}")

    def detached(self, port: str) -> None:
        self.told.append(f"-{port}")

    def reconcile(self) -> int:
        self.told.append("reconcile")
        found, self.unseen = self.unseen, 0
        return found

    def look_again(self, port: str) -> None:
        self.told.append(f"look at {port}")

    def decide_again(self) -> None:
        self.told.append("decide again")

    def disk_is_full(self, *, full: bool) -> None:
        self.database._connection.execute(f"PRAGMA query_only={int(full)}")

    def gaps(self) -> list[GuardRecord]:
        records = map(GuardRecord.parse, self.journal.after(0, 1000))
        return [record for record in records if record.event is GuardEvent.GAP]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Database(tmp_path / "guard.sqlite")) as database:
        yield Bench(database)


def test_what_is_there_at_the_start_is_no_gap(bench: Bench) -> None:
    bench.unseen = 3

    bench.watching.begin()

    assert bench.told == ["storage"]
    assert bench.gaps() == []


def test_events_reach_whom_they_concern_and_the_company_is_judged_anew_once(bench: Bench) -> None:
    gone = KernelEvent("remove", "usb", "usb_device", "1-2", "/sys/devices/pci/usb1/1-2", 8)
    disk = KernelEvent("add", "block", "disk", "sda", "/sys/devices/pci/usb1/1-1/block/sda", 9)
    other = KernelEvent("add", "net", "", "eth9", "/sys/devices/virtual/net/eth9", 10)
    bench.coming = [STICK, gone, other, disk]

    bench.watching.drain()

    assert bench.told == ["+1-1", "-1-2", "decide again", "storage"]


def test_a_new_controller_is_closed_before_what_hangs_on_it_is_looked_at(bench: Bench) -> None:
    hub = KernelEvent("add", "usb", "usb_device", "usb3", "/sys/devices/pci/usb3", 7)
    bench.coming = [hub]

    bench.watching.drain()

    assert bench.told[:2] == ["root hub", "+usb3"]


@pytest.mark.parametrize("action", ["add", "bind"])
def test_an_interface_that_the_kernel_makes_or_binds_has_its_device_looked_at_again(bench: Bench, action: str) -> None:
    bench.coming = [KernelEvent(action, "usb", "usb_interface", "1-1:1.0", "/sys/devices/pci/usb1/1-1/1-1:1.0", 7)]

    bench.watching.drain()

    assert bench.told == ["look at 1-1"]


@pytest.mark.parametrize(
    "event",
    [
        KernelEvent("bind", "usb", "usb_device", "1-1", "/sys/devices/pci/usb1/1-1", 7),
        KernelEvent("add", "usb", "usb_device", "1-1", "/sys/devices/pci/usb1/1-1", 7, {"SYNTH_UUID": "0"}),
    ],
)
def test_what_is_no_attachment_is_none(bench: Bench, event: KernelEvent) -> None:
    bench.coming = [event]

    bench.watching.drain()

    assert bench.told == []


def test_a_missed_event_becomes_a_gap_record_that_says_what_was_found(bench: Bench) -> None:
    bench.unseen = 2
    bench.coming = [Missed(5, 7, "numbers that did not come")]

    bench.watching.drain()

    (gap,) = bench.gaps()
    assert (gap.fields["found"], gap.fields["missed"], gap.fields["numbers"]) == ("2", "3", "5 to 7")
    assert gap.outcome == 8
    assert bench.watching.gaps == 1


def test_gaps_without_a_consequence_are_told_together_and_never_silently_dropped(bench: Bench) -> None:
    for number in range(1, 101):
        bench.coming = [Missed(number, number, "numbers that did not come")]
        bench.watching.drain()

    assert [gap.fields["missed"] for gap in bench.gaps()] == ["1"]
    bench.watching.tell(0)
    assert [gap.fields["missed"] for gap in bench.gaps()] == ["1", "99"]


def test_an_event_that_cannot_be_taken_up_costs_neither_a_miss_read_before_nor_an_event_after_it(bench: Bench) -> None:
    another = KernelEvent("add", "usb", "usb_device", "1-2", "/sys/devices/pci/usb1/1-2", 8)
    bench.broken = {"1-1"}
    bench.coming = [Missed(5, 6, "numbers that did not come"), STICK, another]

    bench.watching.drain()

    assert bench.told[:2] == ["+1-2", "root hub"]
    assert "reconcile" in bench.told
    (gap,) = bench.gaps()
    assert (gap.fields["missed"], gap.fields["numbers"]) == ("3", "5 to 7")
    assert gap.fields["why"] == "numbers that did not come; an event could not be taken up"
    assert bench.log.names() == ["task.failed"]


def test_a_miss_is_told_although_the_look_for_it_fails(bench: Bench) -> None:
    bench.coming = [Missed(5, 6, "numbers that did not come")]
    bench.reconcile = broken  # type: ignore[method-assign]

    with pytest.raises(RuntimeError):
        bench.watching.drain()

    assert [gap.fields["missed"] for gap in bench.gaps()] == ["2"]


def test_a_gap_that_cannot_be_recorded_counts_and_is_recorded_as_soon_as_it_can(bench: Bench) -> None:
    bench.disk_is_full(full=True)
    bench.unseen = 2
    bench.coming = [Missed(5, 6, "numbers that did not come")]
    bench.watching.drain()
    bench.watching.tell(0)
    assert (bench.gaps(), bench.watching.gaps) == ([], 1)

    bench.disk_is_full(full=False)
    bench.watching.tell(0)
    bench.watching.tell(0)

    assert [(gap.fields["found"], gap.fields["missed"]) for gap in bench.gaps()] == [("2", "2")]
    assert bench.watching.gaps == 1


def test_what_a_look_finds_without_any_event_is_a_gap_too(bench: Bench) -> None:
    bench.unseen = 1

    bench.watching.look()

    assert [gap.fields["why"] for gap in bench.gaps()] == ["no event announced it"]
    assert bench.watching.look() == 0
    assert len(bench.gaps()) == 1


def test_a_flood_of_events_leaves_the_others_their_turn(bench: Bench) -> None:
    bench.coming = [STICK] * 1000

    bench.watching.drain()

    assert 0 < len(bench.coming) < 1000


def broken() -> int:
    raise RuntimeError


def test_it_is_said_between_devices_that_the_guard_lives(bench: Bench) -> None:
    bench.coming = [STICK, STICK, STICK]

    bench.watching.drain()

    assert bench.lives == [0, 1, 2]
