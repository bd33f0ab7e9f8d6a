"""What the guard wrote reaches the audit journal once each, in order, before the guard is told so."""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from edge_agent.audit.journal import Journal
from edge_agent.database import DatabaseUnavailable
from edge_agent.link.bundles import KeptBundles
from edge_agent.link.client import GuardClient, GuardRefused
from edge_agent.link.happening import happening
from edge_agent.link.protocol import Welcome
from edge_agent.link.relay import Guard, GuardRelay
from edge_agent.parts import Bell
from provisioning.demo.processes import wait_until
from shared.audit.events import EVENT_CODES, Event, Happening, Outcome, Subject
from shared.audit.record import AuditRecord
from shared.devices.record import GENESIS, MAX_BYTES, MAX_TEXT_CHARS, GuardEvent, GuardRecord
from shared.fleet.devices import GuardReport
from shared.policy.document import ORGANISATION
from tests.edge_agent.link.killed import relay
from tests.fakes.guard import NOW, STICK, MemoryDesk, chain, guard, record
from tests.fakes.host import Host
from tests.forked import FORKING
from tests.threads import in_thread


class DirectGuard:
    """A desk without a socket, which can be made to misbehave."""

    def __init__(self, desk: MemoryDesk) -> None:
        self.desk = desk
        self.gives: Callable[[int, int], Sequence[bytes]] | None = None
        self.refuses_offers = self.closed = False

    def hello(self) -> Welcome:
        return self.desk.welcome()

    def offer(self, head: bytes | None, layer: bytes | None) -> None:
        if self.refuses_offers:
            raise GuardRefused("an offer is being judged")
        self.desk.offer(head, layer)

    def report(self) -> GuardReport:
        return self.desk.report()

    def records(self, after: int, most: int) -> Sequence[bytes]:
        return self.gives(after, most) if self.gives else self.desk.records(after, most)

    def confirm(self, upto: int) -> None:
        self.desk.confirm(upto)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.fixture
def desk() -> MemoryDesk:
    return MemoryDesk(chain(5))


@pytest.fixture
def direct(desk: MemoryDesk) -> DirectGuard:
    return DirectGuard(desk)


def relay_of(host: Host, direct: DirectGuard, journal: Journal | None = None) -> GuardRelay:
    return GuardRelay(
        lambda: direct,
        host_id=host.host_id,
        journal=journal or host.journal,
        database=host.database,
        bundles=KeptBundles(host.database),
        log=host.log,
        bell=Bell(),
    )


def catch_up(host: Host, direct: DirectGuard) -> None:
    """Do what an agent does after a start: greet, and take over what there is."""
    relay = relay_of(host, direct)
    relay.greet(direct)
    while relay.relay(direct):
        pass


def numbers(host: Host) -> list[int]:
    """Return the guard's numbers as they stand in the journal."""
    told = [what for one in host.records() for what in one.what if what.kind == "record"]
    return [int(what.name) for what in told]


def digests(host: Host) -> list[str]:
    return [what.name for one in host.records() for what in one.what if what.kind == "digest"]


def broken(host: Host) -> list[str]:
    return [one.reason for one in host.records() if one.event is Event.GUARD_CHAIN_BROKEN]


def test_records_are_relayed_in_order_and_then_confirmed(host: Host, direct: DirectGuard) -> None:
    catch_up(host, direct)

    assert numbers(host) == [1, 2, 3, 4, 5]
    assert direct.desk.confirmed == 5
    assert broken(host) == []


def test_a_record_says_what_the_guard_said(host: Host, direct: DirectGuard) -> None:
    catch_up(host, direct)

    one, line = host.records()[0], GuardRecord.parse(direct.desk.lines[0])
    assert (one.event, one.outcome) == (Event.DEVICE_ATTACHED, Outcome.SUCCESS)
    assert [(who.kind, who.name) for who in one.who] == [("service", "leadglass-guard"), ("host", str(host.host_id))]
    assert one.what == (
        Subject("device", "1-2"),
        Subject("record", "1"),
        Subject("digest", line.digest.hex()),
        Subject("time", "2026-03-01T08:00:00.000000Z"),
        Subject("fact", "id: 0781:5581"),
        Subject("fact", "name: Ultra"),
    )


@pytest.mark.parametrize("event", GuardEvent)
def test_every_event_of_a_guard_is_one_of_the_audit_log(host: Host, event: GuardEvent) -> None:
    made = happening(host.host_id, record(1, GENESIS, event))

    assert EVENT_CODES[made.event] in {"110100", "110113"}
    assert host.journal.record(made) == 1


def test_the_largest_record_of_a_guard_makes_an_audit_record(host: Host) -> None:
    fields = {f"{number:02}": '"' * 45 for number in range(31)}
    text = "d" * MAX_TEXT_CHARS
    largest = GuardRecord(1, GENESIS, NOW, GuardEvent.DECIDED, 4, "p" * 60, fields | {"detail": text})
    while len(largest.encode()) < MAX_BYTES - 1:
        largest = replace(largest, subject=largest.subject + "p")

    host.journal.record(happening(host.host_id, GuardRecord.parse(largest.encode())))
    (one,) = host.records()
    facts = [what.name for what in one.what if what.kind == "fact"]
    assert "".join(facts[-3:]).endswith(text)
    assert len([fact for fact in facts if fact[:2].isdigit()]) == 31


def test_nothing_is_confirmed_that_is_not_durable(host: Host, direct: DirectGuard) -> None:
    class FullDisk(Journal):
        def record_all(self, happenings: Sequence[Happening]) -> int:
            super().record_all(happenings)
            raise DatabaseUnavailable("disk full")

    failing = FullDisk(host.database, host.host_id, key=host.store.audit_key, clock=host.clock)
    with pytest.raises(DatabaseUnavailable):
        relay_of(host, direct, failing).relay(direct)

    assert (direct.desk.confirmed, numbers(host)) == (0, [])
    catch_up(host, direct)
    assert (direct.desk.confirmed, numbers(host)) == (5, [1, 2, 3, 4, 5])


def test_what_was_relayed_and_not_confirmed_is_confirmed_after_a_restart(host: Host, direct: DirectGuard) -> None:
    catch_up(host, direct)
    direct.desk.confirmed = 0
    host.restart()

    catch_up(host, direct)
    assert (direct.desk.confirmed, numbers(host)) == (5, [1, 2, 3, 4, 5])


# ---- what does not hold together


def test_a_gap_is_a_record_of_its_own_and_what_follows_is_relayed(host: Host, direct: DirectGuard) -> None:
    lines = direct.desk.lines
    direct.gives = lambda after, _most: [line for line in (lines[0], lines[3], lines[4]) if number(line) > after]

    catch_up(host, direct)
    assert numbers(host) == [1, 4, 5]
    assert broken(host) == ["records 2 to 3 are missing"]
    assert host.events()[1] is Event.GUARD_CHAIN_BROKEN


def number(line: bytes) -> int:
    return GuardRecord.parse(line).number


def test_a_repeated_record_is_said_and_not_relayed_twice(host: Host, direct: DirectGuard) -> None:
    catch_up(host, direct)
    direct.gives = lambda _after, _most: direct.desk.lines[3:5]

    catch_up(host, direct)
    relay = relay_of(host, direct)
    assert [relay.relay(direct) for _ in range(3)] == [True, False, False]
    assert numbers(host) == [1, 2, 3, 4, 5]
    assert broken(host)[:2] == ["record 4 came again after record 5", "record 5 came again after record 5"]
    # Once by each start of the agent, however often it is given.
    assert len(broken(host)) == 4


def test_a_log_that_was_replaced_by_a_shorter_one_is_said_and_all_of_it_relayed(
    host: Host, direct: DirectGuard
) -> None:
    catch_up(host, direct)
    direct.desk.lines = chain(2, port="9-9")

    catch_up(host, direct)
    assert numbers(host) == [1, 2, 3, 4, 5, 1, 2]
    assert broken(host) == ["it has 2 records, and record 5 was relayed before"]


def test_a_log_that_was_replaced_by_a_longer_one_is_said_and_all_of_it_relayed(host: Host, direct: DirectGuard) -> None:
    catch_up(host, direct)
    direct.desk.lines = chain(7, port="9-9")

    catch_up(host, direct)
    assert numbers(host) == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7]
    assert broken(host) == ["record 6 does not follow record 5, which was relayed before"]


def test_a_log_that_was_put_back_to_an_older_state_is_not_relayed_twice(host: Host, direct: DirectGuard) -> None:
    catch_up(host, direct)
    direct.desk.lines = direct.desk.lines[:3]
    catch_up(host, direct)
    assert (numbers(host), len(broken(host))) == ([1, 2, 3, 4, 5], 1)

    direct.desk.lines += chain(2, port="9-9", after=GuardRecord.parse(direct.desk.lines[2]))
    catch_up(host, direct)
    assert numbers(host) == [1, 2, 3, 4, 5, 4, 5]
    assert len(set(digests(host))) == 7


def test_a_link_that_is_broken_within_the_log_is_said_and_ends_nothing(host: Host, direct: DirectGuard) -> None:
    direct.desk.lines = [*chain(2), record(3, bytes(32)).encode()]
    direct.desk.add(2)

    catch_up(host, direct)
    assert numbers(host) == [1, 2, 3, 4, 5]
    assert broken(host) == ["record 3 does not follow record 2, which was relayed before"]


def test_a_record_that_cannot_be_read_is_said_once_and_waited_for(host: Host, direct: DirectGuard) -> None:
    good = direct.desk.lines
    direct.desk.lines = [*good[:2], good[2].replace(b"device.attached", b"device.unheard-of"), *good[3:]]

    relay = relay_of(host, direct)
    while relay.relay(direct):
        pass
    relay.relay(direct)
    assert (numbers(host), direct.desk.confirmed) == ([1, 2], 2)
    (reason,) = broken(host)
    assert reason.startswith("what follows record 2 cannot be read")
    direct.desk.lines = good
    catch_up(host, direct)
    assert numbers(host) == [1, 2, 3, 4, 5]


def test_a_guard_that_gives_ever_new_nonsense_does_not_fill_the_journal(host: Host, direct: DirectGuard) -> None:
    given = iter(range(1000))
    direct.gives = lambda _after, _most: [f"nonsense {next(given)}".encode()]
    relay = relay_of(host, direct)

    for _ in range(200):
        relay.relay(direct)
    assert len(broken(host)) == 64


def test_control_a_relay_that_remembers_nothing_relays_twice(host: Host, direct: DirectGuard) -> None:
    catch_up(host, direct)
    with host.database.transaction() as connection:
        connection.execute("DELETE FROM guard_position")
        connection.execute("DELETE FROM guard_record")

    catch_up(host, direct)
    assert numbers(host) == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]


# ---- as a part of the agent


class World:
    """A relay that runs, and a way to wait for it."""

    def __init__(self, host: Host, connect: Callable[[], Guard]) -> None:
        self.changed = threading.Condition()
        self.bundles = KeptBundles(host.database)
        self.relay = GuardRelay(
            connect,
            host_id=host.host_id,
            journal=Journal(host.database, host.host_id, key=lambda: None, clock=host.clock, on_record=self.notify),
            database=host.database,
            bundles=self.bundles,
            log=host.log,
            bell=Bell(),
            on_change=self.notify,
            spread=lambda: 0.0,
        )

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, 60)


def test_a_guard_that_is_not_there_is_no_guard_until_it_comes_and_again_when_it_goes(
    host: Host, desk: MemoryDesk, tmp_path: Path
) -> None:
    path = tmp_path / "guard.sock"
    world = World(host, lambda: GuardClient(path, guard_user=os.getuid()))
    with in_thread(world.relay, world.relay.bell.ring):
        assert world.relay.report() is None
        with guard(path, desk):
            world.wait_for(lambda: world.relay.report() is not None)
            report = world.relay.report()
            assert report is not None
            assert STICK in report.devices
        world.relay.bell.ring()
        world.wait_for(lambda: world.relay.report() is None)

    assert numbers(host) == [1, 2, 3, 4, 5]
    assert "guard.away" in host.log.names()


def test_bundles_are_offered_at_once_again_after_a_restart_and_whenever_they_change(
    host: Host, desk: MemoryDesk, tmp_path: Path
) -> None:
    path = tmp_path / "guard.sock"
    KeptBundles(host.database).keep(b"head 1", {ORGANISATION: b"layer 1"})
    host.restart()
    world = World(host, lambda: GuardClient(path, guard_user=os.getuid()))
    with guard(path, desk), in_thread(world.relay, world.relay.bell.ring):
        world.wait_for(lambda: world.relay.report() is not None)
        assert desk.offers == [(b"head 1", b"layer 1")]
        world.bundles.keep(b"head 1", {ORGANISATION: b"layer 1"})
        world.bundles.keep(b"head 2", {ORGANISATION: b"layer 1"})
        desk.add(1)
        world.relay.bell.ring()
        world.wait_for(lambda: len(numbers(host)) == 6)
        # Where it had just looked for bundles, the record went first.
        assert wait_until(lambda: len(desk.offers) == 2, 60) is not None

    assert desk.offers == [(b"head 1", b"layer 1"), (b"head 2", b"layer 1")]


def test_every_layer_is_handed_over_by_itself_before_the_head(host: Host, direct: DirectGuard) -> None:
    world = World(host, lambda: direct)
    world.bundles.keep(b"head", {"modality-ct": b"type", ORGANISATION: b"layer", "site-north": b"site"})
    with in_thread(world.relay, world.relay.bell.ring):
        world.wait_for(lambda: world.relay.report() is not None)

    assert direct.desk.offers == [(None, b"type"), (None, b"site"), (b"head", b"layer")]


def test_a_layer_that_the_guard_refuses_keeps_no_other_layer_and_no_head_back(
    host: Host, direct: DirectGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offer(head: bytes | None, layer: bytes | None) -> None:
        direct.desk.offer(head, layer)
        if layer == b"type":
            raise GuardRefused("it knows no layer modality-ct")

    monkeypatch.setattr(direct, "offer", offer)
    world = World(host, lambda: direct)
    world.bundles.keep(b"head", {"modality-ct": b"type", ORGANISATION: b"layer", "site-north": b"site"})
    with in_thread(world.relay, world.relay.bell.ring):
        world.wait_for(lambda: world.relay.report() is not None)

    assert direct.desk.offers == [(None, b"type"), (None, b"site"), (b"head", b"layer")]
    assert host.log.names() == ["guard.offer-refused"]


def test_an_offer_that_is_refused_keeps_no_record_back(host: Host, direct: DirectGuard) -> None:
    direct.refuses_offers = True
    world = World(host, lambda: direct)
    world.bundles.keep(b"head", {ORGANISATION: b"layer"})
    with in_thread(world.relay, world.relay.bell.ring):
        world.wait_for(lambda: world.relay.report() is not None)

    assert numbers(host) == [1, 2, 3, 4, 5]
    assert host.log.names() == ["guard.offer-refused"]
    assert direct.closed


# ---- two processes, one of which is killed


@contextmanager
def agent(host: Host, path: Path, *, stops: bool = False) -> Iterator[Connection]:
    """Yield what an agent of its own says, which is killed at the end."""
    hears, tells = FORKING.Pipe(duplex=False)
    process = FORKING.Process(target=relay, args=(host.folder, path, host.host_id, tells), kwargs={"stops": stops})
    process.start()
    tells.close()
    try:
        yield hears
    finally:
        process.kill()
        process.join()
        hears.close()


def test_an_agent_that_is_killed_between_writing_and_confirming_loses_and_doubles_nothing(
    host: Host, tmp_path: Path
) -> None:
    path, desk = tmp_path / "guard.sock", MemoryDesk(chain(3))
    host.database.close()
    with guard(path, desk):
        with agent(host, path, stops=True) as child:
            assert child.recv() == "ready"
            assert child.recv() == "written up to 3"
        assert desk.confirmed == 0
        desk.add(2)
        with agent(host, path, stops=True) as child:
            assert child.recv() == "ready"
            assert child.recv() == "written up to 3"  # what the killed one wrote is there, and nothing of it again
        host.open()
        assert (numbers(host), desk.confirmed) == ([1, 2, 3], 0)
        catch_up(host, DirectGuard(desk))

    assert numbers(host) == [1, 2, 3, 4, 5]
    assert desk.confirmed == 5
    assert broken(host) == []


def test_whenever_an_agent_is_killed_every_record_arrives_once(host: Host, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    path, desk = tmp_path / "guard.sock", MemoryDesk()
    host.database.close()
    with guard(path, desk):
        for _ in range(6):
            desk.add(rng.randrange(1, 400))
            with agent(host, path) as child:
                assert child.recv() == "ready"
                threading.Event().wait(rng.uniform(0.0, 0.15))
        host.open()
        catch_up(host, DirectGuard(desk))

    assert numbers(host) == list(range(1, len(desk.lines) + 1))
    assert desk.confirmed == len(desk.lines)
    assert broken(host) == []
    records = host.records()
    assert all(after.seq == before.seq + 1 for before, after in pairwise(records))
    assert AuditRecord.parse(records[-1].encode()) == records[-1]
