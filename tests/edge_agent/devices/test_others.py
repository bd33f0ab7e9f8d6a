from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.database import Database
from edge_agent.devices.events import KernelEvent, Kind
from edge_agent.devices.journal import GuardJournal
from edge_agent.devices.others import Others
from edge_agent.devices.tree import Present
from shared.devices.record import GuardEvent, GuardRecord
from shared.fleet.devices import Seen
from tests.fakes.clock import FakeClock

CARD = Present(Kind.SD, "mmc0:0001", "type SD")
WIFI = Present(Kind.NET, "wlan0", "driver iwlwifi")


class Tree(list[Present]):
    def __call__(self) -> list[Present]:
        return list(self)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "guard.sqlite")) as database:
        yield database


def others_on(database: Database, tree: Tree, boot: str = "boot") -> Others:
    return Others(tree, database, GuardJournal(database, FakeClock()), FakeClock(), boot)


def event(action: str, present: Present, syspath: str = "/sys/devices/pci0000:00/x", **properties: str) -> KernelEvent:
    subsystem = {Kind.SD: "mmc", Kind.NET: "net", Kind.OPTICAL: "block"}[present.kind]
    return KernelEvent(action, subsystem, "", present.name, syspath, 1, properties)


def told(database: Database) -> list[tuple[GuardEvent, str, str]]:
    lines = GuardJournal(database, FakeClock()).after(0, 100)
    return [(r.event, r.subject, r.fields.get("seen", "")) for r in map(GuardRecord.parse, lines)]


def test_a_card_that_is_put_in_now_is_told_from_one_that_came_unseen(database: Database) -> None:
    tree = Tree()
    others = others_on(database, tree)
    others.take_up()

    tree += [CARD, WIFI]
    assert others.announced(event("add", CARD))
    unseen = others.take_up()

    assert unseen == 1
    assert {state.name: state.seen for state in others.states()} == {"mmc0:0001": Seen.NOW, "wlan0": Seen.WHILE_DOWN}
    assert {(e, name, seen) for e, name, seen in told(database)} == {
        (GuardEvent.DETECTED, "mmc0:0001", "now"),
        (GuardEvent.DETECTED, "wlan0", "while-down"),
    }


def test_what_was_there_before_a_restart_is_not_told_again_within_one_start_of_the_machine(database: Database) -> None:
    tree = Tree([WIFI])
    others_on(database, tree).take_up()
    before = told(database)

    again = others_on(database, tree)
    again.take_up()

    assert told(database) == before
    assert [state.seen for state in again.states()] == [Seen.BEFORE]
    other_boot = others_on(database, tree, "another boot")
    other_boot.take_up()
    assert [state.seen for state in other_boot.states()] == [Seen.WHILE_DOWN]


def test_what_came_and_went_before_anybody_looked_is_on_record(database: Database) -> None:
    others = others_on(database, Tree())

    others.announced(event("add", CARD))
    others.take_up()

    assert [e for e, _, _ in told(database)] == [GuardEvent.DETECTED, GuardEvent.DETACHED]


def test_what_goes_is_recorded_once(database: Database) -> None:
    tree = Tree([CARD])
    others = others_on(database, tree)
    others.take_up()
    tree.clear()

    others.announced(event("remove", CARD))
    others.take_up()
    others.take_up()

    assert [e for e, _, _ in told(database)] == [GuardEvent.DETECTED, GuardEvent.DETACHED]


def test_another_disc_in_the_same_drive_is_recorded(database: Database) -> None:
    drive = Present(Kind.OPTICAL, "sr0", "vendor X")
    others = others_on(database, Tree([drive]))
    others.take_up()

    others.announced(event("change", drive, DISK_MEDIA_CHANGE="1"))
    others.take_up()

    assert len(told(database)) == 2


@pytest.mark.parametrize(
    "unrelated",
    [
        KernelEvent("add", "block", "disk", "loop0", "/sys/devices/virtual/block/loop0", 1),
        KernelEvent("add", "block", "partition", "sda1", "/sys/devices/pci/sda/sda1", 1),
        KernelEvent("add", "usb", "usb_device", "1-1", "/sys/devices/pci/usb1/1-1", 1),
        KernelEvent("add", "net", "", "eth0", "/sys/devices/pci/net/eth0", 1, {"SYNTH_UUID": "0"}),
        KernelEvent("bind", "pci", "", "0000:00:01.0", "/sys/devices/pci/0000:00:01.0", 1),
    ],
)
def test_what_is_no_attachment_causes_no_look(database: Database, unrelated: KernelEvent) -> None:
    assert not others_on(database, Tree()).announced(unrelated)
