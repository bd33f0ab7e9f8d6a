"""A record at a time from 16 hosts at once over HTTPS with client certificates, and what a door alone does there.

Each host is a process of its own with the agent's own client, as hosts are; as threads of one process they would wait
for one another's Python, and count that as ours. A host keeps its connection: the first record, for which all 16 make
theirs at once, is told apart from those that count. The senders take their share of the same processors.

The peers are the same door with the same TLS and senders: one answers at once what it has read, and nothing behind that
door can be faster; the other when raw SQLite has it (`synchronous=FULL`), a commit for each under a lock.
"""

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from sqlite3 import connect
from statistics import median, quantiles
from threading import Lock
from time import perf_counter, process_time
from typing import Any

from benchmarks.receivers import cpu_of
from control_plane.http.serving import Door, WsgiApp
from edge_agent.audit.uploader import PATH
from edge_agent.https import HttpsDoor, accepted, verified_context
from tests.fakes.dicom_pki import Party, self_signed

CLIENTS, EACH = 16, 100
_THREADS, _MOST_S = 16, 60.0
# Forked, so that a sender needs to be made only once: keys and TLS contexts cannot be handed over.
_PROCESSES = get_context("fork")


@dataclass(frozen=True)
class Turn:
    """What all of them waited, in ms, and the processor time at both ends."""

    first_ms: tuple[float, ...]  # with the connection made
    waits_ms: tuple[float, ...]
    seconds: float
    door_cpu_s: float
    senders_cpu_s: float


@dataclass(frozen=True)
class Singles:
    name: str
    turns: tuple[Turn, ...]

    @property
    def per_s(self) -> float:
        return median(len(turn.waits_ms) / turn.seconds for turn in self.turns)

    def wait_ms(self, percent: int) -> float:
        return median(quantiles(turn.waits_ms, n=100)[percent - 1] for turn in self.turns)

    def markdown(self) -> str:
        first = median(max(turn.first_ms) for turn in self.turns)
        door, senders = (
            1000 * median(cpu / len(turn.waits_ms) for turn, cpu in zip(self.turns, used, strict=True))
            for used in ([one.door_cpu_s for one in self.turns], [one.senders_cpu_s for one in self.turns])
        )
        waits = f"{self.wait_ms(50):.1f} | {self.wait_ms(99):.1f} | {first:.0f}"
        return f"| **{self.name}** | {self.per_s:,.0f} | {waits} | {door:.2f} + {senders:.2f} |"

    def json(self) -> dict[str, object]:
        return {"name": self.name, "per_s": self.per_s, "p50_ms": self.wait_ms(50), "p99_ms": self.wait_ms(99)}


def markdown(lines: Sequence[Singles]) -> list[str]:
    head = f"| a record at a time from {CLIENTS} hosts | a second | p50, ms | p99, ms | first, at most, ms | CPU, ms each, here + there |"  # noqa: E501 (one line of a table)
    return [head, "| --- | --- | --- | --- | --- | --- |", *(line.markdown() for line in lines)]


def measured(
    work: Path, pid: int, doors: Sequence[HttpsDoor], sent: Callable[[], Sequence[Sequence[bytes]]], rounds: int
) -> list[Singles]:
    """Send what `sent` returns for each round to the control plane `pid`, and to the peers, in turns."""
    with _peer(work / "at-once", _answering) as at_once, _peer(work / "raw", _raw_sqlite) as raw:
        contenders = {"Leadglass": (pid, doors), "raw SQLite behind the same door": raw, "the door alone": at_once}
        turns: dict[str, list[Turn]] = {name: [] for name in contenders}
        for _ in range(rounds):
            batches = sent()
            for name, (server, to) in contenders.items():
                turns[name].append(_turn(server, list(zip(to, batches, strict=True))))
    return [Singles(name, tuple(of)) for name, of in turns.items()]


def _turn(server: int, clients: Sequence[tuple[HttpsDoor, Sequence[bytes]]]) -> Turn:
    together, results = _PROCESSES.Barrier(len(clients) + 1), list[Connection]()
    for door, batches in clients:
        here, there = _PROCESSES.Pipe(duplex=False)
        _PROCESSES.Process(target=_send, args=(door, batches, together, there), daemon=True).start()
        there.close()
        results.append(here)
    for _ in ("connected", "sending"):
        together.wait(_MOST_S)
    began, before = perf_counter(), cpu_of(server)
    each = [result.recv() for result in results]
    seconds, used = perf_counter() - began, cpu_of(server) - before
    waits = tuple(wait for _, waits, _ in each for wait in waits)
    return Turn(tuple(first for first, _, _ in each), waits, seconds, used, sum(cpu for _, _, cpu in each))


def _send(door: HttpsDoor, batches: Sequence[bytes], together: Barrier, result: Connection) -> None:
    def send(data: bytes) -> float:
        began = perf_counter()
        accepted(door.name, door.post(PATH, data, "application/octet-stream"))
        return 1000 * (perf_counter() - began)

    together.wait(_MOST_S)
    first = send(batches[0])
    together.wait(_MOST_S)
    before = process_time()
    waits = [send(data) for data in batches[1:]]
    result.send((first, waits, process_time() - before))


@contextmanager
def _peer(folder: Path, app: Callable[[Path], WsgiApp]) -> Iterator[tuple[int, list[HttpsDoor]]]:
    """Yield the process of a door of `app`, and a client's end of it for each sender."""
    party = self_signed(folder, "peer", ends=timedelta(days=1))
    here, there = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_serve, args=(party, partial(app, folder), there), daemon=True)
    process.start()
    port, context = here.recv(), verified_context(party.certificate, party.chain)
    try:
        yield process.pid or 0, [HttpsDoor("127.0.0.1", port, context) for _ in range(CLIENTS)]
    finally:
        here.send("stop")
        process.join(_MOST_S)


def _serve(party: Party, app: Callable[[], WsgiApp], told: Connection) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(party.chain)
    context.load_verify_locations(cadata=party.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    door = Door("peer", app(), "127.0.0.1", 0, context, max_body_bytes=1 << 20, threads=_THREADS)
    door.open()
    told.send(door.port)
    told.recv()
    door.close()


def _answering(_folder: Path) -> WsgiApp:
    return _app(lambda _data: None)


def _raw_sqlite(folder: Path) -> WsgiApp:
    database, lock = connect(folder / "raw.sqlite", check_same_thread=False, isolation_level=None), Lock()
    database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE records (public BLOB)")

    def keep(data: bytes) -> None:
        with lock:
            database.execute("INSERT INTO records VALUES (?)", (data,))

    return _app(keep)


def _app(keep: Callable[[bytes], None]) -> WsgiApp:
    def answer(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        keep(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
        return [b"{}"]

    return answer
