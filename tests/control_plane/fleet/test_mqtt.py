"""The centre's client against a real broker."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from control_plane.fleet.broker import ManagedBroker
from control_plane.fleet.mqtt import CentreMqtt, NotPublished, TooLargeToPublish
from shared.errors import Unavailable
from shared.fleet.state import MAX_BYTES as MAX_STATE_BYTES
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, MAX_LAYER_BYTES, layer_topic, state_topic
from tests.control_plane.fleet.host_client import WAIT_S, HostClient
from tests.control_plane.fleet.pki import Identity, TestCa
from tests.control_plane.fleet.processes import eventually, processes_of


class Centre:
    """A centre that publishes its policy at every connect and remembers what it hears."""

    def __init__(self, port: int, ca: TestCa, identity: Identity) -> None:
        self.heard: Queue[tuple[HostId, bytes]] = Queue()
        self.connects: Queue[NotPublished | None] = Queue()  # why its policy was not published, None when it was
        self.policy = b"policy 1"
        self.fails: list[Exception] = []
        self.mqtt = CentreMqtt(
            "127.0.0.1",
            port,
            ca.pem,
            identity.certificate,
            identity.key,
            on_state=self._on_state,
            on_connected=self._on_connected,
            reconnect_s=(1, 1),
        )

    def _on_state(self, host: HostId, signed: bytes) -> None:
        if self.fails:
            raise self.fails.pop()
        self.heard.put((host, signed))

    def _on_connected(self) -> None:
        try:
            self.mqtt.publish_retained(HEAD_TOPIC, self.policy)
        except NotPublished as exc:
            self.connects.put(exc)
        else:
            self.connects.put(None)


@contextmanager
def running(port: int, ca: TestCa, identity: Identity | None = None) -> Iterator[Centre]:
    centre = Centre(port, ca, identity or ca.centre())
    centre.mqtt.start()
    try:
        yield centre
    finally:
        centre.mqtt.stop()


@pytest.fixture
def centre(broker: ManagedBroker, ca: TestCa) -> Iterator[Centre]:
    with running(broker.port, ca) as centre:
        assert centre.connects.get(timeout=WAIT_S) is None
        yield centre


def test_a_host_that_subscribes_gets_the_policy_at_once(broker: ManagedBroker, ca: TestCa, centre: Centre) -> None:
    with HostClient(broker.port, ca.pem, ca.host()) as host:
        host.subscribe(HEAD_TOPIC)

        assert host.next() == (HEAD_TOPIC, b"policy 1")


def test_a_connected_host_gets_a_new_policy(broker: ManagedBroker, ca: TestCa, centre: Centre) -> None:
    with HostClient(broker.port, ca.pem, ca.host()) as host:
        host.subscribe(layer_topic("organisation"))

        centre.mqtt.publish_retained(layer_topic("organisation"), b"layer 2")

        assert host.next() == (layer_topic("organisation"), b"layer 2")


def test_hears_a_host_under_the_name_of_its_topic(broker: ManagedBroker, ca: TestCa, centre: Centre) -> None:
    identity = ca.host()
    with HostClient(broker.port, ca.pem, identity) as host:
        host.publish(state_topic(identity.name), b"signed")

    assert centre.heard.get(timeout=WAIT_S) == (HostId.parse(identity.name), b"signed")


def test_the_largest_report_of_a_host_arrives_and_a_larger_one_does_not(
    broker: ManagedBroker, ca: TestCa, centre: Centre
) -> None:
    identity = ca.host()
    with HostClient(broker.port, ca.pem, identity) as host:
        for payload in (bytes(2 * MAX_STATE_BYTES), bytes(MAX_STATE_BYTES)):
            host.publish(state_topic(identity.name), payload)

    assert centre.heard.get(timeout=WAIT_S) == (HostId.parse(identity.name), bytes(MAX_STATE_BYTES))


@pytest.mark.parametrize("failure", [Unavailable("the database is busy"), ZeroDivisionError()])
def test_one_report_that_cannot_be_taken_silences_no_other(
    broker: ManagedBroker, ca: TestCa, centre: Centre, failure: Exception
) -> None:
    centre.fails.append(failure)
    bad, good = ca.host(), ca.host()
    with HostClient(broker.port, ca.pem, bad) as first, HostClient(broker.port, ca.pem, good) as second:
        first.publish(state_topic(bad.name), b"breaks")
        second.publish(state_topic(good.name), b"fine")

    assert centre.heard.get(timeout=WAIT_S) == (HostId.parse(good.name), b"fine")


def test_a_restarted_broker_gets_the_policy_of_now(
    broker: ManagedBroker, tmp_path: Path, ca: TestCa, centre: Centre
) -> None:
    with HostClient(broker.port, ca.pem, ca.host()) as host:
        centre.policy = b"policy 2"

        for pid in processes_of(tmp_path / "broker"):
            os.kill(pid, signal.SIGKILL)

        assert host.lost.get(timeout=WAIT_S)
        assert centre.connects.get(timeout=WAIT_S) is None
        assert host.connected.get(timeout=WAIT_S)
        host.subscribe(HEAD_TOPIC)
        assert host.next() == (HEAD_TOPIC, b"policy 2")


def test_connects_to_a_broker_that_comes_later(broker: ManagedBroker, ca: TestCa) -> None:
    broker.stop()
    with running(broker.port, ca) as centre:
        with pytest.raises(NotPublished, match="not connected"):
            centre.mqtt.publish_retained(HEAD_TOPIC, b"too early")
        broker.start()

        assert centre.connects.get(timeout=WAIT_S) is None


def test_a_refused_publication_is_not_taken_for_a_done_one(broker: ManagedBroker, ca: TestCa) -> None:
    with running(broker.port, ca, ca.host()) as imposter:
        refusal = imposter.connects.get(timeout=WAIT_S)

    assert isinstance(refusal, NotPublished)
    assert refusal.why == "the broker refused it: Not authorized"


def test_refuses_what_the_broker_would_hang_up_on(centre: Centre) -> None:
    with pytest.raises(TooLargeToPublish):
        centre.mqtt.publish_retained(HEAD_TOPIC, bytes(MAX_LAYER_BYTES + 1))


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_does_not_talk_to_a_broker_of_another_authority(
    broker: ManagedBroker, ca: TestCa, caplog: pytest.LogCaptureFixture
) -> None:
    with running(broker.port, TestCa()) as centre:
        assert eventually(lambda: "MQTT unreachable" in caplog.messages)

        assert not centre.mqtt.is_connected
    assert centre.connects.empty()
