"""Somebody inside: holds the control plane's disk and its root key, and with them its place at the broker.

That is more than an attacker on the network ever has. What is shown with it is that even this cannot bring an older
policy back to a host that has accepted a newer one.
"""

import os
import ssl
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from cryptography.hazmat.primitives import serialization
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from control_plane.db.engine import open_database
from control_plane.db.place import url_of
from control_plane.enrolment import authority
from control_plane.keys import store
from control_plane.keys.root import load_root_key
from control_plane.keys.store import KeyStore
from control_plane.policy.publisher import PolicyPublisher
from control_plane.settings import Folders
from shared.audit.events import Happening
from shared.clock import SystemClock
from shared.errors import Refused, Unavailable
from shared.identity import CONTROL_PLANE
from shared.policy.bundle import HEAD_TOPIC, layer_topic

_WAIT_S = 10.0


class BrokerSilent(Unavailable):
    def __init__(self, what: str) -> None:
        super().__init__(f"the broker did not {what} within {_WAIT_S:.0f} s")


class NothingPublished(Refused):
    def __init__(self) -> None:
        super().__init__("no policy is published, so there is none to record")


class _NoJournal:
    """An intruder leaves no record of reading."""

    def record(self, happening: Happening) -> None:  # noqa: ARG002 (the signature of a journal)
        raise AssertionError("reading what is published records nothing")


class Insider:
    """Speaks to the broker with the control plane's own certificate. Each visit takes its session over for a moment."""

    def __init__(self, data: Path, port: int, layer: str) -> None:
        folders = Folders(data)
        database = open_database(url_of(folders))
        keys = KeyStore(database, load_root_key(folders.root_key), SystemClock())
        key = keys.p256(store.SERVICE_TLS)
        ca = authority.load(database, keys, SystemClock())
        self._port, self._layer = port, layer
        self._policy = PolicyPublisher(database, keys, _NoJournal(), SystemClock())
        self._context = _context(ca.trust.pem(), ca.shown(authority.newest_certificate(database, key)) + _pem(key))

    def current(self) -> dict[str, bytes]:
        """Return the bundles that the broker keeps now, by topic: they are made of rows on the same disk."""
        head, layer = self._policy.head(), self._policy.layer(self._layer)
        if head is None or layer is None:
            raise NothingPublished
        return {layer_topic(self._layer): layer.encode(), HEAD_TOPIC: head.encode()}

    def replay(self, recorded: dict[str, bytes]) -> None:
        """Have the broker keep `recorded` in place of what is current, in its order: the head last."""
        client = self._connected()
        try:
            for topic, bundle in recorded.items():
                client.publish(topic, bundle, qos=1, retain=True).wait_for_publish(_WAIT_S)
        finally:
            self._leave(client)

    def _connected(self) -> paho.Client:
        arrived = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=CONTROL_PLANE, protocol=MQTTProtocolVersion.MQTTv5)
        client.tls_set_context(self._context)
        client.on_connect = lambda *_: arrived.set()
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        if not arrived.wait(_WAIT_S):
            self._leave(client)
            raise BrokerSilent("let the insider in")
        return client

    @staticmethod
    def _leave(client: paho.Client) -> None:
        client.disconnect()
        client.loop_stop()


def _pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def _context(ca_pem: bytes, certificate_and_key: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem.decode())
    # Python's ssl reads keys from files only; an anonymous file in memory leaves nothing on the disk.
    descriptor = os.memfd_create("leadglass-insider", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(certificate_and_key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    return context
