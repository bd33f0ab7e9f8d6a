"""Who gets in, as whom, and to which topics; each refusal beside the configuration that would have allowed it."""

import logging
import socket
from typing import cast

import pytest

from control_plane.fleet.broker import ManagedBroker
from control_plane.fleet.broker_config import Listener, configuration, host_of_state_topic
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, MAX_LAYER_BYTES, command_topic, layer_topic, state_topic
from tests.control_plane.fleet.conftest import StartBroker
from tests.control_plane.fleet.host_client import WAIT_S, HostClient, tls
from tests.control_plane.fleet.pki import Identity, TestCa
from tests.control_plane.fleet.processes import eventually

# MQTT 3.1.1 section 3.1: CONNECT of client "x" with a clean session, and the CONNACK that accepts it.
CONNECT = bytes.fromhex("100d 0004 4d515454 04 02 003c 0001 78")
CONNACK = bytes.fromhex("20020000")
PERMISSIVE = "topic readwrite #\npattern readwrite #\n"
OPEN, SHUT = "permissive", "ours"


def gets_in(broker: ManagedBroker, ca: TestCa, identity: Identity | None) -> bool:
    """Say whether the broker accepts an MQTT session; a TLS 1.3 client learns of its refusal on the first read."""
    try:
        with (
            socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as plain,
            tls(ca.pem, identity).wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            secured.sendall(CONNECT)
            return secured.recv(16) == CONNACK
    except OSError:
        return False


def test_a_host_with_our_certificate_gets_in(broker: ManagedBroker, ca: TestCa) -> None:
    assert gets_in(broker, ca, ca.host())


def test_refuses_a_stranger_without_a_certificate(broker: ManagedBroker, ca: TestCa) -> None:
    assert not gets_in(broker, ca, None)


def test_refuses_a_certificate_of_another_authority(broker: ManagedBroker, ca: TestCa) -> None:
    assert not gets_in(broker, ca, TestCa().host())


def test_refuses_the_server_certificate_as_a_client(broker: ManagedBroker, ca: TestCa) -> None:
    # It names control-plane too, and whoever holds only the broker's key must not become the control plane.
    assert not gets_in(broker, ca, ca.server())


@pytest.fixture
def guarded(request: pytest.FixtureRequest, start_broker: StartBroker) -> ManagedBroker:
    return start_broker(access_rules=PERMISSIVE) if request.param == OPEN else start_broker()


both_ways = pytest.mark.parametrize("guarded, allowed", [(SHUT, False), (OPEN, True)], indirect=["guarded"])


@both_ways
def test_a_host_reads_no_other_hosts_topic(guarded: ManagedBroker, ca: TestCa, allowed: bool) -> None:
    spy, victim = ca.host(), ca.host()
    with (
        HostClient(guarded.port, ca.pem, spy) as a,
        HostClient(guarded.port, ca.pem, victim) as b,
        HostClient(guarded.port, ca.pem, ca.centre()) as centre,
    ):
        a.subscribe(HEAD_TOPIC, state_topic("+"), state_topic(victim.name), command_topic(victim.name))
        b.publish(state_topic(victim.name), b"secret")
        centre.publish(command_topic(victim.name), b"secret")
        centre.publish(HEAD_TOPIC, b"end")

        arrived = [a.next()]
        while arrived[-1] != (HEAD_TOPIC, b"end"):
            arrived.append(a.next())
    assert ((state_topic(victim.name), b"secret") in arrived) == allowed
    assert ((command_topic(victim.name), b"secret") in arrived) == allowed


def test_a_host_hears_that_there_is_a_command_for_it_and_nothing_stays(broker: ManagedBroker, ca: TestCa) -> None:
    identity = ca.host()
    topic = command_topic(identity.name)
    with HostClient(broker.port, ca.pem, identity) as host, HostClient(broker.port, ca.pem, ca.centre()) as centre:
        host.subscribe(topic)
        centre.publish(topic, b"", retain=True)
        assert host.next() == (topic, b"")
    with HostClient(broker.port, ca.pem, identity) as host, HostClient(broker.port, ca.pem, ca.centre()) as centre:
        host.subscribe(topic, HEAD_TOPIC)
        centre.publish(HEAD_TOPIC, b"end")
        assert host.next() == (HEAD_TOPIC, b"end")


@both_ways
@pytest.mark.parametrize(
    "topic",
    [
        HEAD_TOPIC,
        layer_topic("organisation"),
        layer_topic("site-north"),
        state_topic("host-of-another"),
        command_topic("host-of-another"),
    ],
)
def test_a_host_publishes_neither_policy_nor_anothers_state(
    guarded: ManagedBroker, ca: TestCa, allowed: bool, topic: str
) -> None:
    host = ca.host()
    with (
        HostClient(guarded.port, ca.pem, ca.centre()) as centre,
        HostClient(guarded.port, ca.pem, host) as attacker,
    ):
        centre.subscribe(topic, state_topic(host.name))
        attacker.publish(topic, b"forged", retain=True)
        attacker.publish(state_topic(host.name), b"end")

        arrived = [centre.next()]
        while arrived[-1] != (state_topic(host.name), b"end"):
            arrived.append(centre.next())
    assert ((topic, b"forged") in arrived) == allowed


@both_ways
def test_a_host_leaves_no_forged_policy_as_its_last_will(guarded: ManagedBroker, ca: TestCa, allowed: bool) -> None:
    with HostClient(guarded.port, ca.pem, ca.centre()) as centre:
        centre.subscribe(HEAD_TOPIC)
        attacker = HostClient(guarded.port, ca.pem, ca.host(), will=(HEAD_TOPIC, b"forged"))
        attacker.paho.connect_async("127.0.0.1", guarded.port)
        attacker.paho.loop_start()
        got_in = attacker.connected.get(timeout=WAIT_S)
        if got_in and (connection := attacker.paho.socket()) is not None:
            cast("socket.socket", connection).shutdown(
                socket.SHUT_RDWR
            )  # as a cable that is pulled: no DISCONNECT, so the will is due
            attacker.lost.get(timeout=WAIT_S)
            attacker.connected.get(timeout=WAIT_S)
        attacker.paho.disconnect()
        attacker.paho.loop_stop()
        centre.publish(HEAD_TOPIC, b"end")

        arrived = [centre.next()]
        while arrived[-1] != (HEAD_TOPIC, b"end"):
            arrived.append(centre.next())
    assert ((HEAD_TOPIC, b"forged") in arrived) == allowed


def without_names_as_client_ids(listener: Listener) -> str:
    return configuration(listener).replace("use_username_as_clientid true", "use_username_as_clientid false")


def test_another_hosts_client_id_takes_over_no_session(broker: ManagedBroker, ca: TestCa) -> None:
    victim, intruder = ca.host(), ca.host()
    with HostClient(broker.port, ca.pem, victim) as first:
        first.subscribe(HEAD_TOPIC)
        with (
            HostClient(broker.port, ca.pem, intruder, client_id=victim.name),
            HostClient(broker.port, ca.pem, ca.centre()) as centre,
        ):
            centre.publish(HEAD_TOPIC, b"still here")

            assert first.next() == (HEAD_TOPIC, b"still here")
            assert first.lost.empty()


def test_without_names_as_client_ids_a_session_would_be_taken_over(
    start_broker: StartBroker, ca: TestCa, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broker = start_broker(configure=without_names_as_client_ids)
    victim, intruder = ca.host(), ca.host()
    with (
        HostClient(broker.port, ca.pem, victim) as first,
        HostClient(broker.port, ca.pem, intruder, client_id=victim.name),
    ):
        assert first.lost.get(timeout=WAIT_S)
    why = f"Client {victim.name} already connected, closing old connection"
    assert eventually(lambda: any(why in getattr(record, "line", "") for record in caplog.records))


@pytest.mark.parametrize("layer", ["organisation", "site-north", "modality-ct"])
def test_a_host_hears_each_of_its_layers_by_its_exact_topic(broker: ManagedBroker, ca: TestCa, layer: str) -> None:
    with (
        HostClient(broker.port, ca.pem, ca.centre()) as centre,
        HostClient(broker.port, ca.pem, ca.host()) as host,
    ):
        host.subscribe(layer_topic(layer), HEAD_TOPIC)
        centre.publish(layer_topic(layer), b"policy", retain=True)
        centre.publish(HEAD_TOPIC, b"end", retain=True)

        assert [host.next(), host.next()] == [(layer_topic(layer), b"policy"), (HEAD_TOPIC, b"end")]


def test_the_largest_bundle_passes(broker: ManagedBroker, ca: TestCa) -> None:
    largest = bytes(MAX_LAYER_BYTES)
    with (
        HostClient(broker.port, ca.pem, ca.host()) as host,
        HostClient(broker.port, ca.pem, ca.centre()) as centre,
    ):
        host.subscribe(layer_topic("organisation"))
        centre.publish(layer_topic("organisation"), largest, retain=True)

        assert host.next() == (layer_topic("organisation"), largest)


def test_a_state_topic_names_its_host() -> None:
    host = str(HostId.new())

    assert host_of_state_topic(state_topic(host)) == host


@pytest.mark.parametrize("topic", ["", HEAD_TOPIC, "leadglass/v1/hosts/a/b/state", "x/leadglass/v1/hosts/a/state"])
def test_another_topic_names_none(topic: str) -> None:
    assert host_of_state_topic(topic) is None
