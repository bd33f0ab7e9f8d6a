"""The agent's link to a broker that answers oddly; real brokers are in tests/contracts/."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edge_agent.log import Field
from edge_agent.policy_sync.hints import Hearing, Hints
from edge_agent.policy_sync.mqtt import MqttLink
from shared.fleet.mqtt_version import MqttVersion
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, layer_topic
from shared.policy.document import ORGANISATION
from tests.control_plane.fleet.host_client import tls
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.fleet.processes import eventually
from tests.fakes.log import MemoryLog
from tests.fakes.scripted_broker import ScriptedBroker, scripted_broker
from tests.threads import in_thread


class Offers:
    """Takes offers, and remembers them."""

    def __init__(self) -> None:
        self.heads, self.layers = list[bytes](), list[bytes]()

    def offer_head(self, data: bytes) -> None:
        self.heads.append(data)

    def offer_layer(self, data: bytes) -> None:
        self.layers.append(data)


@pytest.fixture(scope="module")
def ca() -> TestCa:
    return TestCa()


def linked(
    broker: ScriptedBroker,
    ca: TestCa,
    hints: Hints,
    log: MemoryLog,
    *,
    layers: tuple[str, ...] = (ORGANISATION,),
    offers: Offers | None = None,
) -> AbstractContextManager[MqttLink]:
    link = MqttLink(
        "127.0.0.1", broker.port, tls(ca.pem, ca.host()), host_id=HostId.new(), layers=layers,
        updater=offers or Offers(), log=log, on_subscribed=lambda: None, hints=hints, spread=lambda: 0.0,
    )  # fmt: skip
    return in_thread(link, link.bell.ring)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_broker_without_mqtt_5_is_offered_the_older_one(tmp_path: Path, ca: TestCa, says_so: bool) -> None:
    hints = Hints()
    with scripted_broker(ca, tmp_path, says_so=says_so) as broker, linked(broker, ca, hints, MemoryLog()) as link:
        assert eventually(lambda: hints.state is Hearing.HEARING)

        assert link.version is MqttVersion.V311
        assert broker.connects == [5, 4]


def test_a_host_that_was_refused_its_subscription_is_not_heard_until_it_got_it(tmp_path: Path, ca: TestCa) -> None:
    hints, heard_when_refused = Hints(), list[Hearing]()

    class Log(MemoryLog):
        def event(self, name: str, **fields: Field) -> None:
            if name == "mqtt.subscription-refused":
                heard_when_refused.append(hints.state)

    with scripted_broker(ca, tmp_path, refusals=2) as broker, linked(broker, ca, hints, Log()):
        assert eventually(lambda: hints.state is Hearing.HEARING)

        assert heard_when_refused == [Hearing.LOST] * 2
        assert broker.connects == [5, 4]


def test_a_host_of_several_layers_hears_each_and_no_other_site_s(tmp_path: Path, ca: TestCa) -> None:
    hints, offers, layers = Hints(), Offers(), (ORGANISATION, "modality-ct", "site-north")
    with scripted_broker(ca, tmp_path) as broker:
        told = [*((layer_topic(layer), layer.encode()) for layer in (*layers, "site-south")), (HEAD_TOPIC, b"head")]
        broker.retained = told
        with linked(broker, ca, hints, MemoryLog(), layers=layers, offers=offers):
            assert eventually(lambda: offers.heads == [b"head"])
        subscribed = broker.topics

    assert subscribed[:4] == [*map(layer_topic, layers), HEAD_TOPIC], "a head finds what came before it"
    assert len(subscribed) == 5
    assert offers.layers == [layer.encode() for layer in layers]
