"""A host's MQTT client as tests need it: what arrives waits in a queue, and so does every end of a connection."""

import os
import ssl
from queue import Queue
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.control_plane.fleet.pki import Identity

WAIT_S = 10.0


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
    ) -> None:
        self.received: Queue[tuple[str, bytes]] = Queue()
        self.connected: Queue[bool] = Queue()
        self.lost: Queue[str] = Queue()
        self._subscribed: Queue[bool] = Queue()
        self._port = port
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or identity.name, protocol=MQTTProtocolVersion.MQTTv5
        )
        self.paho.tls_set_context(tls(ca_pem, identity))
        if will is not None:
            self.paho.will_set(will[0], will[1], qos=1)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = lambda _client, _data, message: self.received.put(
            (message.topic, bytes(message.payload))
        )
        self.paho.on_subscribe = lambda *_: self._subscribed.put(True)

    def __enter__(self) -> Self:
        self.paho.connect_async("127.0.0.1", self._port, clean_start=True)
        self.paho.loop_start()
        assert self.connected.get(timeout=WAIT_S), "the broker refused the connection"
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, *topics: str) -> None:
        self.paho.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])
        self._subscribed.get(timeout=WAIT_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Return once the broker answered, whatever it answered."""
        self.paho.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def next(self) -> tuple[str, bytes]:
        return self.received.get(timeout=WAIT_S)

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.connected.put(not reason.is_failure)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.lost.put(str(reason))
