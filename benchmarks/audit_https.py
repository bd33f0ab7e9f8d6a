"""Audit records over HTTPS with client certificates, to a control plane in a process of its own.

A host sends batches of 1,000 and of 100 one after the other, then four hosts at once as many together; then 16 hosts
send a record at a time, and how long each waits is told (audit_singles). The peer is what the same disk does meanwhile
with the same bytes: SQLite with `synchronous=FULL`, a commit for each batch. Beside the senders, which make and sign
nothing in the time that counts, the centre has the other processor.
"""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks import audit_singles
from benchmarks.audit_log import PRAGMAS, about
from benchmarks.audit_singles import Singles
from benchmarks.measure import cpu
from benchmarks.system import System, system
from edge_agent.audit.uploader import PATH
from edge_agent.config import load_identity
from edge_agent.https import HttpsDoor, accepted, verified_context
from shared.audit.batch import ChainHead, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.audit.packed import pack
from shared.audit.record import StoredRecord, compose
from shared.clock import SystemClock

_RECORDS = 8000
_BATCHES, _AT_ONCE = (1000, 100), (1, 4)


@dataclass(frozen=True)
class Speed:
    batch: int  # records in it
    hosts: int  # that send at once
    ours: float  # records a second
    raw: float


@dataclass(frozen=True)
class OverHttps:
    speeds: tuple[Speed, ...]
    singles: list[Singles]

    def markdown(self) -> str:
        rows = [f"Audit records of 1 KiB over HTTPS with client certificates. {cpu()}.", "",
                "| in a batch | hosts at once | Leadglass, records/s | raw SQLite | ratio |",
                "| --- | --- | --- | --- | --- |"]  # fmt: skip
        rows += [
            f"| {one.batch:,} | {one.hosts} | {one.ours:,.0f} | {one.raw:,.0f} | {one.ours / one.raw:.3f} |"
            for one in self.speeds
        ]
        return "\n".join([*rows, "", *audit_singles.markdown(self.singles)]) + "\n"

    def json(self) -> dict[str, object]:
        return {
            "speeds": [asdict(one) for one in self.speeds],
            "singles": [one.json() for one in self.singles],
        }


class Sender:
    """An enrolled host that sends records of its own, whoever else writes its journal."""

    def __init__(self, running: System, asset: str) -> None:
        folder = running.enrol(asset)
        self._identity = load_identity(folder)
        self.door = HttpsDoor("127.0.0.1", running.hosts_port, verified_context(folder.ca, folder.tls))
        self._head = ChainHead()

    def batches(self, count: int, size: int) -> list[tuple[bytes, list[bytes]]]:
        """Return signed batches, and of each the public parts in it."""
        return [self._batch(size) for _ in range(count)]

    def send(self, batches: Sequence[bytes]) -> list[float]:
        """Return how long each took to be acknowledged, in ms."""
        took = list[float]()
        for data in batches:
            began = perf_counter()
            accepted(self.door.name, self.door.post(PATH, data, "application/octet-stream"))
            took.append(1000 * (perf_counter() - began))
        return took

    def _batch(self, size: int) -> tuple[bytes, list[bytes]]:
        source, prev, records = str(self._identity.config.host_id), self._head.leaf, list[StoredRecord]()
        who = (Participant("ae", "CT1", True),)
        captured = Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who, about())
        for _ in range(size):
            seq, time = self._head.seq + 1, SystemClock().now()
            stored = compose(
                captured, source=source, seq=seq, prev=self._head.leaf, time=time, salt=bytes(32), key=None
            )
            self._head = ChainHead(seq, stored.leaf)
            records.append(stored)
        return pack(sign_batch(source, prev, records, self._identity.signer)), [one.public for one in records]


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[OverHttps]:
    del images
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as name:
        work = Path(name)
        with system(work) as running:
            some = [Sender(running, f"steady-{number}") for number in range(max(_AT_ONCE))]
            speeds = tuple(_throughput(some[:hosts], work, batch, rounds) for batch in _BATCHES for hosts in _AT_ONCE)
            senders = [Sender(running, f"sender-{number}") for number in range(audit_singles.CLIENTS)]

            def sent() -> list[list[bytes]]:
                return [[data for data, _ in one.batches(1 + audit_singles.EACH, 1)] for one in senders]

            doors = [one.door for one in senders]
            singles = audit_singles.measured(work, running.centre.pid, doors, sent, rounds)
            yield OverHttps(speeds, singles)


def _throughput(senders: Sequence[Sender], work: Path, batch: int, rounds: int) -> Speed:
    ours, theirs = list[float](), list[float]()
    for _ in range(rounds):
        made = [one.batches(_RECORDS // batch // len(senders), batch) for one in senders]
        sent = [[data for data, _ in one] for one in made]
        with ThreadPoolExecutor(len(senders)) as pool:
            began = perf_counter()
            list(pool.map(Sender.send, senders, sent))
            ours.append(_RECORDS / (perf_counter() - began))
        began = perf_counter()
        _raw(work / "raw.sqlite", [records for one in made for _, records in one])
        theirs.append(_RECORDS / (perf_counter() - began))
    return Speed(batch, len(senders), median(ours), median(theirs))


def _raw(file: Path, batches: Sequence[Sequence[bytes]]) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.executescript(PRAGMAS + "CREATE TABLE IF NOT EXISTS records (source TEXT, seq INTEGER, public BLOB)")
        for records in batches:
            database.executemany("INSERT INTO records VALUES ('host-0', 0, ?)", [(public,) for public in records])
            database.commit()
