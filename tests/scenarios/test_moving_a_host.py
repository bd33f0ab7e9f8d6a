"""A host is moved to another site: people sign, the host verifies, and the control plane follows its word."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent import Agent, Runs, Settings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder, load_config
from edge_agent.enrol.enroller import enrol
from provisioning.demo.processes import wait_until
from shared.clock import SystemClock
from shared.enrolment.code import EnrolmentCode
from tests.edge_agent.conftest import senders_close_their_sockets
from tests.fakes.log import MemoryLog
from tests.scenarios.desk import ONE_CT, run
from tests.scenarios.test_moving_a_spool import Hospital, host_of

__all__ = ["senders_close_their_sockets"]

_SITE = """\
layer: site-NAME
modalities: [{ae_title: AT_NAME, description: "a modality"}]
"""
NORTH, SOUTH = "site-north", "site-south"


@contextmanager
def running(folder: AgentFolder) -> Iterator[list[Agent]]:
    """Run agents, one after the other, as `leadglass-agent run` does; yield those that there were."""
    runs, agents = Runs(), list[Agent]()
    settings = Settings(folder, Address("127.0.0.1", 0, "LEADGLASS"))

    def go_on() -> None:
        while (stop := runs.begin()) is not None:
            agents.append(Agent(settings, SystemClock(), MemoryLog(), start_anew=stop.set))
            agents[-1].run(stop)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield agents
    finally:
        runs.end()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    """Yield one with two sites of their own policy."""
    hospital = Hospital(tmp_path)
    with hospital.centre():
        publish(hospital, ONE_CT)
        hospital.person("policy", "layer", "add", NORTH, SOUTH, "site-east")
        for name in ("north", "south"):
            publish(hospital, _SITE.replace("NAME", name))
        yield hospital


def publish(hospital: Hospital, policy: str) -> None:
    file = hospital.folder / "policy.yaml"
    file.write_text(policy)
    hospital.person("policy", "publish", str(file))


def enrolled(hospital: Hospital, asset: str, site: str) -> AgentFolder:
    folder = AgentFolder(hospital.folder / asset)
    code = hospital.person("code", "--asset", asset, "--site", site)["code"]
    enrol(folder, hospital.enrol_url, EnrolmentCode.parse(code), asset)
    return folder


def shown(hospital: Hospital, folder: AgentFolder) -> Any:
    (host,) = [one for one in hospital.person("status")["hosts"] if one["host"] == host_of(folder)]
    return host


def layers(hospital: Hospital, folder: AgentFolder) -> dict[str, tuple[bool, int | None]]:
    """Return which layers the host was given or reports, and which version of each it goes by."""
    return {each["layer"]: (each["enrolled"], each["in_force"]) for each in shown(hospital, folder)["layers"]}


def answered(hospital: Hospital, command: str) -> dict[str, Any]:
    ended: list[dict[str, Any]] = []

    def has_ended() -> bool:
        ended[:] = hospital.person("commands", "--command", command)
        return bool(ended[0]["state"] != "waiting")

    assert wait_until(has_ended, 120) is not None
    return ended[0]


def allowed(agents: list[Agent]) -> set[str]:
    policy = agents[-1].store.in_force() if agents else None
    return {modality.ae_title for modality in policy.modalities} if policy is not None else set()


def test_a_host_moves_and_is_the_same_host_at_its_new_site(hospital: Hospital) -> None:
    folder = enrolled(hospital, "CT 2", "south")
    before = load_config(folder)
    with running(folder) as agents:
        assert wait_until(lambda: allowed(agents) == {"CT1", "AT_south"}, 120) is not None
        (asked,) = hospital.person("host", "move", "CT 2", "--site", "north")
        result = answered(hospital, asked["command"])
        assert wait_until(lambda: layers(hospital, folder) == {NORTH: (True, 1)}, 120) is not None
        assert allowed(agents) == {"CT1", "AT_north"}
        assert wait_until(lambda: shown(hospital, folder)["state"] == "capturing", 120) is not None
        status = hospital.person("status")

    assert (result["state"], result["facts"]) == ("done", {"layers": [NORTH]})
    assert load_config(folder) == replace(before, parts=(NORTH,))
    assert len(agents) == 2
    assert not [gap for gap in status["not_evaluated"] if "layer" in gap]
    assert shown(hospital, folder)["moves_to"] is None
    events = [record["event"] for record in hospital.person("audit", "tail")["records"]]
    assert "enrolment.host-moved" in events


def test_until_the_host_has_answered_it_is_shown_where_it_was_and_asked_to_move(hospital: Hospital) -> None:
    folder = enrolled(hospital, "CT 2", "south")
    hospital.person("host", "move", host_of(folder), "--site", "north")

    assert shown(hospital, folder)["moves_to"] == [NORTH]
    assert list(layers(hospital, folder)) == [SOUTH]


@pytest.mark.parametrize("site", ["nowhere", "east"])
def test_a_layer_of_which_nothing_is_published_is_refused_before_anything_is_signed(
    hospital: Hospital, site: str
) -> None:
    folder = enrolled(hospital, "CT 2", "south")
    out = hospital.folder / "move.command"
    who = ("--as", str(hospital.folder / "handover" / "credential-ada.json"), "--url", hospital.people_url)
    asked = run("leadglass-server", "host", "move", host_of(folder), "--site", site, "--out", str(out), *who)

    assert asked.exit_code == 1
    assert f"nothing is published of layer site-{site}" in asked.err
    assert not out.exists()
    assert hospital.person("commands") == []
