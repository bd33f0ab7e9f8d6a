import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.database import Database
from edge_agent.devices.journal import GuardJournal
from edge_agent.turns import Turns
from edge_agent.usb_policy.keeper import PolicyKeeper
from edge_agent.usb_policy.trust import UNPINNED
from edge_agent.usb_policy.verifier import Verifier, child_command
from shared.devices.policy import DevicePolicy
from shared.devices.record import GuardEvent, GuardRecord
from shared.devices.verdict import Target
from shared.policy.accept import WrongLayer
from shared.policy.document import ORGANISATION
from shared.policy.rollout import Rings
from tests.edge_agent.usb_policy.bench import Guard
from tests.edge_agent.usb_policy.layered import NORTH, LayeredGuard, LayeredSigners, organisation, part
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog

DEVICES = DevicePolicy(default=Target.REJECT)
GARBAGE = b'{"kind":"layer","layer":"organisation",\xff'


@dataclass
class Bench:
    guard: Guard
    turns: Turns
    database: Database
    changes: list[DevicePolicy | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = GuardJournal(self.database, FakeClock())
        self.keeper = PolicyKeeper(
            self.guard.verifier(),
            self.guard.store,
            self.turns,
            self.journal,
            MemoryLog(),
            lambda: self.changes.append(self.guard.store.devices),
        )

    def offer(self, version: int, devices: DevicePolicy | None, until: Callable[[], bool]) -> None:
        offer = self.guard.publish(version, devices)
        self.offer_bytes(offer.head, offer.layers[0], until)

    def offer_bytes(self, head: bytes, layer: bytes, until: Callable[[], bool]) -> None:
        self.keeper.offer(head, layer)
        deadline = time.monotonic() + 60
        while not until():
            assert time.monotonic() < deadline
            self.turns.take()

    def told(self) -> list[GuardEvent]:
        return [GuardRecord.parse(line).event for line in self.journal.after(0, 100)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    guard = Guard(tmp_path / "guard")
    with closing(Database(tmp_path / "guard.sqlite")) as database, selectors.DefaultSelector() as selector:
        turns = Turns(MemoryLog(), selector)
        turns.every("tick", 0.05, lambda: None)
        bench = Bench(guard, turns, database)
        yield bench
        bench.keeper.stop()


def test_an_accepted_policy_is_recorded_and_told_to_who_goes_by_it(bench: Bench) -> None:
    bench.offer(1, DEVICES, lambda: bool(bench.changes))

    assert bench.changes == [DEVICES]
    assert bench.told() == [GuardEvent.POLICY_ACCEPTED]
    assert bench.keeper.error == ""


def test_a_rolled_back_policy_changes_nothing_and_is_recorded_once_however_often_it_is_offered(bench: Bench) -> None:
    old = bench.guard.publish(1, None)
    bench.offer(2, DEVICES, lambda: bool(bench.changes))

    for _ in range(3):
        bench.offer_bytes(old.head, old.layers[0], lambda: bool(bench.keeper.error))

    assert bench.guard.store.devices == DEVICES
    assert bench.told() == [GuardEvent.POLICY_ACCEPTED, GuardEvent.POLICY_REFUSED]


def test_garbage_is_refused_and_the_next_good_policy_is_taken(bench: Bench) -> None:
    bench.offer_bytes(b"{}", GARBAGE, lambda: bool(bench.keeper.error))

    bench.offer(1, DEVICES, lambda: bool(bench.changes))

    assert bench.keeper.error == ""


def test_once_what_is_in_force_is_offered_again_no_refusal_is_told_any_more(bench: Bench) -> None:
    good = bench.guard.publish(1, DEVICES)
    bench.offer_bytes(good.head, good.layers[0], lambda: bool(bench.changes))
    bench.offer_bytes(b"{}", GARBAGE, lambda: bool(bench.keeper.error))

    bench.keeper.offer(good.head, good.layers[0])

    assert bench.keeper.error == ""
    assert bench.told() == [GuardEvent.POLICY_ACCEPTED, GuardEvent.POLICY_REFUSED]


def test_without_a_pinned_root_nothing_is_accepted_and_the_reason_is_said(bench: Bench, tmp_path: Path) -> None:
    offer = bench.guard.publish(1, DEVICES)
    keeper = PolicyKeeper(
        Verifier(child_command(tmp_path / "unpinned"), UNPINNED),
        None,
        bench.turns,
        bench.journal,
        MemoryLog(),
        lambda: None,
    )

    keeper.offer(offer.head, offer.layers[0])
    deadline = time.monotonic() + 60
    while not keeper.error:
        assert time.monotonic() < deadline
        bench.turns.take()

    assert "leadglass-guard trust" in keeper.error
    keeper.stop()


def test_a_layer_of_others_is_refused_at_once_and_stays_in_sight_though_the_hosts_own_is_taken(bench: Bench) -> None:
    foreign = b'{"kind":"layer","layer":"site-south",'
    for _ in range(3):
        with pytest.raises(WrongLayer):
            bench.keeper.offer(b"{}", foreign)
    bench.offer(1, DEVICES, lambda: bool(bench.changes))

    assert bench.changes == [DEVICES]
    assert "policy is for layer site-south, expected organisation" in bench.keeper.error
    assert bench.told() == [GuardEvent.POLICY_REFUSED, GuardEvent.POLICY_ACCEPTED]


def test_whoever_offers_ever_other_layers_fills_no_journal(bench: Bench) -> None:
    for n in range(1000):
        with pytest.raises(WrongLayer):
            bench.keeper.offer(None, b'{"kind":"layer","layer":"site-%d",' % n)

    assert 0 < len(bench.told()) < 10


def test_an_acceptance_names_every_layer_that_is_in_force_and_what_waits(tmp_path: Path) -> None:
    signers = LayeredSigners()
    guard = LayeredGuard(tmp_path / "guard", signers, NORTH)
    before = organisation(1, DEVICES)
    signers.sign(organisation(2), before)
    signers.sign(part(NORTH, 5))
    offer = signers.offer(ORGANISATION, NORTH, rollouts={ORGANISATION: Rings()})
    with closing(Database(tmp_path / "guard.sqlite")) as database, selectors.DefaultSelector() as selector:
        turns = Turns(MemoryLog(), selector)
        turns.every("tick", 0.05, lambda: None)
        journal = GuardJournal(database, FakeClock())
        keeper = PolicyKeeper(guard.verifier(), guard.store, turns, journal, MemoryLog(), turns.stop)
        keeper.offer(offer.head, offer.layers[0])
        keeper.offer(None, offer.layers[1])
        turns.run()
        (record,) = map(GuardRecord.parse, journal.after(0, 100))
        keeper.stop()

    assert (record.event, record.subject) == (GuardEvent.POLICY_ACCEPTED, "organisation")
    assert record.fields == {
        "version": "1",
        "layers": "organisation 1, site-north 5",
        "accepted and not in force": "organisation 2",
    }
