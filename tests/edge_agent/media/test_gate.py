"""The gate with children that answer what a test says, in a process of their own."""

import selectors
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edge_agent.children import Children
from edge_agent.database import Database
from edge_agent.devices.journal import GuardJournal
from edge_agent.media.answer import Answer
from edge_agent.media.disks import Disk, announce, usb_disks
from edge_agent.media.gate import StorageGate, child_command
from edge_agent.media.survey import survey
from edge_agent.turns import Turns
from shared.devices.record import GuardEvent, GuardRecord
from shared.devices.verdict import Access, Cause, Target, Verdict
from tests.edge_agent.media.made import luks2_bytes
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog

DISK = Disk("8:0", "41", "1-1")
READ_WRITE = Verdict(Target.ALLOW, Cause.RULE, 1)
READ_ONLY = replace(READ_WRITE, access=Access.READ_ONLY)
ONLY_ENCRYPTED = replace(READ_WRITE, only_encrypted=True)
_SIZE = 1 << 20


def in_clear(offset: int, size: int) -> bytes:
    image = bytearray(_SIZE)
    image[54:62], image[510:512], image[11:13] = b"FAT16   ", b"\x55\xaa", b"\x00\x02"
    return bytes(image[offset : offset + size])


@dataclass
class Bench:
    path: Path
    turns: Turns
    database: Database
    disks: list[Disk] = field(default_factory=lambda: [DISK])
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    asked: list[Access | None] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    now_s: float = 100.0
    read_at: Callable[[int, int], bytes] | None = in_clear
    obeys: bool = True

    def __post_init__(self) -> None:
        self.journal = GuardJournal(self.database, FakeClock())
        self.children = Children(self.turns)
        self.gate = StorageGate(
            lambda: list(self.disks),
            self.children,
            self.journal,
            verdict=self.verdicts.get,
            refuse=self.refuse,
            announce=lambda _disk, uuid: self.announced.append(uuid),
            marks=self.path,
            log=MemoryLog(),
            command=self.command,
            monotonic_s=lambda: self.now_s,
        )

    def refuse(self, port: str, cause: Cause, why: str) -> None:
        self.refused.append((port, why))
        self.causes.append(cause)
        self.verdicts[port] = Verdict(Target.BLOCK, cause)

    def command(self, disk: Disk, access: Access | None) -> list[str]:
        self.asked.append(access)
        flag = access is Access.READ_ONLY if self.obeys else access is not Access.READ_ONLY
        looked_at = survey(self.read_at, _SIZE, 512, ()) if self.read_at is not None else None
        number = disk.number
        answer = Answer(number, ((number, flag),), looked_at, "" if looked_at else "input/output error")
        return [sys.executable, "-c", f"import sys; sys.stdout.buffer.write(bytes.fromhex({answer.encode().hex()!r}))"]

    def look(self) -> None:
        """Look, and wait for all that comes of it."""
        self.gate.look()
        deadline = time.monotonic() + 60
        while self.children.running:
            assert time.monotonic() < deadline
            self.turns.take()

    def judged(self) -> list[GuardRecord]:
        records = map(GuardRecord.parse, self.journal.after(0, 100))
        return [record for record in records if record.event is GuardEvent.STORAGE_JUDGED]

    def is_marked_writable(self) -> bool:
        return (self.path / "writable" / DISK.sequence).exists()

    def is_released(self) -> bool:
        return (self.path / "released" / DISK.sequence).exists()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with closing(Database(tmp_path / "guard.sqlite")) as database, selectors.DefaultSelector() as selector:
        turns = Turns(MemoryLog(), selector)
        turns.every("tick", 0.05, lambda: None)
        yield Bench(tmp_path, turns, database)


def test_a_disk_that_may_only_be_read_is_set_so_and_that_is_proved(bench: Bench) -> None:
    bench.verdicts["1-1"] = READ_ONLY

    bench.look()

    assert bench.asked == [Access.READ_ONLY]
    assert not bench.is_marked_writable()
    (record,) = bench.judged()
    assert (record.fields["set"], record.outcome) == ("read-only", 0)
    assert bench.is_released()
    assert len(bench.announced) == 1


def test_what_the_kernel_did_not_set_is_not_called_set(bench: Bench) -> None:
    bench.verdicts["1-1"], bench.obeys = READ_ONLY, False

    bench.look()

    (record,) = bench.judged()
    assert (record.fields["set"], record.outcome) == ("not proved to be read-only", 8)
    assert bench.causes == [Cause.NOT_READ_ONLY]
    assert not bench.is_released()


def test_a_disk_that_may_be_written_is_marked_for_the_udev_rule_before_it_is_opened(bench: Bench) -> None:
    bench.verdicts["1-1"] = READ_WRITE

    bench.look()

    assert bench.asked == [Access.READ_WRITE]
    assert bench.is_marked_writable()


def test_a_stick_in_clear_is_refused_where_only_encrypted_ones_may_be_used(bench: Bench) -> None:
    bench.verdicts["1-1"] = ONLY_ENCRYPTED

    bench.look()

    assert [port for port, _ in bench.refused] == ["1-1"]
    assert bench.asked == [Access.READ_ONLY]
    assert not bench.is_marked_writable()
    assert bench.judged()[0].fields["verdict"] == "refused"


def test_a_stick_that_policy_says_encrypts_in_hardware_is_let_in_and_called_asserted(bench: Bench) -> None:
    bench.verdicts["1-1"] = replace(ONLY_ENCRYPTED, hardware_encrypted=True)

    bench.look()

    assert bench.refused == []
    assert bench.asked == [Access.READ_ONLY, Access.READ_WRITE]
    assert {record.fields["state"] for record in bench.judged()} == {"asserted by list, not measured"}
    assert bench.judged()[0].fields["evidence"].startswith("disk: ")


def test_a_stick_that_cannot_be_read_is_not_evaluated_and_refused(bench: Bench) -> None:
    bench.verdicts["1-1"], bench.read_at = ONLY_ENCRYPTED, None

    bench.look()

    assert [port for port, _ in bench.refused] == ["1-1"]
    assert bench.judged()[0].fields["verdict"] == "not evaluated"


def test_a_look_child_that_dies_opens_nothing(bench: Bench) -> None:
    bench.verdicts["1-1"] = ONLY_ENCRYPTED
    bench.gate._command = lambda _disk, _access: [sys.executable, "-c", "import os; os.abort()"]

    bench.look()

    assert [port for port, _ in bench.refused] == ["1-1"]


def test_storage_of_a_device_that_is_not_allowed_is_left_alone(bench: Bench) -> None:
    bench.verdicts["1-1"] = Verdict(Target.BLOCK, Cause.DEFAULT)

    bench.look()

    assert bench.asked == []


def test_a_disk_is_treated_once_and_anew_when_its_verdict_changes(bench: Bench) -> None:
    bench.verdicts["1-1"] = READ_WRITE
    bench.look()
    bench.look()
    assert bench.asked == [Access.READ_WRITE]

    bench.verdicts["1-1"] = READ_ONLY
    bench.look()

    assert bench.asked == [Access.READ_WRITE, Access.READ_ONLY]
    assert not bench.is_marked_writable()


def test_another_disk_under_the_same_number_is_looked_at_anew_and_the_mark_goes(bench: Bench) -> None:
    bench.verdicts["1-1"] = READ_WRITE
    bench.look()
    bench.disks = [replace(DISK, sequence="42")]

    bench.look()

    assert len(bench.asked) == 2
    assert not bench.is_marked_writable()


def luks2(offset: int, size: int) -> bytes:
    image = luks2_bytes()
    return (image + bytes(_SIZE - len(image)))[offset : offset + size]


def test_an_encrypted_stick_is_written_only_after_it_was_looked_at_and_released_after_that(bench: Bench) -> None:
    bench.verdicts["1-1"], bench.read_at = ONLY_ENCRYPTED, luks2

    bench.gate.look()
    assert not bench.is_marked_writable()
    assert not bench.is_released()
    bench.look()

    assert bench.refused == []
    assert bench.asked == [Access.READ_ONLY, Access.READ_WRITE]
    assert bench.is_marked_writable()
    assert bench.is_released()


def test_a_stick_that_was_encrypted_and_is_written_over_in_clear_is_refused(bench: Bench) -> None:
    bench.verdicts["1-1"], bench.read_at = ONLY_ENCRYPTED, luks2
    bench.look()
    bench.read_at = in_clear
    bench.gate.changed("1-1", bench.announced[0])
    bench.now_s += 60
    bench.look()
    assert bench.refused == []  # that change was our own

    bench.gate.changed("1-1")
    bench.look()

    assert bench.causes == [Cause.NOT_ENCRYPTED]


def test_a_verdict_that_changes_during_a_look_is_carried_out_after_it_and_never_beside_it(bench: Bench) -> None:
    bench.verdicts["1-1"] = READ_WRITE
    bench.gate.look()
    bench.verdicts["1-1"] = READ_ONLY
    bench.gate.look()
    assert bench.asked == [Access.READ_WRITE]

    bench.look()

    assert bench.asked == [Access.READ_WRITE, Access.READ_ONLY]
    assert not bench.is_marked_writable()


def test_what_a_child_says_of_a_disk_that_is_gone_refuses_nobody(bench: Bench) -> None:
    bench.verdicts["1-1"] = ONLY_ENCRYPTED
    bench.gate.look()
    bench.disks.clear()

    while bench.children.running:
        bench.turns.take()

    assert bench.refused == []


def test_the_child_is_told_which_disk_and_medium_is_meant() -> None:
    assert child_command(DISK, Access.READ_ONLY)[-5:] == ["8:0", "--sequence", "41", "--set", "read-only"]
    assert child_command(replace(DISK, sequence=""), None)[-1] == "8:0"


def test_a_disk_and_its_partitions_are_announced_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "dev/block/8:0"
    for place in (folder, folder / "sda1", folder / "queue"):
        place.mkdir(parents=True)
        (place / "uevent").write_text("")
    (folder / "sda1/partition").write_text("1\n")

    announce(DISK, "0b5c", tmp_path)
    announce(replace(DISK, number="8:99"), "0b5c", tmp_path)

    assert (folder / "uevent").read_text() == "change 0b5c"
    assert (folder / "sda1/uevent").read_text() == "change 0b5c"
    assert (folder / "queue/uevent").read_text() == ""


def test_disks_on_the_usb_are_found_in_sysfs_and_partitions_and_others_are_not(tmp_path: Path) -> None:
    usb = tmp_path / "devices/pci0/usb1/1-1/1-1:1.0/host3/target3:0:0/3:0:0:0/block/sda"
    ata = tmp_path / "devices/pci0/ata1/host0/target0:0:0/0:0:0:0/block/sdb"
    for folder, number in ((usb, "8:0"), (usb / "sda1", "8:1"), (ata, "8:16")):
        folder.mkdir(parents=True)
        (folder / "dev").write_text(f"{number}\n")
    (usb / "diskseq").write_text("9\n")
    (usb / "sda1" / "partition").write_text("1\n")
    (tmp_path / "class/block").mkdir(parents=True)
    for folder in (usb, usb / "sda1", ata):
        (tmp_path / "class/block" / folder.name).symlink_to(folder)

    assert usb_disks(tmp_path) == [Disk("8:0", "9", "1-1")]
    assert usb_disks(tmp_path / "nowhere") == []
