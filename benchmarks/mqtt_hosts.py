"""Many hosts' MQTT sessions in one process: TLS with a certificate each, subscribed as an agent is.

    python -m benchmarks.mqtt_hosts PORT FOLDER FIRST COUNT

`FOLDER` has ca.pem and NUMBER.pem, key and certificate of each. Prints `ready` once every session is subscribed. Then
each line of its input is `await DIGEST`: it answers `at SECONDS` (CLOCK_MONOTONIC) when the last session has had a
message whose SHA-256 that is; `again TIMES` answers when every session was subscribed so often.
MQTT 3.1.1, section numbers of the OASIS standard; as little of it as a host needs to hear.
"""

import asyncio
import random
import ssl
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from shared.policy.bundle import HEAD_TOPIC, layer_topic
from shared.policy.document import ORGANISATION

KEEPALIVE_S = 600
SPREAD_S = 5.0  # over which hosts come back, each at a moment of its own
AT_ONCE = 64  # handshakes


class Hosts:
    def __init__(self, port: int, folder: Path, numbers: range) -> None:
        self._port, self._folder, self._numbers = port, folder, numbers
        self._handshakes = asyncio.Semaphore(AT_ONCE)
        self._heard: dict[bytes, set[int]] = {}
        self._last: dict[bytes, float] = {}
        self._subscribed: dict[int, int] = dict.fromkeys(numbers, 0)  # how often each was
        self._holds: Callable[[], bool] = lambda: False
        self._held = asyncio.Event()

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._host(number)) for number in self._numbers]
        await self._until(lambda: min(self._subscribed.values()) >= 1)
        print("ready", flush=True)
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := (await lines.readline()).decode().split():
            print("at", await self._answer(*line), flush=True)
        for task in tasks:
            task.cancel()

    async def _answer(self, word: str, value: str) -> float:
        if word == "again":
            await self._until(lambda: min(self._subscribed.values()) >= int(value))
            return time.monotonic()
        digest, everybody = bytes.fromhex(value), len(self._numbers)
        await self._until(lambda: len(self._heard.get(digest, ())) == everybody)
        return self._last[digest]

    async def _until(self, holds: Callable[[], bool]) -> None:
        self._held.clear()
        self._holds = holds
        self._look()
        await self._held.wait()

    def _look(self) -> None:
        if self._holds():
            self._held.set()

    def subscribed(self, number: int) -> None:
        self._subscribed[number] += 1
        self._look()

    def heard(self, number: int, payload: bytes) -> None:
        heard, digest = time.monotonic(), sha256(payload).digest()
        those = self._heard.setdefault(digest, set())
        those.add(number)
        self._last[digest] = heard
        if len(those) == len(self._numbers):
            self._look()

    async def _host(self, number: int) -> None:
        context = ssl.create_default_context(cafile=str(self._folder / "ca.pem"))
        chain = self._folder / f"{number}.pem"
        context.load_cert_chain(chain)
        name, loop = chain.with_suffix(".name").read_text(), asyncio.get_running_loop()
        while True:
            session = Session(self, number, name)
            try:
                async with self._handshakes:
                    await loop.create_connection(
                        lambda session=session: session,  # type: ignore[misc]
                        "127.0.0.1", self._port, ssl=context, server_hostname="127.0.0.1", ssl_handshake_timeout=60,
                    )  # fmt: skip
                await session.ended.wait()
            except (OSError, ssl.SSLError):
                pass
            await asyncio.sleep(random.uniform(0.2, SPREAD_S))


class Session(asyncio.Protocol):
    def __init__(self, hosts: Hosts, number: int, name: str) -> None:
        self._hosts, self._number, self._name = hosts, number, name
        self._buffer = bytearray()
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # Subscribing needs no answer to the connecting first (3.1.4).
        transport.write(_connect(self._name) + _subscribe(layer_topic(ORGANISATION), HEAD_TOPIC))

    def connection_lost(self, _exc: Exception | None) -> None:
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (ends := _packet(self._buffer)) is not None:
            body, end = ends
            self._take(self._buffer[0], bytes(self._buffer[body:end]))
            del self._buffer[:end]

    def _take(self, kind: int, body: bytes) -> None:
        if kind & 0xF0 == 0x90:
            self._hosts.subscribed(self._number)
        elif kind & 0xF0 == 0x30:
            after = 2 + int.from_bytes(body[:2])
            if kind & 0x06:
                self._transport.write(b"\x40\x02" + body[after : after + 2])  # 3.4 PUBACK
                after += 2
            self._hosts.heard(self._number, body[after:])


def _connect(name: str) -> bytes:
    # 3.1: protocol MQTT, level 4, clean session.
    body = _text("MQTT") + b"\x04\x02" + KEEPALIVE_S.to_bytes(2) + _text(name)
    return b"\x10" + _length(len(body)) + body


def _subscribe(*topics: str) -> bytes:
    body = b"\x00\x01" + b"".join(_text(topic) + b"\x01" for topic in topics)  # 3.8, QoS 1
    return b"\x82" + _length(len(body)) + body


def _text(value: str) -> bytes:
    return len(value).to_bytes(2) + value.encode()


def _length(number: int) -> bytes:
    encoded = bytearray()
    while True:  # 2.2.3
        number, digit = divmod(number, 128)
        encoded.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def _packet(buffer: bytearray) -> tuple[int, int] | None:
    """Return where the body of the first packet begins and ends; None: it is not all here yet."""
    length = 0
    for place, digit in enumerate(buffer[1:5]):
        length |= (digit & 0x7F) << (7 * place)
        if not digit & 0x80:
            end = 2 + place + length
            return (2 + place, end) if len(buffer) >= end else None
    return None


if __name__ == "__main__":
    port, folder, first, count = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    asyncio.run(Hosts(port, folder, range(first, first + count)).run())
