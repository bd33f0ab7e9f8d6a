"""The device guard from an administrator's file to the kernel's and back to the centre. Real processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from control_plane.app import ControlPlane
from control_plane.fleet.broker import find_mosquitto
from control_plane.policy.roles import ONLINE_HOLDS_FOR
from control_plane.settings import Folders, Settings
from edge_agent.link.client import GuardClient
from edge_agent.usb_policy.exchange import Offer
from provisioning.demo.processes import wait_until
from shared.clock import SystemClock
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.record import GuardEvent
from shared.devices.verdict import Cause
from shared.fields import encode_base64
from shared.policy.bundle import LayerBundle
from shared.policy.document import PolicyDocument
from tests.edge_agent.test_guard_process import HUB, plugging
from tests.edge_agent.usb_policy.bench import Guard as Signers
from tests.scenarios.guarded import ALLOWED, ASSET, FOR_A_TIME, Site, ask, site, socket_folder

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="agent and commands believe root's guard only"),
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed (Debian package mosquitto)"),
]

EVERYTHING = DevicePolicy((DeviceRule(parse_rule("allow", 1)),))
_STORY = ["device.attached", "device.decided", "device.enforced", "device.detached"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    # It asks for policy so rarely that what arrives was pushed.
    with site(tmp_path_factory.mktemp("site"), pull_every_s=3600) as made:
        yield made


@pytest.fixture
def host(running: Site) -> Site:
    """Everything runs, the first policy is in force, and nothing is plugged in. Each test has ports of its own."""
    running.settle()
    return running


def test_what_is_plugged_in_is_decided_enforced_recorded_and_shown_at_the_centre(host: Site) -> None:
    host.bus.plug("1-1", serial="ALLOWED")
    # As a kernel leaves a device that came before the guard could tell it to deny by default.
    host.bus.plug("1-2", serial="FOREIGN", authorized=True)
    host.until_authorized("1-1", "1")
    host.until_authorized("1-2", "0")
    host.until(lambda: is_enforced(host, "1-1") and is_enforced(host, "1-2"), "the centre shows both enforced")

    allowed, blocked = host.shown_at("1-1"), host.shown_at("1-2")
    assert (allowed["verdict"], blocked["verdict"]) == ("allowed", "blocked")
    assert allowed["reason"] == 'rule 1: allow id 0781:5581 serial "ALLOWED"'
    differs = 'nearest rule 1 differs in serial: expected "ALLOWED", found "FOREIGN"'
    assert blocked["reason"] == f"no rule matched: {differs}"
    printed = host.person("devices", ASSET).out
    assert "1-1 0781:5581 A device serial ALLOWED: allowed, enforced" in printed
    assert "1-2 0781:5581 A device serial FOREIGN: blocked, enforced" in printed

    host.bus.unplug("1-1")
    host.bus.unplug("1-2")
    for port, read_back in (("1-1", "yes"), ("1-2", "no")):
        told = host.until_told_of(port, len(_STORY))
        assert [record.event for record in told] == _STORY
        assert f"authorized: {read_back}" in told[2].facts
    host.until(lambda: not host.shown_at("1-1"), "the centre shows that it is gone")
    assert {verdict["state"] for verdict in host.person("audit", "verify", "--json").json().values()} == {"verified"}


def test_a_tighter_policy_takes_a_plugged_stick_away_without_any_restart(host: Site) -> None:
    host.bus.plug("1-3", serial="ALLOWED")
    host.until_authorized("1-3", "1")
    programs = (host.guard.pid, host.agent.pid)

    host.publish(FOR_A_TIME)
    host.until_authorized("1-3", "0")

    shown = {"verdict": "blocked", "enforcement": "enforced"}
    host.until(lambda: bool(shown.items() <= host.shown_at("1-3").items()), "the centre shows it blocked for good")
    assert (host.guard.is_running, host.agent.is_running) == (True, True)
    assert (host.guard.pid, host.agent.pid) == programs


def test_an_agent_that_is_killed_while_sticks_come_and_go_loses_and_repeats_no_record(host: Site) -> None:
    comes_and_goes(host, "1-4", "first", "second")
    host.until_told_of("1-4", 1)
    host.kill(host.agent)
    comes_and_goes(host, "1-4", "third", "fourth")
    confirmed = host.confirmed()
    host.start_agent()
    host.until(lambda: host.confirmed() > confirmed, "the agent has taken records again")
    host.kill(host.agent)
    comes_and_goes(host, "1-4", "fifth", "sixth")
    host.start_agent()

    told = host.until_told()
    assert [record.digest for record in told] == [record.digest.hex() for record in host.records()]
    assert [record.event for record in told if record.port == "1-4"] == 6 * _STORY


def comes_and_goes(host: Site, port: str, *serials: str) -> None:
    for serial in serials:
        before = host.wrote(GuardEvent.ENFORCED, port)
        host.bus.plug(port, serial=serial)
        host.until_enforced(port, before + 1)
        host.bus.unplug(port)


# ---- a hostile agent


def taken_over(socket: Path, offers: Sequence[Offer]) -> Any:
    """Do at the guard's socket what an agent does that was taken over, and return what came of it."""
    told = json.dumps([(encode_base64(offer.head), encode_base64(offer.layers[0])) for offer in offers])
    command = [sys.executable, "-m", "tests.scenarios.hostile_agent", "nobody", str(socket)]
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def altered(offer: Offer) -> Offer:
    """Return a genuine policy in which everything is allowed."""
    layer = LayerBundle.parse(offer.layers[0])
    policy = replace(PolicyDocument.parse(layer.policy), devices=EVERYTHING).encode()
    return Offer(offer.head, (replace(layer, policy=policy).encode(),))


def forged(folder: Path) -> Offer:
    """Return a policy that allows everything, whole in itself and signed by somebody else."""
    return Signers(folder).publish(1000, EVERYTHING)


def test_an_agent_that_was_taken_over_can_offer_forged_and_old_policy_and_changes_nothing(
    host: Site, tmp_path: Path
) -> None:
    host.bus.plug("1-5", serial="ALLOWED")
    host.until_authorized("1-5", "1")
    old = host.kept_bundles()
    in_force = host.publish(FOR_A_TIME)
    host.until_authorized("1-5", "0")
    host.until(lambda: host.kept_bundles() != old, "the agent has kept the newer policy")
    host.stop(host.agent)
    refused = host.wrote(GuardEvent.POLICY_REFUSED, "offer")

    came = taken_over(host.socket, [forged(tmp_path / "forger"), altered(host.kept_bundles()), old])

    assert all(came["judged"])
    assert came["policy"] == in_force
    assert host.authorized("1-5") == "0"
    assert host.wrote(GuardEvent.POLICY_REFUSED, "offer") == refused + 3
    host.start_agent()
    told = host.until_told()
    assert [record.digest for record in told] == [record.digest.hex() for record in host.records()]
    host.until(lambda: not host.report().policy_error, "what was offered last is the policy in force")


def test_a_guard_whose_child_believes_what_it_is_offered_takes_the_forged_policy(tmp_path: Path) -> None:
    Signers(tmp_path / "state")
    with socket_folder() as runtime, plugging() as bus:
        bus.plug("usb1", [HUB])
        command = [sys.executable, "-m", "tests.scenarios.credulous_guard"]
        where = [str(tmp_path / "state"), str(runtime / "guard.sock")]
        with subprocess.Popen([*command, *where], env=bus.environment) as guard:
            try:
                assert wait_until(lambda: ask(runtime / "guard.sock", GuardClient.hello) is not None, 60) is not None
                bus.plug("1-1")
                came = taken_over(runtime / "guard.sock", [forged(tmp_path / "forger")])
                authorized = Path(bus.environment["UMOCKDEV_DIR"], "sys/bus/usb/devices/1-1/authorized")

                assert came == {"judged": [""], "policy": 1000}
                assert wait_until(lambda: authorized.read_text().strip() == "1", 60) is not None
            finally:
                guard.terminate()


# ---- without a centre, and without a guard


class SlowClock(SystemClock):
    """Behind by so much that what the centre signs holds for `lasts` and no longer."""

    def __init__(self, lasts: timedelta) -> None:
        self._behind = ONLINE_HOLDS_FOR - lasts

    def now(self) -> datetime:
        return super().now() - self._behind


@contextmanager
def slow_centre(host: Site, lasts: timedelta) -> Iterator[None]:
    host_port, enrol_port, people_port = (host.ports[name] for name in ("host", "enrol", "people"))
    settings = Settings(
        Folders(host.data),
        host_port=host_port,
        enrol_port=enrol_port,
        people_port=people_port,
        with_broker=False,
    )
    centre = ControlPlane(settings, SlowClock(lasts))
    centre.start()
    try:
        yield
    finally:
        centre.stop()


def test_without_centre_and_broker_the_guard_decides_and_only_what_is_for_a_time_ends_with_the_policy(
    tmp_path: Path,
) -> None:
    with site(tmp_path, pull_every_s=1) as host:
        host.stop(host.agent)
        host.stop(host.centre)
        # Long enough for a busy machine to stop the centre and plug three sticks in meanwhile.
        with slow_centre(host, timedelta(seconds=30)):
            # It pulls, for there is no broker; one that ran all the while would ask again at its leisure.
            host.start_agent()
            host.until(lambda: host.shown()["guard"] == "watching", "the agent is back")
            host.until_policy(host.publish(ALLOWED, FOR_A_TIME))

        host.bus.plug("1-1", serial="ALLOWED")
        host.bus.plug("1-2", serial="FOR-A-TIME")
        host.bus.plug("1-3", serial="FOREIGN", authorized=True)
        for port, value in (("1-1", "1"), ("1-2", "1"), ("1-3", "0")):
            host.until_authorized(port, value)
        host.until_authorized("1-2", "0")

        assert host.authorized("1-1") == "1"
        causes = {device.port: device.cause for device in host.report().devices}
        assert (causes["1-1"], causes["1-2"], causes["1-3"]) == (Cause.RULE, Cause.LAPSED, Cause.DEFAULT)
        host.until(lambda: host.confirmed() == len(host.records()), "the agent keeps the records for the centre")


def test_without_a_guard_the_centre_says_so_and_shows_nothing_as_enforced(host: Site) -> None:
    host.bus.plug("1-6", serial="ALLOWED")
    host.until(lambda: is_enforced(host, "1-6"), "the centre shows it enforced")

    host.kill(host.guard)
    host.until(lambda: host.shown()["guard"] == "no guard", "the centre shows that no guard answers")

    assert "enforced" not in json.dumps(host.shown())
    assert any("no guard answers there" in what for what in host.shown()["not_proved"])
    host.start_guard()
    host.until(lambda: is_enforced(host, "1-6"), "the centre shows it enforced again")


def test_a_guard_that_hangs_is_shown_as_none(host: Site) -> None:
    host.bus.plug("1-7", serial="ALLOWED")
    host.until(lambda: is_enforced(host, "1-7"), "the centre shows it enforced")

    os.kill(host.guard.pid, signal.SIGSTOP)
    try:
        host.until(lambda: host.shown()["guard"] == "no guard", "the centre shows that no guard answers")

        assert "enforced" not in json.dumps(host.shown())
    finally:
        os.kill(host.guard.pid, signal.SIGCONT)


def is_enforced(host: Site, port: str) -> bool:
    return bool(host.shown_at(port).get("enforcement") == "enforced")
