"""The guard as a process of its own over a bus of umockdev: its devices are files, and their events real messages."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

import pytest

from edge_agent.link.client import GuardClient, GuardRefused, GuardUnavailable
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.record import GENESIS, GuardEvent, GuardRecord
from shared.devices.verdict import Target
from shared.fleet.devices import Authorized, DeviceState, OtherDevice, OtherState, Seen
from shared.policy.document import ORGANISATION
from shared.policy.rollout import Rings
from tests.edge_agent.usb_policy.bench import Guard as SignedPolicies
from tests.edge_agent.usb_policy.layered import HOST, NORTH, LayeredGuard, LayeredSigners, organisation, part, rules

_DEADLINE_S = 60.0
_T = TypeVar("_T")
STORAGE, KEYBOARD, HUB = [8, 6, 0x50], [3, 1, 1], [9, 0, 0]


@dataclass
class Bus:
    """The other end of `tests.edge_agent.plugging`."""

    process: "subprocess.Popen[str]"
    environment: dict[str, str] = field(default_factory=dict)

    def plug(
        self,
        port: str,
        interfaces: Sequence[list[int]] = (STORAGE,),
        *,
        serial: str = "4C53",
        authorized: bool = False,
    ) -> None:
        """Plug a device in, which the kernel has let in or has not."""
        self._ask(
            do="add", port=port, ids="0781:5581", serial=serial, interfaces=list(interfaces), authorized=authorized
        )

    def put_in(self, card: str) -> None:
        self._ask(do="card", name=card)

    def unplug(self, port: str) -> None:
        self._ask(do="remove", port=port)

    def _ask(self, **request: object) -> None:
        stdin, stdout = _pipes(self.process)
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        assert stdout.readline() == "{}\n"


@dataclass
class GuardProcess:
    folder: Path
    bus: Bus
    process: "subprocess.Popen[str] | None" = None
    policies: SignedPolicies = field(init=False)

    def __post_init__(self) -> None:
        self.policies = SignedPolicies(self.folder / "state")
        (self.folder / "run").mkdir(mode=0o755)

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "guard.sock"

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_agent.guard_main", "run", "--state", str(self.folder / "state")]
        self.process = subprocess.Popen([*command, "--socket", str(self.socket)], env=self.bus.environment, text=True)
        self.until(lambda: self.socket.exists() and self.ask(lambda client: client.hello()) is not None)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.socket.unlink()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def ask(self, question: Callable[[GuardClient], _T]) -> _T | None:
        try:
            with GuardClient(self.socket, guard_user=os.geteuid()) as client:
                return question(client)
        except GuardUnavailable:
            return None

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, "the guard did not come to it"
            assert self.process is None or self.process.poll() is None, "the guard has ended"
            time.sleep(0.02)

    def device(self, port: str) -> DeviceState | None:
        report = self.ask(lambda client: client.report())
        return next((each for each in report.devices if each.port == port), None) if report is not None else None

    def until_decided(self, port: str, authorized: Authorized) -> DeviceState:
        self.until(lambda: (state := self.device(port)) is not None and state.authorized is authorized)
        state = self.device(port)
        assert state is not None
        return state

    def records(self) -> list[GuardRecord]:
        """Return all that there are, as far as the guard answers."""
        records: list[GuardRecord] = []
        while found := self.ask(partial(GuardClient.records, after=records[-1].number if records else 0)):
            records += map(GuardRecord.parse, found)
        return records

    def other(self, name: str) -> OtherDevice | None:
        report = self.ask(lambda client: client.report())
        return next((each for each in report.others if each.name == name), None) if report is not None else None

    def detections(self) -> list[tuple[int, str, str]]:
        """Return outcome, seen and state of each record of what is detected and not prevented."""
        found = [record for record in self.records() if record.event is GuardEvent.DETECTED]
        return [(each.outcome, each.fields["seen"], each.fields["state"]) for each in found]

    def until_judged(self, name: str, state: OtherState) -> None:
        self.until(lambda: (other := self.other(name)) is not None and other.state is state)

    def offer(self, version: int, *rules: str, cards: Target | None = None) -> None:
        others = OtherKinds(((OtherKind.SD, cards),)) if cards is not None else OtherKinds()
        devices = DevicePolicy(tuple(DeviceRule(parse_rule(rule, 1)) for rule in rules), others=others)
        offer = self.policies.publish(version, devices)
        self.ask(lambda client: client.offer(offer.head, offer.layers[0]))


def _pipes(process: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


@contextmanager
def plugging() -> Iterator[Bus]:
    command = ["umockdev-wrapper", sys.executable, "-m", "tests.edge_agent.plugging"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, stdout = _pipes(process)
        bus = Bus(process, json.loads(stdout.readline()))
        try:
            yield bus
        finally:
            stdin.close()
            process.wait(60)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[GuardProcess]:
    with plugging() as bus:
        bus.plug("usb1", [HUB])
        guard = GuardProcess(tmp_path, bus)
        yield guard
        if guard.process is not None and guard.process.poll() is None:
            guard.process.kill()
            guard.process.wait()


def test_a_stick_is_seen_recorded_blocked_and_that_is_read_back(guard: GuardProcess) -> None:
    guard.start()

    guard.bus.plug("1-1")
    state = guard.until_decided("1-1", Authorized.NO)

    assert state.seen is Seen.NOW
    assert state.is_enforced
    about_it = [record for record in guard.records() if record.subject == "1-1"]
    assert [record.event for record in about_it] == [GuardEvent.ATTACHED, GuardEvent.DECIDED, GuardEvent.ENFORCED]
    assert about_it[2].fields["authorized"] == "no"


def test_a_signed_policy_loosens_and_tightens_what_is_plugged_in(guard: GuardProcess) -> None:
    guard.start()
    guard.bus.plug("1-1")
    guard.until_decided("1-1", Authorized.NO)

    guard.offer(1, "allow 0781:5581")
    assert guard.until_decided("1-1", Authorized.YES).is_enforced
    guard.offer(2, "block 0781:5581")
    guard.until_decided("1-1", Authorized.NO)

    report = guard.ask(lambda client: client.report())
    assert report is not None
    assert report.policy == 2


def test_a_card_is_judged_by_each_policy_and_is_on_record_once_where_it_is_not_allowed(guard: GuardProcess) -> None:
    words = "not allowed: detected, not prevented"
    guard.start()
    guard.bus.put_in("mmc0:0001")
    guard.until_judged("mmc0:0001", OtherState.NOT_EVALUATED)

    guard.offer(1, cards=Target.ALLOW)
    guard.until_judged("mmc0:0001", OtherState.ALLOWED)
    guard.offer(2, cards=Target.BLOCK)
    guard.until_judged("mmc0:0001", OtherState.NOT_ALLOWED)
    assert guard.detections()[-1] == (4, "before", words)
    guard.kill()
    guard.start()
    guard.bus.put_in("mmc0:0002")
    guard.until_judged("mmc0:0002", OtherState.NOT_ALLOWED)

    assert guard.detections() == [
        (0, "now", "not evaluated: detected, not prevented"), (4, "before", words), (4, "now", words),
    ]  # fmt: skip


def test_a_policy_that_nobody_signed_changes_nothing_and_is_on_record(guard: GuardProcess) -> None:
    guard.start()
    guard.bus.plug("1-1")
    offer = SignedPolicies(guard.folder / "other").publish(1, DevicePolicy((DeviceRule(parse_rule("allow", 1)),)))

    guard.ask(lambda client: client.offer(offer.head, offer.layers[0]))
    guard.until(lambda: any(record.event is GuardEvent.POLICY_REFUSED for record in guard.records()))

    assert guard.until_decided("1-1", Authorized.NO).is_enforced


def test_a_site_allows_behind_what_the_organisation_blocks_and_a_roll_out_reaches_what_is_plugged_in(
    guard: GuardProcess,
) -> None:
    signers = LayeredSigners()
    LayeredGuard(guard.folder / "state", signers, NORTH)

    def offer(rings: Rings) -> None:
        whole = signers.offer(ORGANISATION, NORTH, rollouts={ORGANISATION: rings})
        for head, layer in zip((whole.head, None), whole.layers, strict=True):
            guard.ask(partial(GuardClient.offer, head=head, layer=layer))

    first = organisation(1, rules('block serial "LOST"'))
    signers.sign(organisation(2, rules("block")), first)
    signers.sign(part(NORTH, 1, rules("allow id 0781:5581")))
    guard.start()
    guard.bus.plug("1-1", serial="OURS")
    guard.bus.plug("1-2", serial="LOST")
    offer(Rings())
    guard.until_decided("1-1", Authorized.YES)
    guard.until_decided("1-2", Authorized.NO)
    offer(Rings(hosts=(HOST,)))
    guard.until_decided("1-1", Authorized.NO)
    offer(Rings())
    guard.until_decided("1-1", Authorized.YES)
    guard.kill()
    guard.start()

    report = guard.ask(lambda client: client.report())
    assert report is not None
    assert (report.policy, report.policy_error) == (1, "")
    accepted = [each.fields for each in guard.records() if each.event is GuardEvent.POLICY_ACCEPTED]
    assert [fields["version"] for fields in accepted] == ["1", "2", "1"]
    assert accepted[2] == {**accepted[0], "accepted and not in force": "organisation 2"}
    assert accepted[1]["layers"] == "organisation 2, site-north 1"


def test_a_layer_that_the_guard_was_not_pinned_to_is_refused_and_said(guard: GuardProcess) -> None:
    guard.start()
    with GuardClient(guard.socket, guard_user=os.geteuid()) as client:
        with pytest.raises(GuardRefused, match="policy is for layer site-north, expected organisation"):
            client.offer(None, b'{"kind":"layer","layer":"site-north",')
        report = client.report()

    assert "run `leadglass-guard trust` again" in report.policy_error


def test_after_a_kill_what_came_unseen_is_told_from_what_was_there_and_the_chain_holds(guard: GuardProcess) -> None:
    guard.start()
    guard.bus.plug("1-1")
    guard.until_decided("1-1", Authorized.NO)
    guard.kill()
    guard.bus.plug("1-2", serial="unseen")

    guard.start()

    states = {port: guard.until_decided(port, Authorized.NO).seen for port in ("1-1", "1-2")}
    assert states == {"1-1": Seen.BEFORE, "1-2": Seen.WHILE_DOWN}
    prev = GENESIS
    for record in guard.records():
        assert record.prev == prev
        prev = record.digest


def test_the_policy_in_force_outlives_a_kill(guard: GuardProcess) -> None:
    guard.start()
    guard.offer(1, "allow 0781:5581")
    guard.bus.plug("1-1")
    guard.until_decided("1-1", Authorized.YES)
    guard.kill()
    guard.bus.unplug("1-1")
    guard.bus.plug("1-3")

    guard.start()

    assert guard.until_decided("1-3", Authorized.YES).is_enforced


def test_the_bus_is_set_to_deny_by_default_and_the_report_says_since_when(guard: GuardProcess) -> None:
    guard.start()

    report = guard.ask(lambda client: client.report())

    assert report is not None
    assert report.default_deny == "late"
    default = Path(guard.bus.environment["UMOCKDEV_DIR"], "sys/bus/usb/devices/usb1/authorized_default")
    assert default.read_text().strip() == "0"


def test_a_stick_that_also_types_is_suspicious_once_it_grew_the_keyboard(guard: GuardProcess) -> None:
    guard.start()
    guard.offer(1, "allow 0781:5581")
    guard.bus.plug("1-1")
    guard.until_decided("1-1", Authorized.YES)
    guard.bus.unplug("1-1")
    guard.until(lambda: guard.device("1-1") is None)

    guard.bus.plug("1-1", [STORAGE, KEYBOARD])

    assert "interfaces" in guard.until_decided("1-1", Authorized.NO).detail


def test_fifty_quick_plugs_leave_no_device_unrecorded(guard: GuardProcess) -> None:
    guard.start()

    for number in range(50):
        guard.bus.plug("1-1", serial=f"S{number}")
        guard.bus.unplug("1-1")
        # umockdev gives up where a few dozen events are unread, which a kernel does not.
        guard.ask(lambda client: client.hello())
    guard.bus.plug("1-2", serial="last")
    guard.until_decided("1-2", Authorized.NO)

    records = guard.records()
    attached = [r for r in records if r.event is GuardEvent.ATTACHED and r.subject == "1-1"]
    detached = [r for r in records if r.event is GuardEvent.DETACHED and r.subject == "1-1"]
    gaps = [r for r in records if r.event is GuardEvent.GAP and r.subject == "kernel events"]
    assert len(attached) == len(detached)
    assert len(attached) == 50 or gaps


def test_it_stops_when_it_is_told_to_and_says_so(guard: GuardProcess) -> None:
    guard.start()

    assert guard.stop() == 0
    guard.start()

    events = [record.event for record in guard.records() if record.subject == "guard"]
    assert events == [GuardEvent.STARTED, GuardEvent.STOPPED, GuardEvent.STARTED]


def test_a_second_guard_on_the_same_folder_is_refused(guard: GuardProcess) -> None:
    guard.start()

    command = [sys.executable, "-m", "edge_agent.guard_main", "run", "--state", str(guard.folder / "state")]
    second = subprocess.run(
        [*command, "--socket", str(guard.folder / "run" / "other.sock")],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )

    assert second.returncode == 1
    assert "another guard runs" in second.stderr


def test_it_holds_no_internet_socket_and_stays_small(guard: GuardProcess) -> None:
    guard.start()
    guard.bus.plug("1-1")
    guard.until_decided("1-1", Authorized.NO)
    assert guard.process is not None
    process = Path("/proc") / str(guard.process.pid)

    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    sockets = set()
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # it closes what it opened to look at a device
            sockets.add(str(descriptor.readlink()))
    internet = [
        line.split()[9]
        for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
        for line in (process / "net" / name).read_text().splitlines()[1:]
    ]

    assert not {f"socket:[{inode}]" for inode in internet} & sockets
    assert int(status["VmHWM"].split()[0]) <= 32 * 1024


@pytest.mark.parametrize("pins, authorized", [("{", Authorized.YES), (None, Authorized.NO)])
def test_a_keyboard_in_use_is_not_taken_away_because_the_list_of_pins_cannot_be_read(
    guard: GuardProcess, pins: str | None, authorized: Authorized
) -> None:
    guard.bus.plug("1-1", [KEYBOARD])
    sysfs = Path(guard.bus.environment["UMOCKDEV_DIR"], "sys/bus/usb/devices")
    (sysfs / "1-1/authorized").write_text("1\n")
    guard.bus.plug("1-2", serial="a stick")
    (sysfs / "1-2/authorized").write_text("1\n")
    if pins is not None:
        (guard.folder / "state/pins.json").write_text(pins)

    guard.start()

    assert guard.until_decided("1-1", authorized).is_enforced
    assert guard.until_decided("1-2", Authorized.NO).is_enforced
