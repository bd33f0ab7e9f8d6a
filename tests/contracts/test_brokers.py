"""One contract for every broker that Leadglass is said to work with, held with the configuration that the guide gives.

What a broker cannot do is in its `Abilities` and asserted as well, so that a newer release which learns it is noticed.
Where a broker does not bring something, the pull does: that is part of the contract.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from queue import Queue
from secrets import token_bytes

import pytest

from control_plane.fleet.mqtt import CentreMqtt, NotPublished
from edge_agent.policy_sync.hints import Hearing
from provisioning.broker.layout import CENTRE_SUBJECT
from shared.fleet.mqtt_version import MqttVersion
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, command_topic, layer_topic, state_topic
from shared.policy.document import ORGANISATION
from tests.contracts.brokers import ALL, Broker, Ground, NatsCluster, OwnMosquitto, gets_in
from tests.contracts.host_side import HostSide, host_side
from tests.control_plane.fleet.host_client import WAIT_S, HostClient
from tests.control_plane.fleet.pki import Identity, TestCa
from tests.control_plane.fleet.processes import eventually
from tests.fakes.centre import Centre

PROBE_TOPIC = layer_topic("probe")
_ELECTION_S = 90.0  # how long a cluster may take to agree on who leads after the loss of one who did


class Publisher:
    """The centre's own client of one broker, and the policies that it publishes."""

    def __init__(self, broker: Broker, ground: Ground, folder: Path) -> None:
        folder.mkdir()
        self.policies, self._versions = Centre(folder), count(1)
        self.policies.start()
        self.heard: Queue[tuple[str, bytes]] = Queue()
        self.mqtt = CentreMqtt(
            "127.0.0.1", broker.port, broker.server_ca, ground.centre.certificate, ground.centre.key,
            on_state=lambda host, signed: self.heard.put((str(host), signed)), on_connected=lambda: None,
            reconnect_s=(1, 1),
        )  # fmt: skip
        self.mqtt.start()

    def publish(self) -> int:
        """Publish the next policy, for the broker and for the pull; return its version."""
        version = self.withhold()
        self.send()
        return version

    def withhold(self) -> int:
        """Publish the next policy for the pull alone; return its version."""
        version = next(self._versions)
        self.policies.publish(version)
        return version

    def send(self) -> None:
        self.mqtt.publish_retained(layer_topic(ORGANISATION), self.policies.layer)
        self.mqtt.publish_retained(HEAD_TOPIC, self.policies.head)

    def close(self) -> None:
        self.mqtt.stop()
        self.policies.stop()


@pytest.fixture(scope="module")
def ground() -> Ground:
    return Ground()


@pytest.fixture(scope="module")
def starting(tmp_path_factory: pytest.TempPathFactory, ground: Ground) -> Iterator[dict[str, "Future[Broker]"]]:
    """Start all of them at once, the slow ones while the quick ones are already tried."""
    with ThreadPoolExecutor(len(ALL)) as pool:
        begun = {name: pool.submit(kind, tmp_path_factory.mktemp("broker"), ground) for name, kind in ALL.items()}
        yield begun
    for attempt in begun.values():
        if attempt.exception() is None:
            attempt.result().stop()


@pytest.fixture(scope="module", params=list(ALL))
def broker(request: pytest.FixtureRequest, starting: dict[str, "Future[Broker]"]) -> Broker:
    return starting[request.param].result()


@pytest.fixture(scope="module")
def publisher(broker: Broker, ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    publisher = Publisher(broker, ground, tmp_path_factory.mktemp("publisher") / "centre")
    assert eventually(lambda: publisher.mqtt.is_connected)
    yield publisher
    publisher.close()


@pytest.fixture
def host(ground: Ground) -> Identity:
    """Return a host that no other test was given."""
    return ground.hosts.pop()


@pytest.fixture
def side(tmp_path: Path, broker: Broker, host: Identity, publisher: Publisher) -> Iterator[HostSide]:
    with host_side(tmp_path / "host", broker, host, publisher.policies) as side:
        yield side


def client(broker: Broker, identity: Identity, *, client_id: str = "", comes_back: bool = False) -> HostClient:
    return HostClient(
        broker.port, broker.server_ca, identity, client_id=client_id, version=broker.abilities.version,
        comes_back=comes_back,
    )  # fmt: skip


def kept(broker: Broker, identity: Identity) -> HostClient:
    """Return a client with a session that the broker is to keep, and patience."""
    return HostClient(
        broker.port, broker.server_ca, identity, client_id=f"{identity.name}-a", version=broker.abilities.version,
        keeps_session=True, connects_within_s=_ELECTION_S,
    )  # fmt: skip


def arrives(at: HostClient, topic: str, payload: bytes, within_s: float = WAIT_S) -> bool:
    """Say whether just this arrives; whatever else does, such as what was kept from before, is passed over."""
    return eventually(lambda: has_come(at, topic, payload), within_s)


def has_come(at: HostClient, topic: str, payload: bytes) -> bool:
    return (topic, payload) in list(at.received.queue)


def await_mark(publisher: Publisher, *there: HostClient) -> None:
    """Return once all who read the probe's topic have what is published now, and so whatever came before it.

    Between the nodes of a cluster nothing keeps that order, but what leaks goes no slower way than this. Not awaited is
    who was hung up on, to whom nothing comes any more.
    """
    mark = token_bytes(8)

    def is_everywhere() -> bool:
        # Once more where the other nodes of a cluster did not know yet that somebody subscribed.
        publisher.mqtt.publish_retained(PROBE_TOPIC, mark)
        return all(not one.lost.empty() or arrives(one, PROBE_TOPIC, mark, 2.0) for one in there)

    assert eventually(lambda: publisher.mqtt.is_connected)
    assert eventually(is_everywhere)


def is_hinted(publisher: Publisher, side: HostSide, host: Identity) -> bool:
    """Say whether a hint comes to a host; by then it has dealt with whatever came to it before."""

    def comes() -> bool:
        publisher.mqtt.publish_retained(command_topic(host.name), b"")
        return side.command_hinted.wait(0.5)  # one that comes before the host has subscribed is for nobody

    return eventually(comes)


# ---- carrying


def test_both_clients_find_out_which_version_it_speaks(broker: Broker, publisher: Publisher, side: HostSide) -> None:
    expected = broker.abilities.version

    assert eventually(lambda: side.link.version is expected)
    assert publisher.mqtt.version is expected


def test_who_subscribes_later_gets_head_and_layer_and_else_pulls_them(
    tmp_path: Path, broker: Broker, publisher: Publisher, ground: Ground
) -> None:
    version, host = publisher.publish(), ground.hosts.pop()
    with host_side(tmp_path / "late", broker, host, publisher.policies) as late:
        assert eventually(lambda: late.hints.state is Hearing.HEARING)
        if broker.abilities.keeps_retained:
            assert eventually(lambda: late.version() == version)
        else:
            assert is_hinted(publisher, late, host)
            assert late.version() == 0
        late.puller.pull()

        assert late.version() == version


def test_a_new_policy_arrives_at_a_connected_host(broker: Broker, publisher: Publisher, side: HostSide) -> None:
    assert eventually(lambda: side.hints.state is Hearing.HEARING)
    version = publish_until_heard(publisher, side)

    assert eventually(lambda: side.version() == version)


def publish_until_heard(publisher: Publisher, side: HostSide) -> int:
    """Publish; once more where the other nodes of a cluster did not know yet that somebody subscribed."""
    version = publisher.publish()
    if not eventually(lambda: side.version() == version, 2.0):
        publisher.send()
    return version


def test_what_comes_again_and_out_of_order_changes_nothing(
    broker: Broker, publisher: Publisher, side: HostSide
) -> None:
    assert eventually(lambda: side.hints.state is Hearing.HEARING)
    older = publish_until_heard(publisher, side)
    assert eventually(lambda: side.version() == older)
    head, layer = publisher.policies.head, publisher.policies.layer
    newer = publish_until_heard(publisher, side)
    assert eventually(lambda: side.version() == newer)
    before = (side.version(), side.accepted())

    for _ in range(3):
        publisher.send()
    publisher.mqtt.publish_retained(layer_topic(ORGANISATION), layer)
    publisher.mqtt.publish_retained(HEAD_TOPIC, head)
    assert eventually(lambda: side.updater.error != "")
    publisher.send()

    assert eventually(lambda: side.updater.error == "")
    assert (side.version(), side.accepted()) == before


def test_the_pull_notices_what_a_silent_broker_withheld(broker: Broker, publisher: Publisher, side: HostSide) -> None:
    def is_noticed() -> bool:
        # What the broker kept of an earlier test may still arrive, and takes the first finding back.
        publisher.withhold()
        side.puller.pull()
        return side.hints.state is Hearing.SILENT

    assert eventually(lambda: side.hints.state is Hearing.HEARING)
    side.puller.pull()
    withheld = eventually(is_noticed)
    publisher.send()

    assert withheld
    assert eventually(lambda: side.hints.state is Hearing.HEARING)


def test_a_report_of_a_host_arrives_under_its_name(
    broker: Broker, publisher: Publisher, side: HostSide, host: Identity
) -> None:
    assert eventually(lambda: side.link.publish_state(b"signed"))

    assert publisher.heard.get(timeout=WAIT_S) == (host.name, b"signed")


def test_a_hint_at_a_command_arrives(publisher: Publisher, side: HostSide, host: Identity) -> None:
    assert is_hinted(publisher, side, host)


# ---- keeping to its own


@pytest.fixture(params=["a host", "one that may do everything"])
def spy(request: pytest.FixtureRequest, ground: Ground) -> tuple[Identity, bool]:
    return (ground.hosts.pop(), False) if request.param == "a host" else (ground.spy, True)


@pytest.mark.parametrize("topic", [state_topic("{host}"), "leadglass/#"])
def test_a_host_reads_no_other_hosts_topic(
    broker: Broker, publisher: Publisher, host: Identity, spy: tuple[Identity, bool], topic: str
) -> None:
    identity, may = spy
    with client(broker, host) as victim, client(broker, identity) as reader:
        reader.subscribe(PROBE_TOPIC)
        reader.subscribe(topic.format(host=host.name))
        victim.publish(state_topic(host.name), b"secret")

        assert publisher.heard.get(timeout=WAIT_S) == (host.name, b"secret")
        await_mark(publisher, reader)
        assert may == (arrives if may else has_come)(reader, state_topic(host.name), b"secret")


@pytest.mark.parametrize("topic", [HEAD_TOPIC, PROBE_TOPIC, "state of another"])
def test_a_host_writes_neither_policy_nor_anothers_state(
    broker: Broker, publisher: Publisher, ground: Ground, host: Identity, spy: tuple[Identity, bool], topic: str
) -> None:
    identity, may = spy
    target = state_topic(host.name) if topic == "state of another" else topic
    forged = f"forged as {host.name}".encode()
    with client(broker, ground.watcher) as watcher, client(broker, identity) as writer:
        watcher.subscribe(*{PROBE_TOPIC, target})
        writer.publish(target, forged)

        await_mark(publisher, watcher)
        assert may == (arrives if may else has_come)(watcher, target, forged)
    while not publisher.heard.empty():
        publisher.heard.get()


# ---- who gets in


def test_a_host_with_our_certificate_gets_in(broker: Broker, host: Identity) -> None:
    assert gets_in(broker, host)


def test_refuses_a_stranger_without_a_certificate(broker: Broker) -> None:
    assert not gets_in(broker, None)


def test_refuses_a_certificate_of_another_authority(broker: Broker, host: Identity) -> None:
    foreign = TestCa().host()

    assert not gets_in(broker, foreign)
    assert not gets_in(broker, Identity(host.name, foreign.certificate, foreign.key))


def test_refuses_a_brokers_certificate_as_a_client(broker: Broker, ground: Ground) -> None:
    assert not gets_in(broker, ground.ca.server())
    assert not gets_in(broker, ground.broker_ca.node())


def test_a_host_that_nobody_listed_is_refused_or_reads_what_all_may(broker: Broker, ground: Ground) -> None:
    assert gets_in(broker, ground.unlisted) != broker.abilities.knows_hosts


@pytest.mark.parametrize("name, password", [(CENTRE_SUBJECT, ""), ("guest", "guest")])
def test_a_user_name_makes_nobody_anybody_else(
    broker: Broker, publisher: Publisher, ground: Ground, name: str, password: str
) -> None:
    forged = f"forged as {name}".encode()
    impostor = client(broker, ground.hosts.pop())
    impostor.paho.username_pw_set(name, password)
    with client(broker, ground.watcher) as watcher:
        watcher.subscribe(PROBE_TOPIC)
        impostor.paho.connect("127.0.0.1", broker.port)
        impostor.paho.loop_start()
        assert eventually(lambda: not (impostor.connected.empty() and impostor.lost.empty()))
        impostor.publish(PROBE_TOPIC, forged)
        impostor.paho.disconnect()
        impostor.paho.loop_stop()

        await_mark(publisher, watcher)
        assert not has_come(watcher, PROBE_TOPIC, forged)
    assert publisher.mqtt.is_connected


@pytest.mark.parametrize("broker", [NatsCluster.name], indirect=True)
def test_nats_lets_no_client_name_what_it_serves_qos_1_through(broker: Broker, host: Identity, ground: Ground) -> None:
    """Everybody is allowed to read it, or nobody could subscribe with QoS 1; it carries what all the others get."""
    with client(broker, host) as reader, client(broker, ground.spy) as spy:
        granted = [one.subscribe(topic) for one in (reader, spy) for topic in ("$MQTT/sub/#", "$MQTT/sub/+")]

    assert granted == [False] * 4


def test_a_host_takes_no_session_over_whose_id_it_knows(
    broker: Broker, publisher: Publisher, ground: Ground, host: Identity
) -> None:
    """Where the broker goes by the client id, knowing it ends the other's connection, and that is all."""
    known = f"{host.name}-00ff"
    attacker = client(broker, ground.hosts.pop(), client_id=known)
    with client(broker, host, client_id=known, comes_back=True) as victim:
        victim.subscribe(PROBE_TOPIC)
        attacker.paho.connect("127.0.0.1", broker.port)
        attacker.paho.loop_start()
        assert eventually(lambda: not (attacker.connected.empty() and attacker.lost.empty()))
        if broker.abilities.one_session_a_name:
            await_mark(publisher, victim)
            assert victim.lost.empty()
        else:
            assert eventually(lambda: not victim.lost.empty())
        attacker.paho.disconnect()
        attacker.paho.loop_stop()

        assert eventually(victim.paho.is_connected)
        assert attacker.received.empty()


def test_nobody_can_know_the_id_of_an_agents_session(
    broker: Broker, publisher: Publisher, side: HostSide, host: Identity
) -> None:
    assert eventually(lambda: side.link.version is not None)
    lost_before = side.losses()
    with client(broker, host, client_id=host.name):
        assert is_hinted(publisher, side, host)

        assert side.losses() == lost_before or broker.abilities.one_session_a_name


# ---- revoking


# Our own Mosquitto is told by the control plane: tests/control_plane/fleet/test_revocation.py
@pytest.mark.parametrize("broker", [name for name in ALL if name != OwnMosquitto.name], indirect=True)
def test_the_session_of_a_host_that_is_off_the_list_ends(
    broker: Broker, publisher: Publisher, ground: Ground, host: Identity
) -> None:
    other = ground.hosts.pop()
    with client(broker, host) as revoked, client(broker, other) as staying:
        for one in (revoked, staying):
            one.subscribe(PROBE_TOPIC)
        broker.revoke(HostId.parse(host.name))

        assert eventually(lambda: not revoked.lost.empty())
        # The nodes of a cluster take the list in one after the other.
        assert eventually(lambda: gets_in(broker, host) != broker.abilities.knows_hosts)
        if broker.abilities.ends_sessions:
            await_mark(publisher, staying)
            assert staying.lost.empty()
        else:
            assert eventually(lambda: not staying.lost.empty())
    with client(broker, other) as staying:
        staying.subscribe(PROBE_TOPIC)
        await_mark(publisher, staying)
        assert staying.lost.empty()
    if not broker.abilities.knows_hosts:
        with client(broker, host) as deaf:
            # What is kept comes with the answer to the first, and before that to the second.
            for _ in range(2):
                deaf.subscribe(PROBE_TOPIC)
            assert deaf.received.empty()


# ---- the loss of a node


def test_what_a_cluster_confirmed_outlives_one_of_its_nodes(
    starting: dict[str, "Future[Broker]"], ground: Ground, tmp_path: Path
) -> None:
    cluster = starting[NatsCluster.name].result()
    assert isinstance(cluster, NatsCluster)
    away = ground.hosts.pop()
    cluster.front.prefer(cluster.ports[1])
    with kept(cluster, away) as first:
        assert eventually(lambda: first.subscribe(PROBE_TOPIC))
    cluster.front.prefer(cluster.ports[0])
    publisher = Publisher(cluster, ground, tmp_path / "centre")
    try:
        assert eventually(lambda: publisher.mqtt.is_connected)
        with host_side(tmp_path / "host", cluster, ground.hosts.pop(), publisher.policies) as side:
            assert eventually(lambda: side.link.version is MqttVersion.V311)
            version = publish_until_heard(publisher, side)
            assert eventually(lambda: side.version() == version)
            publisher.mqtt.publish_retained(PROBE_TOPIC, b"confirmed")
            cluster.front.prefer_none()
            cluster.kill(0)

            with kept(cluster, away) as again:
                assert arrives(again, PROBE_TOPIC, b"confirmed", _ELECTION_S)
            with host_side(tmp_path / "late", cluster, ground.hosts.pop(), publisher.policies) as late:
                # What is retained comes back as a rule and not always, so no host waits for it.
                late.puller.pull()
                assert late.version() == version
            assert eventually(lambda: publisher.mqtt.is_connected and side.hints.state is not Hearing.LOST, _ELECTION_S)
            version = publisher.withhold()
            assert eventually(lambda: is_sent(publisher), _ELECTION_S)
            side.puller.pull()
            assert side.version() == version
    finally:
        publisher.close()
        cluster.start_again(0)


def is_sent(publisher: Publisher) -> bool:
    """Say whether a cluster confirms what is published, which for a while after a loss it does not."""
    try:
        publisher.send()
    except NotPublished:
        return False
    return True
