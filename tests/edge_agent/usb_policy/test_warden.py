from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.database import Database
from edge_agent.devices.journal import GuardJournal
from edge_agent.devices.memory import Presence
from edge_agent.usb_policy.enforcer import Enforcer
from edge_agent.usb_policy.warden import Company, Warden
from shared.devices.device import UsbDevice
from shared.devices.record import GuardEvent, GuardRecord
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.fleet.devices import Authorized, Seen
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.fakes.usb_bus import KEYBOARD, STORAGE, FakeBus, usb_device

ALLOW = Verdict(Target.ALLOW, Cause.RULE, 1)
BLOCK = Verdict(Target.BLOCK, Cause.DEFAULT)


@dataclass
class Bench:
    """A warden over a fake bus. `rules` maps a port to its verdict; what is not named there is blocked."""

    path: Path
    bus: FakeBus = field(default_factory=FakeBus)
    rules: dict[str, Verdict] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    log: MemoryLog = field(default_factory=MemoryLog)
    companies: dict[str, Company] = field(default_factory=dict)

    @contextmanager
    def warden(self, boot: str = "boot 1") -> Iterator[Warden]:
        with closing(Database(self.path)) as database:
            yield self.warden_on(database, boot)

    def warden_on(self, database: Database, boot: str = "boot 1") -> Warden:
        return Warden(
            self.bus,
            Enforcer(self.bus),
            self,
            database=database,
            journal=GuardJournal(database, self.clock),
            presence=Presence(database, boot),
            clock=self.clock,
            log=self.log,
        )

    def judge(self, device: UsbDevice, company: Company) -> Verdict:
        self.companies[device.port] = company
        if device.is_root_hub:
            return Verdict(Target.ALLOW, Cause.ROOT_HUB)
        return self.rules.get(device.port, BLOCK)

    def carried_out(self, device: UsbDevice, verdict: Verdict) -> None:
        pass

    def gone(self, device: UsbDevice) -> None:
        pass

    def records(self, *events: GuardEvent, port: str = "1-1") -> list[GuardRecord]:
        with closing(Database(self.path)) as database:
            lines = GuardJournal(database, self.clock).after(0, 1000)
        found = map(GuardRecord.parse, lines)
        return [r for r in found if r.subject == port and (not events or r.event in events)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path / "guard.sqlite")
    bench.bus.plug(usb_device("usb1"))
    return bench


def test_a_device_is_recorded_and_decided_before_it_is_enforced_and_what_sysfs_said_comes_after(bench: Bench) -> None:
    bench.rules["1-1"] = ALLOW
    with bench.warden() as warden:
        warden.begin()
        bench.bus.plug(usb_device("1-1"))

        warden.attached("1-1")

    events = [(r.event, r.outcome) for r in bench.records()]
    assert events == [(GuardEvent.ATTACHED, 0), (GuardEvent.DECIDED, 0), (GuardEvent.ENFORCED, 0)]
    assert bench.records(GuardEvent.ENFORCED)[0].fields["authorized"] == "yes"
    assert "1-1:1.0" in bench.bus.bound


def test_a_device_that_does_not_obey_is_recorded_as_a_failure_and_shown_as_not_enforced(bench: Bench) -> None:
    bench.rules["1-1"] = ALLOW
    bench.bus.obeys = lambda port: port != "1-1"
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        (state,) = warden.states()

    assert bench.records(GuardEvent.ENFORCED)[0].outcome == 8
    assert not state.is_enforced
    assert state.authorized is Authorized.NO


def test_present_devices_follow_a_policy_that_is_loosened_and_tightened(bench: Bench) -> None:
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        assert "1-1:1.0" not in bench.bus.bound

        bench.rules["1-1"] = ALLOW
        warden.decide_again()
        assert "1-1:1.0" in bench.bus.bound

        bench.rules.clear()
        warden.decide_again()
    assert "1-1:1.0" not in bench.bus.bound
    assert [r.fields["target"] for r in bench.records(GuardEvent.DECIDED)] == ["block", "allow", "block"]


def test_deciding_again_writes_nothing_where_nothing_changed(bench: Bench) -> None:
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        before = len(bench.records())

        warden.decide_again()

    assert len(bench.records()) == before


def test_a_device_that_somebody_authorised_behind_our_back_is_taken_back(bench: Bench) -> None:
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        bench.bus.authorize("1-1", True)

        warden.decide_again()

    assert bench.bus.authorized("1-1", "") is Authorized.NO


@pytest.mark.parametrize("verdict", [ALLOW, BLOCK], ids=["allowed", "blocked"])
def test_a_device_that_leaves_while_it_is_judged_anew_is_no_failure_to_enforce(bench: Bench, verdict: Verdict) -> None:
    bench.rules["1-1"] = verdict
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        bench.bus.unplug("1-1")

        warden.decide_again()
        warden.detached("1-1")

    events = [record.event for record in bench.records()]
    assert events == [GuardEvent.ATTACHED, GuardEvent.DECIDED, GuardEvent.ENFORCED, GuardEvent.DETACHED]


def test_a_device_that_goes_on_not_obeying_is_tried_again_and_recorded_once(bench: Bench) -> None:
    bench.rules["1-1"] = ALLOW
    bench.bus.obeys = lambda port: port != "1-1"
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        for _ in range(3):
            warden.decide_again()
        assert len(bench.records(GuardEvent.ENFORCED)) == 1

        bench.bus.obeys = lambda _port: True
        warden.decide_again()

    assert [r.outcome for r in bench.records(GuardEvent.ENFORCED)] == [8, 0]


def test_an_interface_of_another_configuration_gets_what_the_verdict_says(bench: Bench) -> None:
    bench.rules["1-1"] = replace(ALLOW, interfaces=frozenset({STORAGE}))
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1", STORAGE, KEYBOARD))
        warden.attached("1-1")
        bench.bus.authorize_interface("1-1:1.1", True)

        warden.look_again("1-1")

    assert "1-1:1.1" not in bench.bus.bound


def test_attached_while_the_guard_was_down_differs_from_attached_now_and_from_still_there(bench: Bench) -> None:
    with bench.warden() as warden:
        warden.begin()
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
    bench.bus.plug(usb_device("1-2"))

    with bench.warden() as warden:
        warden.begin()
        seen = {state.port: state.seen for state in warden.states()}

    assert seen == {"usb1": Seen.BEFORE, "1-1": Seen.BEFORE, "1-2": Seen.WHILE_DOWN}


@pytest.mark.parametrize("change", ["another device", "another boot"])
def test_what_may_have_been_swapped_unseen_is_not_called_still_there(bench: Bench, change: str) -> None:
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
    if change == "another device":
        bench.bus.plug(usb_device("1-1", serial="other"))

    with bench.warden("boot 2" if change == "another boot" else "boot 1") as warden:
        warden.begin()
        seen = {state.port: state.seen for state in warden.states()}

    assert seen["1-1"] is Seen.WHILE_DOWN


def test_the_same_stick_unplugged_and_plugged_in_again_unseen_is_a_new_attachment(bench: Bench) -> None:
    stick = usb_device("1-1")
    with bench.warden() as warden:
        bench.bus.plug(stick)
        warden.attached("1-1")
        bench.bus.unplug("1-1")
        bench.bus.plug(stick)

        warden.reconcile()

    assert [r.event for r in bench.records(GuardEvent.ATTACHED, GuardEvent.DETACHED)] == [
        GuardEvent.ATTACHED,
        GuardEvent.DETACHED,
        GuardEvent.ATTACHED,
    ]


def test_what_was_unplugged_while_the_guard_was_down_is_recorded_as_detached(bench: Bench) -> None:
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
    bench.bus.unplug("1-1")

    with bench.warden() as warden:
        warden.begin()

    assert [r.fields["seen"] for r in bench.records(GuardEvent.DETACHED)] == ["while-down"]


def test_a_look_finds_what_no_event_told_of(bench: Bench) -> None:
    with bench.warden() as warden:
        warden.begin()
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        bench.bus.unplug("1-1")
        bench.bus.plug(usb_device("1-2"))

        differences = warden.reconcile()

        assert differences == 2
        assert {state.port: state.seen for state in warden.states()}["1-2"] is Seen.WHILE_DOWN
        assert warden.reconcile() == 0


def test_a_stick_that_grows_an_interface_is_judged_anew(bench: Bench) -> None:
    bench.rules["1-1"] = ALLOW
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        bench.bus.regrow("1-1", KEYBOARD)
        bench.rules.clear()

        warden.reconcile()

    assert bench.bus.authorized("1-1", "") is Authorized.NO
    assert [r.event for r in bench.records(GuardEvent.ATTACHED, GuardEvent.DETACHED)] == [
        GuardEvent.ATTACHED,
        GuardEvent.DETACHED,
        GuardEvent.ATTACHED,
    ]


def test_a_device_that_was_gone_before_it_could_be_read_is_on_record(bench: Bench) -> None:
    with bench.warden() as warden:
        warden.attached("1-1")

        assert warden.states() == []
    assert [r.event for r in bench.records()] == [GuardEvent.ATTACHED, GuardEvent.DETACHED]


def test_a_device_that_cannot_be_read_is_blocked_whatever_the_rules_say(bench: Bench) -> None:
    bench.bus.authorized_default = True
    bench.bus.plug(usb_device("1-1"))
    bench.bus.unreadable.add("1-1")
    with bench.warden() as warden:
        warden.attached("1-1")

    assert bench.bus.authorized("1-1", "") is Authorized.NO


def test_medium_that_is_not_encrypted_stays_refused_until_it_is_unplugged(bench: Bench) -> None:
    bench.rules["1-1"] = replace(ALLOW, only_encrypted=True)
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")

        warden.refuse_storage("1-1", Cause.NOT_ENCRYPTED, "a FAT file system lies on it in clear")
        warden.decide_again()

        (state,) = warden.states()
        assert (state.target, state.cause, state.authorized) == (Target.BLOCK, Cause.NOT_ENCRYPTED, Authorized.NO)
        warden.detached("1-1")
        warden.attached("1-1")
        assert bench.bus.authorized("1-1", "") is Authorized.YES


def test_after_a_restart_what_was_there_first_is_still_judged_first(bench: Bench) -> None:
    with bench.warden() as warden:
        for port in ("1-2", "1-1"):
            bench.bus.plug(usb_device(port))
            warden.attached(port)
            bench.clock.advance(timedelta(seconds=1))

    with bench.warden() as warden:
        warden.begin()

    assert [device.port for device in bench.companies["1-1"].before if not device.is_root_hub] == ["1-2"]


@pytest.mark.parametrize("tightened", [replace(ALLOW, access=Access.READ_ONLY), replace(ALLOW, only_encrypted=True)])
def test_storage_that_may_be_written_no_longer_comes_anew_since_what_is_mounted_goes_on(
    bench: Bench, tightened: Verdict
) -> None:
    bench.rules["1-1"] = ALLOW
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        warden.attached("1-1")
        bench.bus.unbound.clear()

        bench.rules["1-1"] = tightened
        warden.decide_again()
        assert bench.bus.unbound == ["1-1"]

        bench.rules["1-1"] = ALLOW
        warden.decide_again()

    assert bench.bus.unbound == ["1-1"]
    assert "1-1:1.0" in bench.bus.bound


class FullDisk(GuardJournal):
    def record(self, *notes: object) -> int:
        from edge_agent.database import DatabaseUnavailable

        raise DatabaseUnavailable("disk full")


@pytest.mark.parametrize("journal, bound", [(FullDisk, False), (GuardJournal, True)])
def test_without_a_durable_record_nothing_new_is_allowed(
    bench: Bench, journal: Callable[..., GuardJournal], bound: bool
) -> None:
    bench.rules["1-1"] = ALLOW
    with closing(Database(bench.path)) as database:
        warden = bench.warden_on(database)
        warden._journal = journal(database, bench.clock)
        bench.bus.plug(usb_device("1-1"))

        warden.attached("1-1")

    assert ("1-1:1.0" in bench.bus.bound) is bound


def test_a_full_disk_never_takes_the_pinned_keyboard_away(bench: Bench) -> None:
    bench.rules["1-1"] = Verdict(Target.ALLOW, Cause.PINNED_CONSOLE)
    with closing(Database(bench.path)) as database:
        warden = bench.warden_on(database)
        warden._journal = FullDisk(database, bench.clock)
        bench.bus.plug(usb_device("1-1", KEYBOARD))

        warden.attached("1-1")

    assert "1-1:1.0" in bench.bus.bound


def test_the_next_decision_by_time_is_the_earliest_of_all(bench: Bench) -> None:
    early, late = bench.clock.now(), bench.clock.now().replace(year=2030)
    bench.rules |= {"1-1": replace(ALLOW, until=late), "1-2": replace(ALLOW, until=early)}
    with bench.warden() as warden:
        for port in ("1-1", "1-2"):
            bench.bus.plug(usb_device(port))
            warden.attached(port)

        assert warden.next_decision() == early


def test_a_device_that_is_taken_off_the_bus_is_on_record_before(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCut(BaseException):
        pass

    def remove(port: str, _instance: str, /) -> None:
        bench.bus.unplug(port)
        raise PowerCut

    monkeypatch.setattr(bench.bus, "remove", remove)
    bench.rules["1-1"] = Verdict(Target.REJECT, Cause.RULE, 1)
    with bench.warden() as warden:
        bench.bus.plug(usb_device("1-1"))
        with pytest.raises(PowerCut):
            warden.attached("1-1")

    assert [record.event for record in bench.records()] == [GuardEvent.ATTACHED, GuardEvent.DECIDED]
