"""kill -9 of the broker, and of the control plane, in the middle of a roll-out: never half of anything."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import psutil
import pytest

from control_plane.fleet.broker import find_mosquitto
from provisioning.demo.processes import Child, wait_until
from tests.scenarios.rollout_hospital import CANARY, SECOND, RolloutHospital, hospital, knows

_DYING = "a control plane that dies"
_RINGS = ("--canary", CANARY, "--soak", "0s")
_SOON_S = 90.0


@pytest.fixture
def ward(tmp_path: Path, point: str) -> Iterator[RolloutHospital]:
    """Return one whose centre will die at this point, once."""
    knows(_DYING, "tests.scenarios.dying_centre")
    with hospital(tmp_path, _DYING, point) as running:
        yield running


def is_dead(centre: Child) -> bool:
    return wait_until(lambda: not centre.is_running, _SOON_S) is not None


# ---- the control plane


@pytest.mark.parametrize("point", ["before-publishing"])
def test_a_centre_killed_before_it_commits_a_publication_has_published_nothing(ward: RolloutHospital) -> None:
    assert ward.publish(SECOND, *_RINGS).exit_code == 3
    assert is_dead(ward.centre)
    ward.start_centre()
    ward.wait_for_reports()
    assert set(ward.versions().values()) == {(1, 1)}
    assert (ward.get("/api/v1/status")["policy"]["version"], ward.get("/api/v1/policy/rollouts")["rollouts"]) == (1, [])

    # What was signed for nothing is signed again, and nobody has to be told that it was.
    ward.publish(SECOND, *_RINGS).succeeded()
    ward.wait_for((2, 2), (2, 2))
    assert ward.accepted(CANARY) == [1, 2]


@pytest.mark.parametrize("point", ["after-publishing"])
def test_a_centre_killed_after_it_committed_a_publication_announces_it_at_its_next_start(
    ward: RolloutHospital,
) -> None:
    assert ward.publish(SECOND, *_RINGS).exit_code == 3  # whoever published is not told, and looks at the status
    assert is_dead(ward.centre)
    assert [ward.accepted(asset) for asset in ward.hosts] == [[1], [1]]  # nobody was told
    ward.start_centre()
    assert (ward.rollout()["version"], ward.rollout()["person"]) == (2, "first-administrator")
    ward.wait_for((2, 2), (2, 2))  # and the ring opens by itself

    assert ward.accepted(CANARY) == [1, 2]
    assert [ward.recorded().count(f"policy.{what}") for what in ("rollout-started", "published")] == [1, 1]


@pytest.mark.parametrize("point, ring", [("before-widening", 1), ("after-widening", 2)])
def test_a_centre_killed_while_it_opens_a_ring_has_opened_it_or_not_and_goes_on(
    ward: RolloutHospital, ring: int
) -> None:
    ward.publish(SECOND, *_RINGS).succeeded()
    assert is_dead(ward.centre)
    assert ward.rings_opened() == ring
    ward.start_centre()
    ward.wait_for((2, 2), (2, 2))
    ward.wait_for_state("finished", 2)

    assert [ward.accepted(asset) for asset in ward.hosts] == [[1, 2], [1, 2]]
    assert ward.recorded().count("policy.rollout-widened") == 1


# ---- the broker


@contextmanager
def kept_away(ward: RolloutHospital) -> Iterator[None]:
    """Kill the broker, and take its port so that it cannot come back meanwhile."""
    taking: list[socket.socket] = []

    def is_taken() -> bool:
        # It may be back sooner than we are there.
        kill_brokers(ward)
        with suppress(OSError):
            taking.append(socket.create_server(("127.0.0.1", ward.mqtt_port)))
        return bool(taking)

    assert kill_brokers(ward) == 1
    assert wait_until(is_taken, _SOON_S, look_every_s=0.001) is not None
    (taken,) = taking

    def turn_away() -> None:
        while True:
            try:
                taken.accept()[0].close()
            except OSError:
                return

    turning = Thread(target=turn_away)
    turning.start()
    try:
        yield
    finally:
        taken.shutdown(socket.SHUT_RDWR)
        taken.close()
        turning.join(30)


def kill_brokers(ward: RolloutHospital) -> int:
    killed = 0
    for child in psutil.Process(ward.centre.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() == "mosquitto":
                child.kill()
                killed += 1
    return killed


@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_a_broker_killed_in_the_middle_stops_no_ring_and_no_way_back(tmp_path: Path) -> None:
    with hospital(tmp_path, with_broker=True) as ward:
        ward.publish(SECOND, "--canary", CANARY, "--soak", "20s").succeeded()
        ward.person("policy", "rollout", "pause").succeeded()  # so that it stays here until the broker is away
        with kept_away(ward):
            assert ward.rollout()["ring"] == 1
            ward.person("policy", "rollout", "resume").succeeded()
            ward.wait_for((2, 2), (2, 2))
            assert ward.get("/api/v1/status")["broker"]["state"] != "running"
            ward.person("policy", "rollout", "revert").succeeded()
            ward.wait_for((2, 1), (2, 1))
            assert ward.get("/api/v1/status")["broker"]["state"] != "running"
