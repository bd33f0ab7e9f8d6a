"""What the host says of itself: signed, numbered, and no more than is so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from edge_agent.config import AgentFolder, load_identity
from edge_agent.health.local import read_status
from edge_agent.health.report import NoBroker, StatePublisher, StateReporter
from edge_agent.https import HttpsDoor, verified_context
from edge_agent.parts import Bell
from shared.fleet.state import LayerState, verify_state
from shared.policy.document import ORGANISATION
from tests.edge_agent.policy_sync.layered import NOBODY, SITE, TYPE, LayeredBench
from tests.fakes.centre import Centre
from tests.fakes.host import Host


class Broker:
    """A broker that takes reports, or does not."""

    def __init__(self, *, up: bool) -> None:
        self.up, self.taken = up, list[bytes]()

    def publish_state(self, signed: bytes, /) -> bool:
        if self.up:
            self.taken.append(signed)
        return self.up


@pytest.fixture
def host(centre: Centre, enrolled: AgentFolder, tmp_path: Path) -> Host:
    identity = load_identity(enrolled)
    return Host(tmp_path / "host", host_id=identity.config.host_id, signer=identity.signer, keys=centre.keys)


@pytest.fixture
def door(enrolled: AgentFolder) -> Iterator[HttpsDoor]:
    doors = load_identity(enrolled).config.doors
    door = HttpsDoor(doors.host, doors.https_port, verified_context(enrolled.ca, enrolled.tls), timeout_s=30)
    yield door
    door.close()


def reporter(host: Host, door: HttpsDoor, broker: StatePublisher, error: str = "") -> StateReporter:
    return StateReporter(
        door,
        broker,
        host_id=host.host_id,
        signer=host.signer,
        database=host.database,
        store=host.store,
        spool=host.spool,
        journal=host.journal,
        clock=host.clock,
        log=host.log,
        listening=lambda: host.store.in_force() is not None,
        policy_error=lambda: error,
        bell=Bell(),
    )


def test_numbers_rise_across_restarts(host: Host, door: HttpsDoor) -> None:
    first = reporter(host, door, NoBroker()).state()
    host.restart()
    second = reporter(host, door, NoBroker()).state()

    assert (first.number, second.number) == (1, 2)


def test_says_what_is_so(host: Host, door: HttpsDoor) -> None:
    before = reporter(host, door, NoBroker()).state()
    host.put_in_force(version=3)
    host.capture()
    after = reporter(host, door, NoBroker(), "PolicyRollback: no").state()

    assert (before.policy_accepted, before.policy_in_force, before.listening) == (0, 0, False)
    assert (after.policy_accepted, after.policy_in_force, after.listening) == (3, 3, True)
    assert (after.captured, after.waiting, after.delivered, after.audit_waiting) == (1, 1, 0, 1)
    assert after.policy_error == "PolicyRollback: no"


def test_says_of_each_layer_what_is_accepted_and_what_is_in_force(door: HttpsDoor, tmp_path: Path) -> None:
    bench = LayeredBench(tmp_path / "layered")
    before = reporter(bench.host, door, NoBroker()).state()
    bench.begin(ORGANISATION, SITE)
    bench.sign(ORGANISATION, 2, rings=NOBODY)
    bench.sign(SITE, 2, rings=NOBODY)
    bench.pull()
    after = reporter(bench.host, door, NoBroker()).state()

    assert before.layers == (LayerState(TYPE, 0, 0), LayerState(SITE, 0, 0))
    assert (after.policy_accepted, after.policy_in_force) == (2, 1)
    assert after.layers == (LayerState(TYPE, 0, 0), LayerState(SITE, 2, 1))


def test_status_says_how_much_of_its_quota_a_spool_uses_and_what_does_not_leave_it(
    centre: Centre, enrolled: AgentFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolled.database.parent.mkdir(exist_ok=True)
    host = Host(enrolled.database.parent, keys=centre.keys)
    host.put_in_force()
    host.capture(uid="1.2.1")
    (aside,) = host.spool.everything()
    host.spool.put_aside(aside, "the vault refused it")
    host.capture(uid="1.2.2")
    held = host.spool.held_bytes()
    without = read_status(enrolled)
    host.put_in_force(2, quota_bytes=3 * held)
    status = read_status(enrolled)

    assert (without.spool_used_percent, without.json()["spool_quota_bytes"]) == (None, 0)
    assert (status.spool_bytes, status.spool_quota_bytes, status.spool_used_percent) == (held, 3 * held, 33)
    assert (status.waiting, status.put_aside, status.damaged) == (1, 1, 1)
    assert main(["status", "--data", str(enrolled.path)]) == 0
    assert f"spool bytes          {held}, 33 % of the {3 * held} that policy lets it hold" in capsys.readouterr().out


def test_goes_by_the_broker_while_it_takes_it(centre: Centre, host: Host, door: HttpsDoor) -> None:
    broker = Broker(up=True)
    reporter(host, door, broker).report()

    assert verify_state(broker.taken[0], host.signer.public).number == 1
    assert centre.states == []


def test_goes_over_https_when_the_broker_is_down(centre: Centre, host: Host, door: HttpsDoor) -> None:
    reporter(host, door, Broker(up=False)).report()

    assert [state.number for state in centre.states] == [1]


def test_status_is_read_from_the_folder_alone(centre: Centre, enrolled: AgentFolder) -> None:
    centre.stop()
    status = read_status(enrolled)
    centre.start()

    assert (status.asset, status.captured, status.policy_accepted) == ("CT 2", 0, 0)
