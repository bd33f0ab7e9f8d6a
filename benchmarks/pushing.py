"""A policy's way to many hosts: the centre's push beside a bare retained publication of the same bytes on one broker.

Each host is a TLS session with a certificate of its own, held by a few processes that only listen; how long a host then
verifies is measured apart, in one real agent's updater. The storm is the broker killed: every session comes back by
itself within a few seconds. The state of 1,000 hosts is what it costs the centre to take their signed reports.
"""

import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import median

from sqlalchemy import insert

from benchmarks.measure import PeerMissing, cpu
from control_plane.db.models import Host as HostRow
from control_plane.fleet.broker import ManagedBroker, find_mosquitto
from control_plane.fleet.mqtt import CentreMqtt
from control_plane.fleet.states import StateIntake
from control_plane.policy.file.authored import AuthoredPolicy
from edge_agent.policy_sync.updater import PolicyUpdater
from shared.audit.events import Happening
from shared.clock import SystemClock
from shared.fleet.state import HostState, sign_state
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, HeadBundle, LayerBundle, layer_topic
from shared.policy.document import Modality
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.policy.centre import POLICY, Centre, new_centre
from tests.fakes.host import Host

HOSTS, PROCESSES = 5000, 5
POLICY_BYTES = 8 << 10
FLEETS = (100, 1000, 10_000)
REPORTING, REPORT_EVERY_S = 1000, 30


@dataclass(frozen=True)
class Pushed:
    hosts: int
    bare_ms: tuple[float, ...]
    ours_ms: tuple[float, ...]
    publishing_ms: tuple[float, ...]  # from the signed publication to the push
    bytes_a_publication: dict[int, int]  # by the number of hosts
    verifying_ms: float
    storm_s: float
    state_cpu_percent: float

    @property
    def ratio(self) -> float:
        return median(self.ours_ms) / median(self.bare_ms)

    def markdown(self) -> str:
        sizes = ", ".join(f"{size:,} bytes with {hosts:,} hosts" for hosts, size in self.bytes_a_publication.items())
        lines = [
            f"{self.hosts:,} hosts over TLS, {POLICY_BYTES >> 10} KiB of policy, {len(self.ours_ms)} rounds. {cpu()}.",
            "",
            "| | ms to the last host, median | best |",
            "| --- | --- | --- |",
            f"| **Leadglass**, layer and head | {median(self.ours_ms):.0f} | {min(self.ours_ms):.0f} |",
            f"| the same bytes, retained, nothing around | {median(self.bare_ms):.0f} | {min(self.bare_ms):.0f} |",
            "",
            f"Ratio {self.ratio:.2f}. First the centre verifies and signs for {median(self.publishing_ms):.0f} ms.",
            f"A host verifies for {self.verifying_ms:.1f} ms. A publication is {sizes}.",
            f"After the broker was killed all {self.hosts:,} hosts were back in {self.storm_s:.1f} s.",
            f"Reports of {REPORTING:,} hosts, one each {REPORT_EVERY_S} s: {self.state_cpu_percent:.1f} % of a core.",
        ]
        return "\n".join(lines) + "\n"

    def json(self) -> dict[str, object]:
        return {"machine": cpu(), "ratio": self.ratio, **self.__dict__}


class Fleet:
    """Processes that hold the hosts' sessions."""

    def __init__(self, port: int, folder: Path, hosts: int) -> None:
        share = hosts // PROCESSES
        program = [sys.executable, "-m", "benchmarks.mqtt_hosts", str(port), str(folder)]
        self._processes = [
            subprocess.Popen(
                [*program, str(number * share), str(share)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for number in range(PROCESSES)
        ]
        self.hosts = share * PROCESSES
        self._answers("ready")

    def last_heard(self, *messages: bytes) -> float:
        """Return when the last host had the last of them, in CLOCK_MONOTONIC seconds."""
        return max(self._ask(f"await {sha256(message).hexdigest()}") for message in messages)

    def are_back(self, times: int) -> float:
        """Return when each session had been subscribed so many times."""
        return self._ask(f"again {times}")

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def _ask(self, line: str) -> float:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        return max(float(answer) for answer in self._answers("at"))

    def _answers(self, word: str) -> list[str]:
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            said, _, rest = process.stdout.readline().strip().partition(" ")
            if said != word:
                raise RuntimeError(f"a process of hosts ended: {process.poll()}")
            answers.append(rest)
        return answers


def run(*, rounds: int, images: int, folder: Path | None, hosts: int = HOSTS) -> Iterator[Pushed]:  # noqa: ARG001  no images here
    mosquitto = find_mosquitto()
    if mosquitto is None:
        raise PeerMissing("mosquitto is not installed (Debian package mosquitto)")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < hosts + 100:
        raise PeerMissing(f"{hosts} sessions take as many descriptors of the broker; the limit here is {most}")
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as work, ExitStack() as stack:
        work_folder, ca = Path(work), TestCa()
        _issue(ca, work_folder / "hosts", hosts)
        broker = _broker(mosquitto, work_folder / "broker", ca)
        stack.callback(broker.stop)
        centre = new_centre(work_folder)
        mqtt = stack.enter_context(_connected(broker, ca))
        fleet = Fleet(broker.port, work_folder / "hosts", hosts)
        stack.callback(fleet.stop)
        pushes = _Pushes(centre, mqtt, fleet)
        bare, ours, publishing = [], [], []
        for number in range(1, rounds + 1):
            ours_ms, publishing_ms = pushes.ours(number)
            bare.append(pushes.bare())
            ours.append(ours_ms)
            publishing.append(publishing_ms)
            print(f"round {number}: {ours_ms:.0f} ms, bare {bare[-1]:.0f} ms", file=sys.stderr)
        yield Pushed(
            fleet.hosts, tuple(bare), tuple(ours), tuple(publishing),
            _bytes_a_publication(work_folder), _verifying_ms(work_folder, centre, rounds),
            _storm_s(broker, fleet), _state_cpu_percent(work_folder),
        )  # fmt: skip


class _Pushes:
    def __init__(self, centre: Centre, mqtt: CentreMqtt, fleet: Fleet) -> None:
        self._centre, self._mqtt, self._fleet = centre, mqtt, fleet
        self._pushed: list[tuple[float, bytes, bytes]] = []
        centre.publisher.subscribe(self._push)

    def ours(self, number: int) -> tuple[float, float]:
        """Return how long a publication took to the last host, and how long the centre took before it pushed."""
        publication = self._centre.sign(_sized(number))
        began = time.monotonic()
        self._centre.publisher.publish(publication, "Ada")
        pushed, head, layer = self._pushed[-1]
        return 1000 * (self._fleet.last_heard(layer, head) - pushed), 1000 * (pushed - began)

    def bare(self) -> float:
        _, head, layer = self._pushed[-1]
        payload = secrets.token_bytes(len(head) + len(layer))
        began = time.monotonic()
        self._mqtt.publish_retained(HEAD_TOPIC, payload)
        return 1000 * (self._fleet.last_heard(payload) - began)

    def _push(self, head: HeadBundle, layers: Sequence[LayerBundle]) -> None:
        (layer,) = layers
        self._pushed.append((time.monotonic(), head.encode(), layer.encode()))
        self._mqtt.publish_retained(layer_topic(layer.layer), layer.encode())
        self._mqtt.publish_retained(HEAD_TOPIC, head.encode())


def _sized(number: int) -> AuthoredPolicy:
    modalities = tuple(Modality(f"CT{at}", f"round {number}, " + "x" * 80) for at in range(POLICY_BYTES // 150))
    return replace(POLICY, modalities=modalities)


def _issue(ca: TestCa, folder: Path, hosts: int) -> None:
    folder.mkdir()
    (folder / "ca.pem").write_bytes(ca.pem)
    for number in range(hosts):
        identity = ca.host()
        (folder / f"{number}.pem").write_bytes(identity.key + identity.certificate)
        (folder / f"{number}.name").write_text(identity.name)


def _broker(mosquitto: Path, folder: Path, ca: TestCa) -> ManagedBroker:
    server = ca.server()
    folder.mkdir()
    broker = ManagedBroker(folder, mosquitto, 0, ca.pem, server.certificate, server.key, pauses_s=(0.05, 1.0))
    broker.start()
    return broker


@contextmanager
def _connected(broker: ManagedBroker, ca: TestCa) -> Iterator[CentreMqtt]:
    service = ca.centre()
    mqtt = CentreMqtt(
        "127.0.0.1", broker.port, ca.pem, service.certificate, service.key,
        on_state=lambda _host, _signed: None, on_connected=lambda: None, reconnect_s=(1, 2),
    )  # fmt: skip
    mqtt.start()
    try:
        _await(lambda: mqtt.is_connected)
        yield mqtt
    finally:
        mqtt.stop()


def _await(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > until:
            raise RuntimeError("it did not come to it")
        time.sleep(0.02)


def _bytes_a_publication(folder: Path) -> dict[int, int]:
    sizes = {}
    for hosts in FLEETS:
        (folder / f"of {hosts}").mkdir()
        centre, pushed = new_centre(folder / f"of {hosts}"), list[int]()
        with centre.database.begin() as session:
            now = centre.clock.now()
            rows = [
                {"host_id": str(HostId.new()), "asset": f"host {number}", "enrolled": now,
                 "evidence_spki": b"", "state_number": 0}
                for number in range(hosts)
            ]  # fmt: skip
            session.execute(insert(HostRow), rows)
        centre.publisher.subscribe(
            lambda head, layers, pushed=pushed: pushed.append(  # type: ignore[misc]
                len(head.encode()) + sum(len(layer.encode()) for layer in layers)
            )
        )
        centre.publish(_sized(1))
        sizes[hosts] = pushed[-1]
    return sizes


def _verifying_ms(folder: Path, centre: Centre, rounds: int) -> float:
    host, times = Host(folder / "agent"), []
    updater = PolicyUpdater(
        trust_folder=host.folder / "policy", policy_root=centre.publisher.newest_root(),
        host_id=host.host_id, store=host.store, journal=host.journal, database=host.database, log=host.log,
    )  # fmt: skip
    offered: list[tuple[bytes, bytes]] = []
    centre.publisher.subscribe(lambda head, layers: offered.append((head.encode(), layers[0].encode())))
    for number in range(rounds + 1):
        centre.publish(_sized(100 + number))
        head, layer = offered[-1]
        began = time.process_time()
        updater.offer_layer(layer)
        updater.offer_head(head)
        times.append(1000 * (time.process_time() - began))
        if updater.error:
            raise RuntimeError(updater.error)
    return median(times[1:])


def _storm_s(broker: ManagedBroker, fleet: Fleet) -> float:
    restarts = broker.status.restarts
    process = broker._process
    assert process is not None
    began = time.monotonic()
    os.kill(process.pid, signal.SIGKILL)
    _await(lambda: broker.status.restarts > restarts)
    return fleet.are_back(2) - began


class _NoJournal:
    def append(self, _session: object, _happening: Happening, /) -> None:
        raise AssertionError("nothing happens here that is recorded")


def _state_cpu_percent(folder: Path) -> float:
    """Return the processor time for the second report of each host, in percent of the time between two of them."""
    (folder / "states").mkdir()
    centre, host = new_centre(folder / "states"), Host(folder / "states" / "agent")
    ids = [HostId.new() for _ in range(REPORTING)]
    with centre.database.begin() as session:
        for host_id in ids:
            session.add(HostRow(host_id=str(host_id), asset="a host", enrolled=centre.clock.now(),
                                evidence_spki=host.signer.public.spki, state_number=0))  # fmt: skip
    intake, clock, run_name = StateIntake(centre.database, _NoJournal(), centre.clock), SystemClock(), "0" * 32
    took_s = 0.0
    for number in (1, 2):
        reports = [
            (each, sign_state(HostState(each, number, clock.now(), "leadglass", 1, 1, "", True, 0, 9, 9, 0, 0,
                                        run=run_name), host.signer))
            for each in ids
        ]  # fmt: skip
        began = time.process_time()
        for each, signed in reports:
            intake.take(each, signed)
        took_s = time.process_time() - began
    return 100 * took_s / REPORT_EVERY_S
