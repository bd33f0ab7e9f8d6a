"""A log of many records: taken in, proved again as a whole, and one of them proved, with the most memory that takes.

A thousand records for each of `--images`, so 500,000 unless that says otherwise, from ten hosts in batches of 1,000.
They are made by a process of its own, at most a few batches ahead; waiting for it is not counted. Each record is about
an object of its own, as captures are. Proving is `audit verify`: chains, statements, certificates' records, the Merkle
log and what records are found by. The peer is what raw SQLite does: the same public parts inserted, and read from the
first to the last. Whether taking in slows down as the log grows is told by what the first and the last hundred
batches cost.
"""

import resource
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple

from benchmarks.audit_log import PRAGMAS, about
from benchmarks.measure import cpu
from control_plane.audit_log.reading import CERTIFICATES, ChainState
from control_plane.tlog.proofs import LogProofs
from shared.audit.batch import ChainHead, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.audit.packed import pack, unpack
from shared.audit.record import StoredRecord, compose
from shared.audit.tlog.log_key import LogKeyOffer
from shared.identity import ObjectId
from tests.control_plane.vault.bench import Bench, HostBench

_HOSTS, _BATCH, _PROOFS, _AN_END = 10, 1000, 50, 100


class Cost(NamedTuple):
    """What a record took of the processor, and how much was written for it."""

    cpu_us: float
    written_kb: float

    def __str__(self) -> str:
        return f"{self.cpu_us:.1f} µs of the processor and wrote {self.written_kb:.1f} kB"


@dataclass(frozen=True)
class Scale:
    records: int
    seconds: dict[str, float]
    proof_ms: float
    growth: tuple[Cost, Cost]  # of the first batches, and of the last
    rss_mib: tuple[int, int]  # before anything was proved, and after

    def markdown(self) -> str:
        (before, after), (first, last) = self.rss_mib, self.growth
        speeds = [f"| {what} | {self.records / took:,.0f} |" for what, took in self.seconds.items()]
        rows = [
            f"{self.records:,} records of 1 KiB from {_HOSTS} hosts. {cpu()}.",
            "",
            "| | records/s |",
            "| --- | --- |",
            *speeds,
            "",
            f"Of the first {_AN_END * _BATCH:,} one took {first}; of the last {last}.",
            f"A proof of one of them takes {self.proof_ms:.1f} ms (median).",
            f"Most memory held: {before} MiB when all was taken in, {after} MiB when all was proved.",
        ]
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        growth = [one._asdict() for one in self.growth]
        return {"records": self.records, "seconds": self.seconds, "proof_ms": self.proof_ms, "growth": growth,
                "rss_mib": self.rss_mib}  # fmt: skip


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Scale]:
    del rounds
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as name:
        yield _measured(Path(name), images * 1000)


def _measured(work: Path, records: int) -> Scale:
    bench = Bench(work / "centre")
    hosts = [bench.enrol() for _ in range(_HOSTS)]
    seconds = {"**Leadglass**: verified, in the Merkle log, durable": 0.0, "raw SQLite: inserted, FULL": 0.0}
    costs = list[tuple[float, int]]()
    raw_database = closing(sqlite3.connect(work / "raw.sqlite", isolation_level=None))
    with raw_database as raw, _made_apart(hosts, records // _BATCH) as made:
        raw.executescript(PRAGMAS + "CREATE TABLE records (source TEXT, seq INTEGER, public BLOB)")
        for number in range(records // _BATCH):
            host, data = hosts[number % _HOSTS], made()
            rows = [(str(host.host_id), number, one.public) for one in unpack(data).records]
            ours, theirs = seconds
            before, written = process_time(), _written_bytes()
            seconds[ours] += _took(partial(bench.audit.take, host.host_id, data))
            costs.append((process_time() - before, _written_bytes() - written))
            seconds[theirs] += _took(partial(_insert, raw, rows))
        taken_in = _rss_mib()
        seconds["raw SQLite: read"] = _took(lambda: sum(1 for _ in raw.execute("SELECT public FROM records")))
    seconds["**Leadglass**: proved again, every one"] = _took(lambda: _proved(bench))
    proofs = LogProofs(bench.database, lambda: LogKeyOffer(b"", ""))
    source, last = str(hosts[0].host_id), records // _HOSTS
    proving = [_took(partial(proofs.of_record, source, 1 + last * at // _PROOFS)) for at in range(_PROOFS)]
    growth = _each(costs[:_AN_END]), _each(costs[-_AN_END:])
    return Scale(records, seconds, 1000 * median(proving), growth, (taken_in, _rss_mib()))


def _each(batches: Sequence[tuple[float, int]]) -> Cost:
    records = len(batches) * _BATCH
    return Cost(1e6 * sum(cpu_s for cpu_s, _ in batches) / records, sum(size for _, size in batches) / 1e3 / records)


@contextmanager
def _made_apart(hosts: Sequence[HostBench], count: int) -> Iterator[Callable[[], bytes]]:
    """Yield what returns the next batch, of one host after the other."""
    apart = get_context("fork")
    ours, theirs = apart.Pipe(duplex=False)
    maker = apart.Process(target=_make, args=(theirs, hosts, count), daemon=True)
    maker.start()
    theirs.close()
    try:
        yield ours.recv_bytes
    finally:
        ours.close()
        maker.terminate()
        maker.join()


def _make(to: Connection, hosts: Sequence[HostBench], count: int) -> None:
    # Nothing here asks the database, whose connections are the other process's.
    heads = [ChainHead() for _ in hosts]
    for number in range(count):
        at = number % len(hosts)
        data, heads[at] = _batch(hosts[at], heads[at])
        to.send_bytes(data)


def _batch(host: HostBench, head: ChainHead) -> tuple[bytes, ChainHead]:
    source, prev, now, records = str(host.host_id), head.leaf, host.bench.clock.now(), list[StoredRecord]()
    who = (Participant("ae", "CT1", True),)
    for seq in range(head.seq + 1, head.seq + 1 + _BATCH):
        captured = Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who, about(str(ObjectId.new())))
        stored = compose(captured, source=source, seq=seq, prev=head.leaf, time=now, salt=bytes(32), key=None)
        head = ChainHead(seq, stored.leaf)
        records.append(stored)
    return pack(sign_batch(source, prev, records, host.signer)), head


def _insert(raw: sqlite3.Connection, rows: list[tuple[str, int, bytes]]) -> None:
    raw.execute("BEGIN")
    raw.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
    raw.execute("COMMIT")


def _proved(bench: Bench) -> None:
    verdicts = bench.reading.verify("A. Auditor")
    assert {verdict.state for name, verdict in verdicts.items() if name != CERTIFICATES} == {ChainState.VERIFIED}


def _took(do: Callable[[], object]) -> float:
    began = perf_counter()
    do()
    return perf_counter() - began


def _written_bytes() -> int:
    said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(said["write_bytes"])


def _rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
