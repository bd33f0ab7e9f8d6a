"""A log of many records: taken in, proved again as a whole, and one of them proved, with the most memory that takes.

A thousand records for each of `--images`, so 500,000 unless that says otherwise, from ten hosts in batches of 1,000,
which are made in between and not counted. Each record is about an object of its own, as captures are. Proving is
`audit verify`: chains, statements, certificates' records, the Merkle log and what records are found by. The peer is
what raw SQLite does: the same public parts inserted, and read from the first to the last.
"""

import resource
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.audit_log import PRAGMAS, written
from benchmarks.measure import cpu
from control_plane.audit_log.reading import CERTIFICATES, ChainState
from control_plane.tlog.proofs import LogProofs
from shared.audit.batch import sign_batch
from shared.audit.packed import pack
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
    with closing(sqlite3.connect(work / "raw.sqlite", isolation_level=None)) as raw:
        raw.executescript(PRAGMAS + "CREATE TABLE records (source TEXT, seq INTEGER, public BLOB)")
        for number in range(records // _BATCH):
            host = hosts[number % _HOSTS]
            data, rows = _next_batch(host)
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


def _next_batch(host: HostBench) -> tuple[bytes, list[tuple[str, int, bytes]]]:
    """Have a host note more records, and forget those before them."""
    first, prev, source = host.head.seq + 1, host.head.leaf, str(host.host_id)
    host.journal.clear()
    for _ in range(_BATCH):
        written(host, 1, str(ObjectId.new()))
    rows = [(source, first + at, one.public) for at, one in enumerate(host.journal)]
    return pack(sign_batch(source, prev, host.journal, host.signer)), rows


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
