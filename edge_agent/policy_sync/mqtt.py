"""MQTT 5 over mutual TLS: policy comes in on exact topics, the state report goes out. The broker is not trusted."""

import ssl
import threading
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.boundary import contained
from edge_agent.log import Log
from edge_agent.parts import Bell
from edge_agent.policy_sync.updater import PolicyUpdater
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, MAX_LAYER_BYTES, command_topic, layer_topic, state_topic

_QOS = 1
_KEEPALIVE_S = 30
_PUBLISH_TIMEOUT_S = 5.0
_MOST_PACKET_BYTES = MAX_LAYER_BYTES + 4096
_RECONNECT_S = (1, 60)


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
        layer: str,
        updater: PolicyUpdater,
        log: Log,
        on_connected: Callable[[], None],
        on_command: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_command` is called when there may be a command; what the broker says of it is not read."""
        self._host, self._port, self._context = host.strip("[]"), port, context
        self._host_id, self._layer, self._updater = host_id, layer, updater
        self._log, self._on_connected, self._on_command = log, on_connected, on_command
        self._client: Client | None = None
        self.bell = Bell()

    def run(self, stop: threading.Event) -> None:
        client = self._new_client()
        client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S, properties=_connect_properties())
        client.loop_start()
        self._client = client
        try:
            while not stop.is_set():
                self.bell.sleep()
        finally:
            self._client = None
            client.disconnect()
            client.loop_stop()

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

    def _new_client(self) -> Client:
        # The broker takes the user name from our certificate, so nobody else can take this session over.
        client = Client(CallbackAPIVersion.VERSION2, client_id=str(self._host_id), protocol=MQTTProtocolVersion.MQTTv5)
        client.tls_set_context(self._context)
        client.reconnect_delay_set(*_RECONNECT_S)
        client.max_inflight_messages_set(4)
        client.on_connect, client.on_disconnect, client.on_message = self._connected, self._lost, self._arrived
        return client

    def _connected(self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _: Any) -> None:
        if reason.is_failure:
            self._log.event("mqtt.refused", why=str(reason))
            return
        self._log.event("mqtt.connected")
        # The layer first: with it at hand, the head that follows can be accepted at once.
        topics = layer_topic(self._layer), HEAD_TOPIC, command_topic(str(self._host_id))
        client.subscribe([(topic, _QOS) for topic in topics])
        self._on_connected()

    def _lost(self, _client: Client, _data: Any, _flags: DisconnectFlags, reason: ReasonCode, _: Any) -> None:
        self._log.event("mqtt.disconnected", why=str(reason))

    def _arrived(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.topic == command_topic(str(self._host_id)):
            self._on_command()
            return
        offers = {HEAD_TOPIC: self._updater.offer_head, layer_topic(self._layer): self._updater.offer_layer}
        offer = offers.get(message.topic)
        if offer is not None:
            contained(self._log, "mqtt.message", lambda: offer(bytes(message.payload)))


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = _MOST_PACKET_BYTES
    return properties
