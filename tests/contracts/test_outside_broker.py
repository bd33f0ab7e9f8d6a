"""The whole way with a broker that others run: enrol, provision, connect, revoke, each as the guide writes it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.app import ControlPlane
from control_plane.first_start import first_start
from control_plane.policy.authoring import load_credential
from control_plane.settings import Folders, OutsideBroker, Settings
from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from provisioning.__main__ import main as provision
from provisioning.broker import nats
from shared.clock import SystemClock
from tests.contracts.brokers import nats_server
from tests.contracts.processes import Process
from tests.control_plane.cli.running import run
from tests.control_plane.fleet.host_client import WAIT_S
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.fleet.processes import eventually
from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_doors import issue_code
from tests.edge_agent.test_agent import running
from tests.fakes.log import MemoryLog
from tests.fakes.ports import free_ports


@pytest.fixture
def broker_ca() -> TestCa:
    return TestCa()


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def door(tmp_path: Path, port: int, broker_ca: TestCa) -> Iterator[Open]:
    clock, folders = SystemClock(), Folders(tmp_path / "data")
    made = first_start(
        folders, tmp_path / "handover", "ada", host="127.0.0.1", people_url="http://127.0.0.1:1", clock=clock
    )
    outside = OutsideBroker("localhost", port, broker_ca.pem.decode())
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, outside_broker=outside), clock)
    centre.start()
    try:
        yield Open(centre, folders, made, load_credential(made.credential), centre.addresses())
    finally:
        centre.stop()


def ask(door: Open, *arguments: str) -> tuple[int, str]:
    person = ["--as", str(door.handed_over.credential), "--url", str(door.addresses["people_url"])]
    code, said, _ = run(*arguments, *person)
    return code, said


def state(door: Open) -> str:
    return str(json.loads(door.signed_in("GET", "/api/v1/status").body)["broker"]["state"])


def test_a_host_uses_the_broker_that_it_was_told_of_until_it_is_revoked(
    tmp_path: Path, door: Open, port: int, broker_ca: TestCa
) -> None:
    host, log = AgentFolder(tmp_path / "host"), MemoryLog()
    host.path.mkdir()
    enrol(host, str(door.addresses["enrol_url"]), issue_code(door), "CT 2")
    identity = load_identity(host).config
    before = state(door)
    folder, node = tmp_path / "broker", broker_ca.node()
    folder.mkdir()
    for name, content in (
        ("leadglass-ca.pem", host.ca.read_bytes()), ("broker-ca.pem", broker_ca.pem),
        ("broker.pem", node.certificate), ("broker.key", node.key),
    ):  # fmt: skip
        (folder / name).write_bytes(content)
    peer, clients = free_ports(2)

    def configure() -> None:
        (tmp_path / "hosts").write_text(ask(door, "hosts", "list")[1])
        assert provision(
            ["broker", "nats", "--out", str(folder), "--hosts", str(tmp_path / "hosts"),
             "--client-ca", f"{folder}/leadglass-ca.pem", "--certificate", f"{folder}/broker.pem",
             "--key", f"{folder}/broker.key", "--address", "127.0.0.1", "--port", str(port), "--node", "one",
             "--cluster-listen", f"127.0.0.1:{peer}", "--peer", f"127.0.0.1:{peer}",
             "--peer-ca", f"{folder}/broker-ca.pem", "--client-listen", f"127.0.0.1:{clients}"]
        ) == 0  # fmt: skip

    configure()
    process = Process(folder, (nats_server(), "-c", folder / nats.CONFIGURATION), {"LANG": "C.UTF-8"})
    try:
        assert eventually(lambda: state(door) == "running", 120)
        with running(host, log):
            assert eventually(lambda: "mqtt.connected" in log.names(), WAIT_S)
            code, said = ask(door, "hosts", "revoke", str(identity.host_id), "--reason", "stolen")
            configure()
            process.reload()
            assert eventually(lambda: "mqtt.disconnected" in log.names()[log.names().index("mqtt.connected") :])
            assert eventually(lambda: ("mqtt.refused", "Not authorized") in refusals(log))
    finally:
        process.kill()

    assert before == "connecting"
    assert (identity.doors.mqtt_host, identity.doors.mqtt_port) == ("localhost", port)
    assert (code, "until the host is taken out of the configuration" in said) == (1, True)


def refusals(log: MemoryLog) -> list[tuple[str, str]]:
    return [(name, str(fields["why"])) for name, fields in log.events if name == "mqtt.refused"]
