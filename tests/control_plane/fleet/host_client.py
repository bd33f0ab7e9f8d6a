"""A host's MQTT client as tests need it: what arrives waits in a queue, and so does every end of a connection."""

import os
import ssl
from contextlib import suppress
from queue import Queue
from time import monotonic
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from shared.fleet.mqtt_version import MqttVersion
from tests.control_plane.fleet.pki import Identity

WAIT_S = 30.0
_LOOK_S = 0.05


def tls(ca_pem: bytes, identity: Identity | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_pem.decode())
    if identity is not None:
        descriptor = os.memfd_create("test-key")
        with os.fdopen(descriptor, "wb") as file:
            file.write(identity.certificate + identity.key)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    return context


class HostClient:
    """Connects on entering; a host that loses its connection tries again, as paho does by itself."""

    def __init__(
        self,
        port: int,
        ca_pem: bytes,
        identity: Identity,
        *,
        client_id: str = "",
        will: tuple[str, bytes] | None = None,
        version: MqttVersion = MqttVersion.V5,
        keeps_session: bool = False,
        connects_within_s: float = WAIT_S,
        comes_back: bool = True,
    ) -> None:
        self.received: Queue[tuple[str, bytes]] = Queue()
        self.connected: Queue[bool] = Queue()
        self.lost: Queue[str] = Queue()
        self._subscribed: Queue[bool] = Queue()
        self._port, self._version, self._connects_within_s = port, version, connects_within_s
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or identity.name,
            protocol=MQTTProtocolVersion(version),
            clean_session=None if version is MqttVersion.V5 else not keeps_session,
            reconnect_on_failure=comes_back,
        )
        self.paho.tls_set_context(tls(ca_pem, identity))
        if will is not None:
            self.paho.will_set(will[0], will[1], qos=1)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = lambda _client, _data, message: self.received.put(
            (message.topic, bytes(message.payload))
        )
        self.paho.on_subscribe = self._on_subscribe

    def __enter__(self) -> Self:
        clean_start = True if self._version is MqttVersion.V5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        self.paho.connect_async("127.0.0.1", self._port, clean_start=clean_start)
        self.paho.loop_start()
        until = monotonic() + self._connects_within_s
        while not self.connected.get(timeout=max(0.0, until - monotonic())):
            assert self._connects_within_s > WAIT_S, "the broker refused the connection"
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, *topics: str) -> bool:
        """Return once the broker answered or hung up, and whether it granted all of it."""
        if self._version is MqttVersion.V5:
            sent, _ = self.paho.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])
        else:
            sent, _ = self.paho.subscribe([(topic, 1) for topic in topics])
        return sent == MQTTErrorCode.MQTT_ERR_SUCCESS and self._subscribed.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Return once the broker answered or hung up, and whether it answered; what it answered is not looked at."""
        sent = self.paho.publish(topic, payload, qos=1, retain=retain)
        until = monotonic() + WAIT_S
        with suppress(RuntimeError):  # how paho says that there is no connection
            while not sent.is_published() and self.lost.empty() and monotonic() < until:
                sent.wait_for_publish(_LOOK_S)
            return sent.is_published()
        return False

    def next(self) -> tuple[str, bytes]:
        return self.received.get(timeout=WAIT_S)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.connected.put(not reason.is_failure)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.lost.put(str(reason))
        self._subscribed.put(False)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        self._subscribed.put(not any(reason.is_failure for reason in reasons))
