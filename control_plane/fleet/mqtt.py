"""The control plane's own client of the broker: publishes what is retained, and hears what hosts report.

Speaks MQTT 5 where the broker does and 3.1.1 where it does not. A broker of 3.1.1 confirms also what it refuses, and
one may keep nothing, so *published* is never *arrived*: hosts report what is in force.
"""

import logging
import os
import secrets
import ssl
from collections.abc import Callable
from functools import partial
from threading import Condition, Thread
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from control_plane.fleet.broker_config import ANY_HOST_STATE, MAX_PAYLOAD_BYTES, host_of_state_topic
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fleet.mqtt_version import Answered, MqttVersion, Offer, read_answer
from shared.fleet.state import MAX_BYTES as MAX_STATE_BYTES
from shared.identity import CONTROL_PLANE, HostId

_LOG = logging.getLogger(__name__)

_MAX_SIGNED_STATE_BYTES = MAX_STATE_BYTES + 256
_MAX_WAITING_HOSTS, _MAX_WAITING_BYTES = 20_000, 256 << 20
_SESSION_S = 3600
_KEEPALIVE_S = 30
_AFTER_HANG_UP_S, _AFTER_REFUSAL_S = 1.0, 2.0
_ID_BYTES = 8


class NotPublished(Unavailable):
    def __init__(self, topic: str, why: str) -> None:
        super().__init__(f"nothing was published on {topic}: {why}")
        self.topic, self.why = topic, why


class TooLargeToPublish(Refused):
    def __init__(self, topic: str, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes for {topic} are more than the {MAX_PAYLOAD_BYTES} that a broker takes")
        self.topic, self.size_bytes = topic, size_bytes


class CentreMqtt:
    """Connects by itself, again and again, and calls back on one thread of its own, one call at a time.

    `on_state(host, signed)` gets what arrived on that host's topic, nothing verified. Of several reports that wait,
    only the newest of each host is kept: a report says how things are now. `on_connected()` runs after every connect,
    the first included, and publishes what should be retained, for a broker may have forgotten it.
    """

    def __init__(
        self,
        host: str,
        port: int,
        ca_pem: bytes,
        cert_pem: bytes,
        key_pem: bytes,
        *,
        on_state: Callable[[HostId, bytes], None],
        on_connected: Callable[[], None],
        reconnect_s: tuple[int, int] = (1, 30),
    ) -> None:
        self._host, self._port, self._reconnect_s = host.strip("[]"), port, reconnect_s
        self._on_state, self._on_connected = on_state, on_connected
        self._work = Condition()
        self._states: dict[HostId, bytes] = {}
        self._greet, self._is_refused, self._closing = False, False, False
        self._refused: dict[int, ReasonCode] = {}
        self._worker = Thread(target=self._call_back, name="centre-mqtt", daemon=True)
        self._context = _client_context(ca_pem, cert_pem, key_pem)
        # Not to be guessed: some brokers end the session of whoever has the same one, whatever its certificate.
        self._client_id = f"{CONTROL_PLANE}-{secrets.token_hex(_ID_BYTES)}"
        self._offer, self._is_answered, self._has_hung_up = Offer(), False, False
        self._client = self._new_client(self._offer.version)

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    @property
    def version(self) -> MqttVersion | None:
        """What the broker was found to speak; None while there is no connection."""
        return self._offer.version if self.is_connected else None

    def start(self) -> None:
        """Begin to connect; returns at once, also when no broker answers yet."""
        self._worker.start()
        self._connect()

    def stop(self) -> None:
        self._client.disconnect()
        with self._work:
            self._closing = True
            self._work.notify()
        if self._worker.is_alive():
            self._worker.join()
        # The worker may have replaced the client just before.
        self._client.disconnect()
        self._client.loop_stop()

    def _new_client(self, version: MqttVersion) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=MQTTProtocolVersion(version)
        )
        client.tls_set_context(self._context)
        client.reconnect_delay_set(*self._reconnect_s)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_connect_fail = self._failed
        client.on_subscribe = self._subscribed
        client.on_publish = self._published
        client.on_message = self._received
        return client

    def _connect(self) -> None:
        self._is_answered = False
        if self._offer.version is MqttVersion.V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_S
            self._client.connect_async(
                self._host, self._port, keepalive=_KEEPALIVE_S, clean_start=False, properties=properties
            )
        else:
            self._client.connect_async(self._host, self._port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()

    def publish_retained(self, topic: str, payload: bytes, *, timeout_s: float = 10.0) -> None:
        """Return once the broker has confirmed that it took `payload` to keep on `topic`.

        Raises TooLargeToPublish, NotPublished. After a timeout the broker may still get it, in its place among what
        follows.
        """
        # The broker would hang up on it, and paho would send it again after every reconnect.
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise TooLargeToPublish(topic, len(payload))
        # Unconnected, paho would keep it and send it at some later time, when it may be yesterday's policy.
        if not self._client.is_connected():
            raise NotPublished(topic, "the broker is not connected")
        sent = self._client.publish(topic, payload, qos=1, retain=True)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotPublished(topic, paho.error_string(sent.rc))
        try:
            sent.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError) as exc:
            raise NotPublished(topic, str(exc)) from exc
        if not sent.is_published():
            raise NotPublished(topic, f"the broker did not confirm within {timeout_s:g} s")
        refusal = self._refused.pop(sent.mid, None)
        if refusal is not None:
            raise NotPublished(topic, f"the broker refused it: {refusal}")

    # ---- called by paho, on its network thread: these only hand over

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._is_answered = True
        if reason.is_failure:
            _LOG.warning("MQTT refused", extra={"reason": str(reason), "version": self._offer.version.name})
            self._answer(client, read_answer(reason.value))
            return
        self._answer(client, Answered.ACCEPTED)
        client.subscribe(ANY_HOST_STATE, qos=1)
        _LOG.info("MQTT connected", extra={"port": self._port, "version": self._offer.version.name})
        with self._work:
            self._greet = True
            self._work.notify()

    def _disconnected(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if not self._closing:
            _LOG.warning("MQTT disconnected", extra={"reason": str(reason)})
        if not self._is_answered:
            self._answer(client, Answered.HUNG_UP)
        self._is_answered = False

    def _answer(self, client: paho.Client, answered: Answered) -> None:
        with self._work:
            # A client that was replaced, or soon is, says nothing about the version that is offered next.
            if client is self._client and client.protocol.value == self._offer.version.value:
                self._has_hung_up = answered is Answered.HUNG_UP
                self._offer = self._offer.after(answered)
                self._work.notify()

    def _failed(self, _client: Any, _data: Any) -> None:
        _LOG.warning("MQTT unreachable", extra={"port": self._port})

    def _subscribed(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        for reason in reasons:
            if reason.is_failure:
                _LOG.warning("MQTT subscription refused", extra={"reason": str(reason)})
                with self._work:
                    self._is_refused = True
                    self._work.notify()

    def _published(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        # paho marks the message as published whatever the reason, right after this.
        if reason.is_failure:
            self._refused[mid] = reason

    def _received(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            host = HostId.parse(host_of_state_topic(message.topic) or "")
        except Malformed:
            _LOG.warning("MQTT topic unknown")
            return
        with self._work:
            others = [len(signed) for waiting, signed in self._states.items() if waiting != host]
            full = len(others) >= _MAX_WAITING_HOSTS or sum(others) + len(message.payload) > _MAX_WAITING_BYTES
            if full or len(message.payload) > _MAX_SIGNED_STATE_BYTES:
                _LOG.warning("MQTT state dropped", extra={"host": str(host), "size_bytes": len(message.payload)})
                return
            self._states[host] = bytes(message.payload)
            self._work.notify()

    # ---- our own thread: calls back

    def _call_back(self) -> None:
        while True:
            with self._work:
                offered = MqttVersion(self._client.protocol)
                self._work.wait_for(self._has_work)
                if self._closing:
                    return
                greet, self._greet = self._greet, False
                states, self._states = self._states, {}
            if self._offer.version is not offered:
                self._connect_anew()
            if self._is_refused:
                self._subscribe_again()
            if greet:
                self._guarded("on_connected", self._on_connected)
            for host, signed in states.items():
                self._guarded("on_state", partial(self._on_state, host, signed))

    def _has_work(self) -> bool:
        is_other_version = self._offer.version.value != self._client.protocol.value
        return bool(self._greet or self._states or self._closing or self._is_refused or is_other_version)

    def _subscribe_again(self) -> None:
        """Ask once more: a cluster that has just lost a node lets in whom it cannot serve yet."""
        with self._work:
            self._is_refused = False
            self._work.wait_for(lambda: self._closing, _AFTER_REFUSAL_S)
        self._client.subscribe(ANY_HOST_STATE, qos=1)

    def _connect_anew(self) -> None:
        """Replace the client by one of the other version; at once where the broker asked for it."""
        replaced = self._client
        replaced.disconnect()
        replaced.loop_stop()
        with self._work:
            if self._has_hung_up:
                self._work.wait_for(lambda: self._closing, _AFTER_HANG_UP_S)
            if self._closing:
                return
            self._client = self._new_client(self._offer.version)
            self._connect()

    def _guarded(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except (Refused, IntegrityFailure, Unavailable) as exc:
            _LOG.warning(
                "MQTT callback refused", extra={"callback": name, "error": type(exc).__name__, "detail": str(exc)}
            )
        except Exception as exc:  # noqa: BLE001 - a task boundary: one report's bug must not deafen us to all hosts
            _LOG.error("MQTT callback failed", exc_info=exc, extra={"callback": name})


def _client_context(ca_pem: bytes, cert_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem.decode())
    # Python's ssl reads keys from files only; an anonymous file in memory is one that no disk ever holds.
    descriptor = os.memfd_create("leadglass-mqtt", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(cert_pem + key_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    return context
