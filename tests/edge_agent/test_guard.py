"""The joined guard in this process, over folders that look like /sys and /proc; its turns are taken one by one."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.console.plan import PINS
from edge_agent.database import DatabaseDamaged, DatabaseUnavailable
from edge_agent.devices.events import KernelEvent
from edge_agent.devices.sysfs import SysfsUsb
from edge_agent.devices.udev import NoEvents
from edge_agent.guard import Guard, run
from edge_agent.guard_database import opened
from edge_agent.guard_host import AlreadyGuarded, alone
from edge_agent.guard_options import RunOptions
from edge_agent.usb_policy.default_deny import Denial
from edge_agent.usb_policy.exchange import VerifiedPolicy
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import Trust, trust_file
from edge_agent.watchdog import ServiceManager
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.record import GuardEvent, GuardRecord
from shared.devices.verdict import Cause
from shared.fleet.devices import Authorized
from shared.policy.accept import AcceptedPolicy
from tests.control_plane.vault.tmpfs import small_filesystem
from tests.edge_agent.test_guard_database import destroy, fill
from tests.edge_agent.usb_policy.bench import Guard as SignedPolicies
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.fakes.usb_tree import CONTROLLER, KEYBOARD, STORAGE, UsbTree

__all__ = ["small_filesystem"]

EVERYTHING = DevicePolicy((DeviceRule(parse_rule("allow", 1)),))


@dataclass
class Machine:
    """A machine with one root hub; `guard` runs a guard on it, as often as a test wants to."""

    folder: Path
    state: Path | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    log: MemoryLog = field(default_factory=MemoryLog)

    def __post_init__(self) -> None:
        self.tree = UsbTree(self.folder / "sys")
        self.plug("1-1", serial="first")
        self.options = RunOptions(
            self.state or self.folder / "state",
            self.folder / "run" / "guard.sock",
            sys=self.folder / "sys",
            proc=self.folder / "proc",
        )
        for folder in (self.options.state, self.options.socket.parent, self.options.proc / "sys/kernel/random"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.options.proc / "sys/kernel/random/boot_id").write_text("this start\n")
        (self.options.proc / "cmdline").write_text("quiet usbcore.authorized_default=0\n")
        self.set_default(0)

    def plug(self, port: str, *, serial: str) -> None:
        folder = self.tree.attach(port, 0x0781, 0x5581, (STORAGE,))
        for name, value in (("devnum", "2"), ("serial", serial)):
            (folder / name).write_text(f"{value}\n")
        (folder.parent / "devnum").write_text("1\n")

    def accept(self, devices: DevicePolicy | None) -> None:
        """Have a policy in force that was accepted before the guard starts."""
        trust = SignedPolicies(self.options.state).trust
        signed_at = self.clock.now()
        GuardPolicyStore(self.options.state, trust).take(
            VerifiedPolicy(trust.layer, 1, bytes(32), signed_at + timedelta(days=1), signed_at, devices)
        )

    def pin(self, *parts: str) -> Trust:
        trust = replace(SignedPolicies(self.options.state).trust, parts=parts)
        trust_file(self.options.state).write_bytes(trust.encode())
        return trust

    def default(self) -> str:
        return (self.folder / "sys/bus/usb/devices/usb1/authorized_default").read_text().strip()

    def set_default(self, value: int) -> None:
        for name in ("authorized_default", "interface_authorized_default"):
            (self.folder / "sys/bus/usb/devices/usb1" / name).write_text(f"{value}\n")

    @contextmanager
    def guard(self, manager: ServiceManager = ServiceManager()) -> Iterator[Guard]:  # noqa: B008  a frozen value
        denial = Denial(SysfsUsb(self.options.sys, self.options.proc), self.options.opened)
        with opened(self.options.state, self.log) as database:
            guard = Guard(self.options, database, denial, self.clock, self.log, manager)
            with closing(guard):
                yield guard


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def records(guard: Guard) -> list[GuardRecord]:
    return [GuardRecord.parse(line) for line in guard.journal.after(0, 1000)]


def allowed(guard: Guard) -> set[str]:
    return {device.port for device in guard._report().devices if device.authorized is Authorized.YES}


@contextmanager
def unwritable(disk: Path, how: str) -> Iterator[None]:
    if how == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        return
    file = disk / "somebody-else-s"
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(4096))
    yield
    file.unlink()


def take_until(guard: Guard, holds: Callable[[], bool]) -> None:
    guard.turns.every("tick", 0.05, lambda: None)
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        guard.turns.take()


def heard(listening: socket.socket) -> list[bytes]:
    messages = []
    with suppress(BlockingIOError):
        while True:
            messages.append(listening.recv(4096))
    return messages


def broken() -> int:
    raise DatabaseUnavailable("the disk is gone")


def no_events() -> None:
    raise NoEvents("the socket was closed")


def test_a_guard_to_which_no_events_come_ends_instead_of_living_blind(machine: Machine) -> None:
    with machine.guard() as guard:
        guard.begin()
        guard._events.read = no_events  # type: ignore[method-assign]
        guard.turns.once_within("glance", 0)

        with pytest.raises(NoEvents):
            guard.turns.run()

    assert machine.log.names().count("task.failed") == 1
    with machine.guard() as guard:
        last = records(guard)[-1]
    assert (last.event, "the socket was closed" in last.fields["why"]) == (GuardEvent.STOPPED, True)


def test_a_hub_that_is_found_open_is_recorded_and_the_machine_is_not_called_closed_again(machine: Machine) -> None:
    with machine.guard() as guard:
        guard.begin()
        assert guard._report().default_deny == "boot"
        machine.set_default(1)
        guard._look()
        guard._look()

        assert guard._report().default_deny == "late"
        (gap,) = [record for record in records(guard) if record.event is GuardEvent.GAP]
    assert (gap.subject, gap.fields["found"], gap.outcome) == ("default deny", "usb1", 8)

    with machine.guard() as guard:
        guard.begin()
        assert guard._report().default_deny == "late"


def test_a_hub_that_was_found_open_is_recorded_as_soon_as_that_is_possible(machine: Machine) -> None:
    machine.set_default(1)
    with machine.guard() as guard:
        guard._database._connection.execute("PRAGMA query_only=1")
        guard.begin()
        guard._database._connection.execute("PRAGMA query_only=0")
        guard._look()

        assert "default deny" in [record.subject for record in records(guard)]


def test_the_kernel_is_told_to_block_before_anything_that_can_fail(machine: Machine) -> None:
    machine.set_default(1)
    with alone(machine.options.state), pytest.raises(AlreadyGuarded):
        run(machine.options)

    assert machine.default() == "0"
    with machine.guard() as guard:
        guard.begin()
        assert guard._report().default_deny == "late"


def test_a_database_that_turns_out_to_be_damaged_ends_the_guard_and_the_next_one_begins_anew(machine: Machine) -> None:
    with machine.guard() as guard:
        fill(guard._database)
        guard.begin()
        guard._database.empty_log()
        destroy(machine.options.state / "guard.sqlite", "guard_record")
        guard._database._reading.execute("PRAGMA shrink_memory")
        guard.turns.every("asked for records", 0, lambda: guard.journal.after(0, 10))

        with pytest.raises(DatabaseDamaged):
            guard.turns.run()

    with machine.guard() as guard:
        guard.begin()
        (gap,) = [record for record in records(guard) if record.event is GuardEvent.GAP]
        assert (gap.subject, gap.outcome) == ("records", 12)
        assert allowed(guard) == {"usb1"}


@pytest.mark.parametrize("is_new", [True, False], ids=["first start", "later start"])
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_guard_that_can_record_nothing_blocks_says_so_and_tries_again(
    tmp_path: Path, small_filesystem: Path, how: str, is_new: bool
) -> None:
    machine = Machine(tmp_path, small_filesystem)
    machine.accept(EVERYTHING)
    if not is_new:
        with machine.guard() as guard:
            guard.begin()
            assert allowed(guard) == {"usb1", "1-1"}
    with unwritable(small_filesystem, how), machine.guard() as guard:
        guard.begin()

        report = guard._report()
        assert allowed(guard) == {"usb1"}
        assert {device.cause for device in report.devices} == {Cause.ROOT_HUB, Cause.UNRECORDED}
        assert report.policy_error.startswith("nothing is allowed, as it cannot be recorded: ")
        guard.turns.once_within("unrecorded", 0)
        with pytest.raises(DatabaseUnavailable):
            guard.turns.run()

    with machine.guard() as guard:
        guard.begin()
        assert allowed(guard) == {"usb1", "1-1"}
        assert guard._report().policy_error == ""


def test_it_reports_by_which_version_of_each_pinned_layer_it_acts(machine: Machine) -> None:
    trust = machine.pin("site-north", "modality-ct")
    north, newer = (AcceptedPolicy("site-north", version, bytes(31) + bytes([version])) for version in (4, 5))
    with machine.guard() as guard:
        guard.begin()
        assert [(each.layer, each.in_force) for each in guard._report().layers] == [
            ("site-north", 0),
            ("modality-ct", 0),
        ]
    now = machine.clock.now()
    whole = VerifiedPolicy(
        trust.layer, 1, bytes(32), now + timedelta(days=1), now, EVERYTHING, parts=(north,), newer=(newer,)
    )
    GuardPolicyStore(machine.options.state, trust).take(whole)
    with machine.guard() as guard:
        guard.begin()
        report = guard._link._desk.report()

        assert (report.policy, report.in_force("site-north"), report.in_force("modality-ct")) == (1, 4, 0)


def test_control_a_guard_without_further_layers_reports_none(machine: Machine) -> None:
    machine.accept(EVERYTHING)
    with machine.guard() as guard:
        guard.begin()

        assert guard._report().layers == ()


def test_a_guard_that_cannot_read_its_records_begins_all_the_same(machine: Machine) -> None:
    with machine.guard() as guard:
        guard.journal.written = broken  # type: ignore[method-assign]

        guard.begin()

        assert "the disk is gone" in guard._status()


def test_a_root_that_is_pinned_while_the_guard_runs_is_followed_after_a_new_start_and_that_is_said(
    machine: Machine,
) -> None:
    with machine.guard() as guard:
        guard.begin()
        offer = SignedPolicies(machine.options.state).publish(1, EVERYTHING)

        for _ in range(2):
            guard._keeper.offer(offer.head, offer.layers[0])
            take_until(guard, lambda: "start the guard anew" in guard._report().policy_error)

        assert [record.event for record in records(guard)].count(GuardEvent.POLICY_REFUSED) == 1
        assert (guard._report().policy, allowed(guard)) == (0, {"usb1"})

    with machine.guard() as guard:
        guard.begin()
        guard._keeper.offer(offer.head, offer.layers[0])
        take_until(guard, lambda: guard._report().policy == 1)

        assert (guard._report().policy_error, allowed(guard)) == ("", {"usb1", "1-1"})


@pytest.mark.parametrize("is_announced", [True, False])
def test_what_comes_later_ends_on_time_too(machine: Machine, is_announced: bool) -> None:
    soon = machine.clock.now() + timedelta(seconds=5)
    machine.accept(DevicePolicy((DeviceRule(parse_rule('allow serial "second"', 1), not_after=soon),)))
    with machine.guard() as guard:
        guard.begin()
        due = guard.turns._due["time"]
        assert due.at - time.monotonic() > 30
        machine.plug("1-2", serial="second")
        if is_announced:
            coming = [KernelEvent("add", "usb", "usb_device", "1-2", f"/sys{CONTROLLER}/usb1/1-2", 1)]
            guard._events.read = lambda: coming.pop() if coming else None  # type: ignore[method-assign]
        guard.turns.once_within("glance" if is_announced else "look", 0)
        guard.turns.take()
        assert allowed(guard) == {"usb1", "1-2"}
        assert due.at - time.monotonic() < 6

        machine.clock.advance(timedelta(seconds=5))
        due.at = 0
        guard.turns.take()

        assert allowed(guard) == {"usb1"}


@pytest.mark.parametrize("devices, version", [(EVERYTHING, 1), (None, 0)])
def test_a_policy_that_says_nothing_of_devices_is_none_that_is_enforced(
    machine: Machine, devices: DevicePolicy | None, version: int
) -> None:
    machine.accept(devices)
    with machine.guard() as guard:
        guard.begin()

        assert guard._report().policy == version


@pytest.mark.parametrize("apart_s", [0.0, 3600.0])
def test_it_is_said_between_devices_that_the_guard_lives_and_during_the_start_that_it_takes_longer(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart_s: float
) -> None:
    monkeypatch.setattr("edge_agent.guard._ALIVE_APART_S", apart_s)
    for number in range(2, 5):
        machine.plug(f"1-{number}", serial=str(number))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        with machine.guard(ServiceManager(str(tmp_path / "notify"))) as guard:
            guard.begin()
            at_the_start = heard(listening)
            guard._warden.decide_again()
            later = heard(listening)

    *starting, ready = at_the_start
    assert starting == [b"EXTEND_TIMEOUT_USEC=60000000"] * len(starting)
    assert ready.startswith(b"READY=1")
    if apart_s:
        assert (len(starting), later) == (1, [])
    else:
        assert len(starting) >= 5
        assert later == [b"WATCHDOG=1"] * 5


def counting(machine: Machine, upto: int) -> None:
    (machine.folder / "sys/kernel").mkdir(exist_ok=True)
    (machine.folder / "sys/kernel/uevent_seqnum").write_text(f"{upto}\n")


def test_a_glance_at_the_kernel_s_count_finds_what_nobody_announced(machine: Machine) -> None:
    counting(machine, 7)
    with machine.guard() as guard:
        guard.begin()
        machine.plug("1-2", serial="second")
        guard.turns.once_within("glance", 0)
        guard.turns.take()
        assert "1-2" not in {device.port for device in guard._report().devices}, "nothing was counted, so no look"

        counting(machine, 8)
        guard.turns.once_within("glance", 0)
        take_until(guard, lambda: "1-2" in {device.port for device in guard._report().devices})

        (gap,) = [record for record in records(guard) if record.event is GuardEvent.GAP]
        assert (gap.fields["missed"], gap.fields["found"], gap.fields["numbers"]) == ("1", "1", "8 to 8")


def test_where_the_kernel_counts_nothing_a_glance_is_a_look(machine: Machine) -> None:
    with machine.guard() as guard:
        guard.begin()
        machine.plug("1-2", serial="second")
        guard.turns.once_within("glance", 0)
        guard.turns.take()

        assert "1-2" in {device.port for device in guard._report().devices}


def test_a_glance_finds_a_hub_that_was_opened(machine: Machine) -> None:
    counting(machine, 7)
    with machine.guard() as guard:
        guard.begin()
        machine.set_default(1)
        guard.turns.once_within("glance", 0)
        guard.turns.take()

        assert (machine.default(), guard._report().default_deny) == ("0", "late")


@pytest.mark.parametrize("passed, judged", [(0.0, 0), (5.0, 1), (-5.0, 1)], ids=["kept", "set on", "set back"])
def test_devices_are_judged_anew_when_the_clock_was_set_and_not_each_minute(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, passed: float, judged: int
) -> None:
    times: list[None] = []
    with machine.guard() as guard:
        guard.begin()
        monkeypatch.setattr(guard._warden, "decide_again", lambda: times.append(None))
        up = timedelta(seconds=1000)
        for seconds in (60.0, 60.0 + passed):
            up += timedelta(seconds=60)
            monkeypatch.setattr("edge_agent.guard.uptime", lambda up=up: up)
            machine.clock.advance(timedelta(seconds=seconds))
            guard._time_passes()

        assert len(times) - 1 == judged, "the first time holds the clock against an uptime that is not the test's"


def test_a_clock_that_is_set_back_gives_nothing_back_that_has_ended(machine: Machine) -> None:
    soon = machine.clock.now() + timedelta(minutes=30)
    machine.accept(DevicePolicy((DeviceRule(parse_rule("allow", 1), not_after=soon),)))
    with machine.guard() as guard:
        guard.begin()
        assert allowed(guard) == {"usb1", "1-1"}
        machine.clock.advance(timedelta(minutes=30))
        guard._time_passes()
        machine.clock.advance(-timedelta(minutes=20))
        guard._time_passes()

        assert allowed(guard) == {"usb1"}
        assert not guard._report().clock_sure

    with machine.guard() as guard:
        guard.begin()
        assert allowed(guard) == {"usb1"}


def test_what_there_is_no_room_for_is_counted_in_the_report(machine: Machine) -> None:
    for number in range(300):
        (machine.folder / "sys/class/input" / f"input{number}").mkdir(parents=True)
    with machine.guard() as guard:
        guard.begin()

        report = guard._link._desk.report()

    assert len(report.others) + report.left_out == 300
    assert len(report.others) < 300


def test_a_peer_that_is_silent_is_hung_up_on_however_often_others_connect(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with machine.guard() as guard, closing(socket.socket(socket.AF_UNIX)) as silent:
        guard.begin()
        silent.connect(str(machine.options.socket))
        take_until(guard, lambda: guard._link.peers == 1)
        due = guard.turns._due["link"].at
        with closing(socket.socket(socket.AF_UNIX)) as other:
            other.connect(str(machine.options.socket))
            take_until(guard, lambda: guard._link.peers == 2)
        assert guard.turns._due["link"].at == due

        monkeypatch.setattr(guard._link, "_monotonic", lambda: time.monotonic() + 3600)
        guard.turns.once_within("link", 0)
        take_until(guard, lambda: guard._link.peers == 0)
        assert "link" not in guard.turns._due


def test_what_could_not_be_recorded_is_tried_again_at_a_glance(machine: Machine) -> None:
    counting(machine, 7)
    machine.accept(EVERYTHING)
    with machine.guard() as guard:
        guard._database._connection.execute("PRAGMA query_only=1")
        guard.begin()
        assert allowed(guard) == {"usb1"}
        guard._database._connection.execute("PRAGMA query_only=0")
        guard.turns.once_within("glance", 0)
        take_until(guard, lambda: allowed(guard) == {"usb1", "1-1"})


def test_once_the_list_of_pins_can_be_read_again_what_was_left_alone_is_judged(machine: Machine) -> None:
    end = machine.clock.now() + timedelta(hours=1)
    machine.accept(DevicePolicy((DeviceRule(parse_rule("allow", 1), not_after=end),)))
    keyboard = machine.tree.attach("1-2", interfaces=(KEYBOARD,))
    (keyboard / "devnum").write_text("3\n")
    (keyboard / "serial").write_text("k\n")
    counting(machine, 7)
    with machine.guard() as guard:
        guard.begin()
        (machine.options.state / PINS).write_bytes(b"garbage")
        guard._glance()
        machine.clock.advance(timedelta(hours=1, minutes=1))
        guard._time_passes()
        assert "1-2" in allowed(guard), "input in use is left alone while nobody can say which it is"
        (machine.options.state / PINS).unlink()
        guard._glance()

        assert "1-2" not in allowed(guard)


def test_a_glance_lets_a_bus_go_that_a_guard_left_held(machine: Machine) -> None:
    counting(machine, 7)
    held = machine.folder / "sys/bus/usb/devices/usb1/interface_authorized_default"
    with machine.guard() as guard:
        guard.begin()
        held.write_text("0\n")
        guard._glance()

    assert held.read_text().strip() == "1"
