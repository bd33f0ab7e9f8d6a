"""MQTT over mutual TLS: policy comes in on exact topics, the state report goes out. The broker is not trusted.

Nothing rests on what a broker remembers: a session ends with its connection, and whatever did not arrive is pulled.
So the client id is a new one at each start. It cannot be guessed, because NATS and RabbitMQ end the session of whoever
has the same one; Mosquitto is told to take the name in the certificate for it.
"""

import random
import secrets
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.backoff import delay_s
from edge_agent.boundary import contained
from edge_agent.log import Log
from edge_agent.parts import Bell
from edge_agent.policy_sync.hints import Hints
from shared.fleet.mqtt_version import Answered, MqttVersion, Offer, read_answer
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, MAX_LAYER_BYTES, command_topic, layer_topic, state_topic

_QOS = 1
_KEEPALIVE_S = 30
_PUBLISH_TIMEOUT_S = 5.0
_MOST_PACKET_BYTES = MAX_LAYER_BYTES + 4096
_RECONNECT_S = (1, 60)
_ID_BYTES = 8


class Updater(Protocol):
    """Takes bundles from anybody and believes none unverified."""

    def offer_head(self, data: bytes) -> None: ...

    def offer_layer(self, data: bytes) -> None: ...


class MqttLink:
    """A part of the agent: stays connected for as long as the broker lets it, and reconnects by itself."""

    name = "mqtt"

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        host_id: HostId,
        layers: Sequence[str],
        updater: Updater,
        log: Log,
        on_subscribed: Callable[[], None],
        on_command: Callable[[], None] = lambda: None,
        hints: Hints | None = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """`on_command` is called when there may be a command; what the broker says of it is not read."""
        self._host, self._port, self._context = host.strip("[]"), port, context
        self._host_id, self._updater = host_id, updater
        self._layer_topics = tuple(map(layer_topic, layers))
        self._log, self._on_subscribed, self._spread = log, on_subscribed, spread
        self._on_command = on_command
        self._hints = hints or Hints()
        self._client_id = f"{host_id}-{secrets.token_hex(_ID_BYTES)}"
        self._client: Client | None = None
        self._offer, self._is_answered, self._hung_up = Offer(), False, 0
        self._is_refused, self._refusals = False, 0
        self.bell = Bell()

    @property
    def version(self) -> MqttVersion | None:
        """What the broker was found to speak; None while there is no connection."""
        client = self._client
        return self._offer.version if client is not None and client.is_connected() else None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._run_as(self._offer.version, stop)
            if self._hung_up:
                stop.wait(delay_s(self._hung_up, self._spread()))

    def publish_state(self, signed: bytes) -> bool:
        """Return whether the broker has confirmed the report; nothing is queued for later if it has not."""
        client = self._client
        if client is None or not client.is_connected():
            return False
        sent = client.publish(state_topic(str(self._host_id)), signed, qos=_QOS)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        try:
            sent.wait_for_publish(_PUBLISH_TIMEOUT_S)
            return sent.is_published()
        except (RuntimeError, ValueError):
            # How paho says that the connection went away meanwhile.
            return False

    def _run_as(self, version: MqttVersion, stop: threading.Event) -> None:
        """Stay connected until told to stop, or until the broker turns out to want another version."""
        client = self._new_client(version)
        self._is_answered = False
        properties = _connect_properties() if version is MqttVersion.V5 else None
        client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S, properties=properties)
        self._client = client
        client.loop_start()
        try:
            while not stop.is_set() and self._offer.version is version:
                self.bell.sleep()
                if self._is_refused:
                    stop.wait(delay_s(self._refusals, self._spread()))
                    self._subscribe(client)
        finally:
            self._client = None
            client.disconnect()
            client.loop_stop()
            self._hints.lost()

    def _new_client(self, version: MqttVersion) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=MQTTProtocolVersion(version))
        client.tls_set_context(self._context)
        client.reconnect_delay_set(*_RECONNECT_S)
        client.max_inflight_messages_set(4)
        client.on_connect, client.on_disconnect = self._connected, self._lost
        client.on_subscribe, client.on_message = self._subscribed, self._arrived
        return client

    def _connected(self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _: Any) -> None:
        self._is_answered = True
        if reason.is_failure:
            self._log.event("mqtt.refused", why=str(reason), version=self._offer.version.name)
            self._answer(client, read_answer(reason.value))
            return
        self._answer(client, Answered.ACCEPTED)
        self._log.event("mqtt.connected", version=self._offer.version.name)
        self._subscribe(client)

    def _subscribe(self, client: Client) -> None:
        self._is_refused = False
        # The layers first: with them at hand, the head that follows can be accepted at once.
        topics = *self._layer_topics, HEAD_TOPIC, command_topic(str(self._host_id))
        client.subscribe([(topic, _QOS) for topic in topics])

    def _subscribed(self, _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _: Any) -> None:
        refusals = [str(reason) for reason in reasons if reason.is_failure]
        if refusals:
            # A cluster that has just lost a node lets in whom it cannot serve yet.
            self._log.event("mqtt.subscription-refused", why=refusals[0])
            self._is_refused, self._refusals = True, self._refusals + 1
            self.bell.ring()
            return
        self._refusals = 0
        self._hints.subscribed()
        # What was published before the broker knew of us may not come: it is fetched.
        self._on_subscribed()

    def _lost(self, client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _: Any) -> None:
        self._log.event("mqtt.disconnected", why=str(reason))
        self._hints.lost()
        if not self._is_answered:
            self._answer(client, Answered.HUNG_UP)
        self._is_answered = False

    def _answer(self, client: Client, answered: Answered) -> None:
        # A client that was replaced, or soon is, says nothing about the version that is offered next.
        if client is not self._client or client.protocol.value != self._offer.version.value:
            return
        self._hung_up = self._hung_up + 1 if answered is Answered.HUNG_UP else 0
        self._offer = self._offer.after(answered)
        self.bell.ring()

    def _arrived(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.topic == command_topic(str(self._host_id)):
            self._on_command()
            return
        offers = dict.fromkeys(self._layer_topics, self._updater.offer_layer) | {HEAD_TOPIC: self._updater.offer_head}
        offer = offers.get(message.topic)
        if offer is not None:
            self._hints.heard(bytes(message.payload))
            contained(self._log, "mqtt.message", lambda: offer(bytes(message.payload)))


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = _MOST_PACKET_BYTES
    return properties
