"""A log of many records: taken in, proved again as a whole, and one of them proved, with the most memory that takes.

A thousand records for each of `--images`, so 500,000 unless that says otherwise, from ten hosts in batches of 1,000.
They are made by a process of its own, at most a few batches ahead; waiting for it is not counted. Each record is about
an object of its own, as captures are. Proving is `audit verify`: chains, statements, certificates' records, the Merkle
log and what records are found by. The peer is what raw SQLite does: the same public parts inserted, and read from the
first to the last.
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
from time import perf_counter

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

_HOSTS, _BATCH, _PROOFS = 10, 1000, 50


@dataclass(frozen=True)
class Scale:
    records: int
    seconds: dict[str, float]
    proof_ms: float
    rss_mib: tuple[int, int]  # before anything was proved, and after

    def markdown(self) -> str:
        before, after = self.rss_mib
        speeds = [f"| {what} | {self.records / took:,.0f} |" for what, took in self.seconds.items()]
        rows = [
            f"{self.records:,} records of 1 KiB from {_HOSTS} hosts. {cpu()}.",
            "",
            "| | records/s |",
            "| --- | --- |",
            *speeds,
            "",
            f"A proof of one of them takes {self.proof_ms:.1f} ms (median).",
            f"Most memory held: {before} MiB when all was taken in, {after} MiB when all was proved.",
        ]
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        return {"records": self.records, "seconds": self.seconds, "proof_ms": self.proof_ms, "rss_mib": self.rss_mib}


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Scale]:
    del rounds
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as name:
        yield _measured(Path(name), images * 1000)


def _measured(work: Path, records: int) -> Scale:
    bench = Bench(work / "centre")
    hosts = [bench.enrol() for _ in range(_HOSTS)]
    seconds = {"**Leadglass**: verified, in the Merkle log, durable": 0.0, "raw SQLite: inserted, FULL": 0.0}
    raw_database = closing(sqlite3.connect(work / "raw.sqlite", isolation_level=None))
    with raw_database as raw, _made_apart(hosts, records // _BATCH) as made:
        raw.executescript(PRAGMAS + "CREATE TABLE records (source TEXT, seq INTEGER, public BLOB)")
        for number in range(records // _BATCH):
            host, data = hosts[number % _HOSTS], made()
            rows = [(str(host.host_id), number, one.public) for one in unpack(data).records]
            ours, theirs = seconds
            seconds[ours] += _took(partial(bench.audit.take, host.host_id, data))
            seconds[theirs] += _took(partial(_insert, raw, rows))
        taken_in = _rss_mib()
        seconds["raw SQLite: read"] = _took(lambda: sum(1 for _ in raw.execute("SELECT public FROM records")))
    seconds["**Leadglass**: proved again, every one"] = _took(lambda: _proved(bench))
    proofs = LogProofs(bench.database, lambda: LogKeyOffer(b"", ""))
    source, last = str(hosts[0].host_id), records // _HOSTS
    proving = [_took(partial(proofs.of_record, source, 1 + last * at // _PROOFS)) for at in range(_PROOFS)]
    return Scale(records, seconds, 1000 * median(proving), (taken_in, _rss_mib()))


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


def _rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
