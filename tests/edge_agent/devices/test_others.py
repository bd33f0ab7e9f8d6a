from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.database import Database, DatabaseUnavailable
from edge_agent.devices.events import KernelEvent, Kind
from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.devices.others import Others
from edge_agent.devices.tree import Present
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.policy import DevicePolicy
from shared.devices.record import GuardEvent, GuardRecord
from shared.devices.verdict import Target
from shared.fleet.devices import OtherState, Seen
from tests.fakes.clock import FakeClock

CARD = Present(Kind.SD, "mmc0:0001", "type SD")
WIFI = Present(Kind.NET, "wlan0", "driver iwlwifi")


KEYBOARD = Present(Kind.INPUT, "input9", "name virtual, driver none")
ALLOWING, BLOCKING = (
    DevicePolicy(others=OtherKinds(tuple((kind, target) for kind in OtherKind)))
    for target in (Target.ALLOW, Target.BLOCK)
)


class Tree(list[Present]):
    def __call__(self) -> list[Present]:
        return list(self)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "guard.sqlite")) as database:
        yield database


class InForce:
    """A policy that can be replaced."""

    def __init__(self, policy: DevicePolicy | None = None) -> None:
        self.policy = policy

    def __call__(self) -> DevicePolicy | None:
        return self.policy


class FullJournal(GuardJournal):
    """Takes nothing until there is room again."""

    is_full = False

    def record(self, *notes: Note) -> int:
        if self.is_full:
            raise DatabaseUnavailable("disk full")
        return super().record(*notes)


def others_on(database: Database, tree: Tree, boot: str = "boot", policy: InForce | None = None) -> Others:
    return Others(tree, database, GuardJournal(database, FakeClock()), FakeClock(), boot, policy or InForce())


def event(action: str, present: Present, syspath: str = "/sys/devices/pci0000:00/x", **properties: str) -> KernelEvent:
    subsystem = {Kind.SD: "mmc", Kind.NET: "net", Kind.OPTICAL: "block", Kind.INPUT: "input"}[present.kind]
    return KernelEvent(action, subsystem, "", present.name, syspath, 1, properties)


def records(database: Database) -> list[GuardRecord]:
    return list(map(GuardRecord.parse, GuardJournal(database, FakeClock()).after(0, 100)))


def told(database: Database) -> list[tuple[GuardEvent, str, str]]:
    return [(record.event, record.subject, record.fields.get("seen", "")) for record in records(database)]


def judged(database: Database) -> list[tuple[int, str, str]]:
    """Return outcome, seen and state of each detection."""
    found = [record for record in records(database) if record.event is GuardEvent.DETECTED]
    return [(record.outcome, record.fields["seen"], record.fields["state"]) for record in found]


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


def test_what_a_program_types_with_is_looked_for_when_it_comes(database: Database) -> None:
    others = others_on(database, Tree([KEYBOARD]))

    assert others.announced(event("add", KEYBOARD, "/sys/devices/virtual/input/input9"))
    assert others.take_up() == 0


# ---- whether it may be there

NOT_ALLOWED = "not allowed: detected, not prevented"
ON_USB = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/x"


@pytest.mark.parametrize(
    "policy, card, outcome, state",
    [
        (None, CARD, 0, "not evaluated: detected, not prevented"),
        (DevicePolicy(), CARD, 0, "not evaluated: detected, not prevented"),
        (ALLOWING, CARD, 0, "allowed"),
        (BLOCKING, CARD, 4, NOT_ALLOWED),
        (BLOCKING, replace(CARD, port="1-2"), 0, "judged with its USB device"),
    ],
)
def test_what_comes_is_on_record_with_whether_policy_allows_it(
    database: Database, policy: DevicePolicy | None, card: Present, outcome: int, state: str
) -> None:
    tree = Tree()
    others = others_on(database, tree, policy=InForce(policy))
    others.take_up()
    tree.append(card)

    others.announced(event("add", card))
    others.take_up()

    assert judged(database) == [(outcome, "now", state)]
    assert [each.state.words for each in others.states()] == [state]


def test_what_becomes_not_allowed_is_recorded_once_whoever_looks_again(database: Database) -> None:
    policy, tree = InForce(ALLOWING), Tree([CARD, replace(WIFI, port="1-2")])
    others = others_on(database, tree, policy=policy)
    others.take_up()
    before = len(records(database))
    policy.policy = BLOCKING

    others.judge_again()
    others.judge_again()
    others.take_up()
    others_on(database, tree, policy=policy).take_up()

    assert len(records(database)) == before + 1
    assert judged(database)[-1] == (4, "before", NOT_ALLOWED)
    assert records(database)[-1].subject == CARD.name


def test_what_is_allowed_again_is_no_record_and_what_is_forbidden_again_is_one(database: Database) -> None:
    policy = InForce(BLOCKING)
    others = others_on(database, Tree([CARD]), policy=policy)
    others.take_up()

    for after in (None, BLOCKING, ALLOWING, BLOCKING):
        policy.policy = after
        others.judge_again()

    assert [outcome for outcome, _, _ in judged(database)] == [4, 4, 4]


def test_what_was_allowed_for_a_while_is_recorded_again_also_after_a_restart(database: Database) -> None:
    policy, tree = InForce(BLOCKING), Tree([CARD])
    others = others_on(database, tree, policy=policy)
    others.take_up()
    policy.policy = ALLOWING
    others.judge_again()

    others_on(database, tree, policy=InForce(BLOCKING)).take_up()

    assert [outcome for outcome, _, _ in judged(database)] == [4, 4]


def test_a_policy_that_changed_while_nobody_watched_is_held_against_what_is_still_there(database: Database) -> None:
    tree = Tree([CARD])
    others_on(database, tree, policy=InForce(ALLOWING)).take_up()

    others_on(database, tree, policy=InForce(BLOCKING)).take_up()

    assert judged(database) == [(0, "while-down", "allowed"), (4, "before", NOT_ALLOWED)]


def test_what_cannot_be_recorded_is_reported_at_once_and_recorded_later(database: Database) -> None:
    policy, journal = InForce(ALLOWING), FullJournal(database, FakeClock())
    others = Others(Tree([CARD]), database, journal, FakeClock(), "boot", policy)
    others.take_up()
    policy.policy, journal.is_full = BLOCKING, True

    with pytest.raises(DatabaseUnavailable):
        others.judge_again()
    assert [each.state for each in others.states()] == [OtherState.NOT_ALLOWED]
    assert len(judged(database)) == 1
    journal.is_full = False
    others.take_up()

    assert judged(database)[1:] == [(4, "before", NOT_ALLOWED)]


@pytest.mark.parametrize("syspath, outcome", [("/sys/devices/pci0000:00/x", 4), (ON_USB, 0)])
def test_what_was_gone_at_once_is_judged_by_the_place_where_it_was(
    database: Database, syspath: str, outcome: int
) -> None:
    others = others_on(database, Tree(), policy=InForce(BLOCKING))

    others.announced(event("add", CARD, syspath))
    others.take_up()

    assert [each for each, _, _ in judged(database)] == [outcome]


def test_another_disc_in_a_drive_that_is_not_allowed_is_not_allowed_either(database: Database) -> None:
    drive = Present(Kind.OPTICAL, "sr0", "vendor X")
    others = others_on(database, Tree([drive]), policy=InForce(BLOCKING))
    others.take_up()

    others.announced(event("change", drive, DISK_MEDIA_CHANGE="1"))
    others.take_up()

    assert judged(database) == [(4, "while-down", NOT_ALLOWED), (4, "now", NOT_ALLOWED)]


def test_a_name_that_moved_off_the_usb_does_not_keep_the_verdict_of_its_port(database: Database) -> None:
    tree = Tree([replace(CARD, port="1-2")])
    others = others_on(database, tree, policy=InForce(BLOCKING))
    others.take_up()
    tree[:] = [CARD]

    others.take_up()

    assert judged(database)[1:] == [(4, "before", NOT_ALLOWED)]
    assert [each.state for each in others.states()] == [OtherState.NOT_ALLOWED]


@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize("other", [replace(WIFI, instance="2"), replace(WIFI, instance="2", detail="driver another")])
def test_what_was_taken_out_and_put_back_before_anybody_looked_is_recorded_as_that(
    database: Database, other: Present, is_announced: bool
) -> None:
    tree = Tree([replace(WIFI, instance="1")])
    others = others_on(database, tree)
    others.take_up()
    tree[:] = [other]

    if is_announced:
        others.announced(event("remove", WIFI))
        others.announced(event("add", WIFI))
    unseen = others.take_up()
    again = others.take_up()

    seen = Seen.NOW if is_announced else Seen.WHILE_DOWN
    assert told(database)[1:] == [(GuardEvent.DETACHED, "wlan0", ""), (GuardEvent.DETECTED, "wlan0", seen.value)]
    assert (unseen, again) == (int(not is_announced), 0)
    assert [(state.detail, state.seen) for state in others.states()] == [(other.detail, seen)]


def test_what_was_put_in_the_place_of_something_while_the_guard_was_down_is_recorded(database: Database) -> None:
    others_on(database, Tree([replace(WIFI, instance="1")])).take_up()

    others_on(database, Tree([replace(WIFI, instance="2")])).take_up()

    assert [event for event, _, _ in told(database)] == [
        GuardEvent.DETECTED,
        GuardEvent.DETACHED,
        GuardEvent.DETECTED,
    ]


def test_what_describes_itself_otherwise_and_was_never_away_is_shown_as_it_is_and_not_told_again(
    database: Database,
) -> None:
    tree = Tree([replace(WIFI, instance="1")])
    others = others_on(database, tree)
    others.take_up()
    tree[:] = [replace(WIFI, instance="1", detail="driver bound later")]

    others.announced(event("add", WIFI))
    others.take_up()

    assert len(told(database)) == 1
    assert [state.detail for state in others.states()] == ["driver bound later"]
