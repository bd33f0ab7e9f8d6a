"""A broker that answers MQTT 3.1.1 as a test says, for answers that a real one gives once in a while."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.control_plane.fleet.pki import TestCa

_CONNECT, _SUBSCRIBE = 1, 8  # MQTT 3.1.1 section 2.2.1
_ACCEPTED, _UNSUPPORTED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x01"
_REFUSED = 0x80


class ScriptedBroker:
    """Speaks 3.1.1 only. Refuses the first `refusals` subscriptions; hangs up on MQTT 5 unless it `says_so`.

    After a subscription that it takes it sends `retained`, whatever was asked for.
    """

    def __init__(self, ca: TestCa, folder: Path, *, refusals: int, says_so: bool) -> None:
        self._refusals, self._says_so = refusals, says_so
        self.retained: list[tuple[str, bytes]] = []
        self.connects: list[int] = []  # the protocol level of each CONNECT
        self.topics: list[str] = []  # of the last SUBSCRIBE
        identity = ca.server()
        chain = folder / "scripted.pem"
        chain.write_bytes(identity.certificate + identity.key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as client:
                self._answer(client)

    def _answer(self, client: ssl.SSLSocket) -> None:
        while packet := _read(client):
            kind, body = packet
            if kind == _CONNECT:
                level = body[6]
                self.connects.append(level)
                if level == 4:
                    client.sendall(_ACCEPTED)
                else:
                    client.sendall(_UNSUPPORTED if self._says_so else b"")
                    return
            elif kind == _SUBSCRIBE:
                code = _REFUSED if self._refusals > 0 else 1
                self._refusals -= 1
                self.topics = _topics(body[2:])
                codes = bytes((code,)) * len(self.topics)
                client.sendall(bytes((0x90, 2 + len(codes))) + body[:2] + codes)
                if code != _REFUSED:
                    client.sendall(b"".join(_publish(topic, payload) for topic, payload in self.retained))


@contextmanager
def scripted_broker(ca: TestCa, folder: Path, *, refusals: int = 0, says_so: bool = True) -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker(ca, folder, refusals=refusals, says_so=says_so)
    broker._thread.start()
    try:
        yield broker
    finally:
        broker._server.shutdown(socket.SHUT_RDWR)
        broker._server.close()
        broker._thread.join(60)


def _topics(filters: bytes) -> list[str]:
    """Return the topics of a SUBSCRIBE's payload: each with its length in two bytes before it and its QoS behind."""
    topics = []
    while filters:
        end = 2 + int.from_bytes(filters[:2], "big")
        topics.append(filters[2:end].decode())
        filters = filters[end + 1 :]
    return topics


def _publish(topic: str, payload: bytes) -> bytes:
    """Return a short PUBLISH of QoS 0, retained."""
    body = len(topic).to_bytes(2, "big") + topic.encode() + payload
    assert len(body) < 0x80
    return bytes((0x31, len(body))) + body


def _read(client: ssl.SSLSocket) -> tuple[int, bytes] | None:
    """Return the kind and the rest of one packet, None at the end."""
    header = _exactly(client, 2)
    if len(header) < 2:
        return None
    size = header[1]
    if size >= 0x80:
        (more,) = _exactly(client, 1)
        size = (size & 0x7F) + (more << 7)
    return header[0] >> 4, _exactly(client, size)


def _exactly(client: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := client.recv(size - len(data))):
        data += piece
    return data
