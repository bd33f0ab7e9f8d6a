"""Taking audit records in at the centre, beside what the same disk does with the same bytes and nothing else.

Ours parses, verifies the signature and the chain, enters each record in the Merkle log, signs the checkpoint, and is
durable before it answers; it is the intake behind the host door, without HTTPS. Raw SQLite inserts the public parts
into one table without an index, with the same pragmas, a commit for each batch. One host sends, then four at once, as
many records together; of single records 16 threads send, each for a host of its own, and how long each waits is told
too. At last all of it is proved again.
A host's own journal is measured by itself: a record at a time, and as many together as a busy capture commits at once.
"""

import gc
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time

from benchmarks.measure import Contender, Line, Measured, cpu, take_turns
from control_plane.db.transactions import snapshot
from control_plane.tlog.proofs import LogProofs
from control_plane.tlog.verify import verify_log
from edge_agent.audit.journal import Journal
from edge_agent.database import Database
from shared.audit.batch import Batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.packed import pack
from shared.audit.tlog.log_key import LogKeyOffer
from shared.clock import SystemClock
from shared.identity import HostId
from tests.control_plane.vault.bench import Bench, HostBench

RECORDS, AT_ONCE, CLIENTS, EACH, PROOFS = 10_000, 4, 16, 25, 50
BATCHES = (1000, 100)
APPENDS, TOGETHER = 2000, (1, 10, 100)
PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"


@dataclass(frozen=True)
class Throughput:
    batch: int
    record_bytes: int
    ours: Line
    four: Line
    raw: Line

    def markdown(self) -> str:
        rows = [
            f"{RECORDS:,} records of {self.record_bytes} bytes, {self.batch} in a batch. {cpu()}.",
            "",
            "| | records/s, median (best) | CPU, µs each | / raw SQLite |",
            "| --- | --- | --- | --- |",
        ]
        for line in (self.ours, self.four, self.raw):
            speed = f"{RECORDS / line.median_s:,.0f} ({RECORDS / line.best_s:,.0f})"
            each = f"{1e6 * line.cpu_s / RECORDS:.0f}"
            rows.append(
                f"| **{line.name}**: {line.what} | {speed} | {each} | {self.raw.median_s / line.median_s:.3f} |"
            )
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        lines = {
            line.name: [round(turn.seconds, 4) for turn in line.turns] for line in (self.ours, self.four, self.raw)
        }
        return {"batch": self.batch, "record_bytes": self.record_bytes, "records": RECORDS, "seconds": lines}


@dataclass(frozen=True)
class Waits:
    """What 16 clients with one record at a time wait, what a proof takes, and what proving everything takes."""

    milliseconds: tuple[float, ...]
    per_s: float
    cpu_ms: float  # of the processor, each
    proof_ms: float
    verified_per_s: float

    def markdown(self) -> str:
        cuts = quantiles(self.milliseconds, n=100)
        return (
            f"One record at a time from {CLIENTS} clients: {self.per_s:,.0f} records/s; each waits "
            f"{cuts[49]:.1f} ms (p50), {cuts[98]:.1f} ms (p99), and takes {self.cpu_ms:.2f} ms of the processor. "
            f"A proof of one of {RECORDS:,} takes {self.proof_ms:.1f} ms (median). The Merkle log is proved again at "
            f"{self.verified_per_s:,.0f} records/s. {cpu()}.\n"
        )

    def json(self) -> dict[str, object]:
        cuts = quantiles(self.milliseconds, n=100)
        return {"per_s": self.per_s, "cpu_ms": self.cpu_ms, "p50_ms": cuts[49], "p99_ms": cuts[98],
                "proof_ms": self.proof_ms, "verified_per_s": self.verified_per_s}  # fmt: skip


@dataclass(frozen=True)
class Appends:
    """Durable appends to the journal of a host, by how many are committed together."""

    per_s: dict[int, float]

    def markdown(self) -> str:
        rows = ["| together | durable appends to a host's journal, records/s |", "| --- | --- |"]
        return "\n".join([*rows, *(f"| {count} | {speed:,.0f} |" for count, speed in self.per_s.items())]) + "\n"

    def json(self) -> dict[str, object]:
        return {"appends_per_s": {str(count): speed for count, speed in self.per_s.items()}}


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Throughput | Waits | Appends]:
    del images
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as name:
        work, numbers = Path(name), iter(range(1_000_000))
        for batch in BATCHES:
            public = written(Bench(work / f"of-{batch}").enrol(), 1).journal[0].public
            contenders = [
                Contender("Leadglass", "verified, in the Merkle log, durable", partial(_ours, work, numbers, batch, 1)),
                Contender("Leadglass, four", "hosts at once", partial(_ours, work, numbers, batch, AT_ONCE)),
                Contender("raw SQLite", "inserted, FULL", partial(_raw, work, numbers, batch, public)),
            ]
            ours, four, raw = take_turns(contenders, rounds)
            yield Throughput(batch, len(public), ours, four, raw)
        yield _waits(work)
        yield _appends(work, rounds)


def written(host: HostBench, count: int, object_id: str = "0" * 32) -> HostBench:
    """Have a host note records of about 1 KiB, one after the other as a clock has them."""
    who = (Participant("ae", "CT1", True),)
    for _ in range(count):
        host.bench.clock.advance(timedelta(microseconds=1))
        host.note(Event.IMAGE_CAPTURED, about(object_id), who=who)
    return host


def about(object_id: str = "0" * 32) -> tuple[Subject, ...]:
    return (Subject("object", object_id), *(Subject("fact", f"{number}{'x' * 150}") for number in range(3)))


def _timed(do: Callable[[], object]) -> Measured:
    began, before = perf_counter(), process_time()
    do()
    return Measured(perf_counter() - began, process_time() - before, None)


def _ours(work: Path, numbers: Iterator[int], batch: int, at_once: int) -> Measured:
    bench = Bench(work / f"ours-{next(numbers)}")
    hosts = [bench.enrol() for _ in range(at_once)]
    batches = RECORDS // batch
    # Ten batches are three and three, and two and two.
    shares = [batches // at_once + (number < batches % at_once) for number in range(at_once)]
    sent = [_packed(host, share, batch) for host, share in zip(hosts, shares, strict=True)]
    # What a sender holds is not the centre's to look through for garbage.
    gc.freeze()

    def send(number: int) -> None:
        for data in sent[number]:
            bench.audit.take(hosts[number].host_id, data)

    with ThreadPoolExecutor(at_once) as pool:
        return _timed(lambda: list(pool.map(send, range(at_once))))


def _packed(host: HostBench, count: int, size: int) -> list[bytes]:
    written(host, count * size)
    return [pack(Batch.parse(host.batch(first, first + size - 1))) for first in range(1, count * size, size)]


def _raw(work: Path, numbers: Iterator[int], batch: int, public: bytes) -> Measured:
    database = sqlite3.connect(work / f"raw-{next(numbers)}.sqlite")
    database.executescript(PRAGMAS + "CREATE TABLE records (source TEXT, seq INTEGER, public BLOB)")

    def insert() -> None:
        for first in range(1, RECORDS, batch):
            rows = [("host-0", seq, public) for seq in range(first, first + batch)]
            database.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
            database.commit()

    measured = _timed(insert)
    database.close()
    return measured


def _waits(work: Path) -> Waits:
    bench = Bench(work / "waits")
    large = written(bench.enrol(), RECORDS)
    for first in range(1, RECORDS, 1000):
        large.deliver(first, first + 999)
    hosts = [written(bench.enrol(), EACH) for _ in range(CLIENTS)]
    sent = [[pack(Batch.parse(host.batch(number, number))) for number in range(1, EACH + 1)] for host in hosts]

    def client(number: int) -> list[float]:
        waited = list[float]()
        for data in sent[number]:
            began = perf_counter()
            bench.audit.take(hosts[number].host_id, data)
            waited.append(1000 * (perf_counter() - began))
        return waited

    waited = list[float]()
    with ThreadPoolExecutor(CLIENTS) as pool:
        sending = _timed(lambda: waited.extend(one for each in pool.map(client, range(CLIENTS)) for one in each))
    count = CLIENTS * EACH
    proofs = LogProofs(bench.database, lambda: LogKeyOffer(b"", ""))
    proving = [_timed(partial(proofs.of_record, str(large.host_id), 1 + 97 * at)).seconds for at in range(PROOFS)]
    with snapshot(bench.database) as session:
        began = perf_counter()
        verdict = verify_log(session, bench.journal.sequencer.key)
        verified = verdict.size / (perf_counter() - began)
    assert not verdict.why
    speeds = count / sending.seconds, 1000 * sending.cpu_seconds / count
    return Waits(tuple(waited), *speeds, 1000 * median(proving), verified)


def _appends(work: Path, rounds: int) -> Appends:
    database = Database(work / "agent.sqlite")
    journal = Journal(database, HostId(bytes(16)), key=lambda: None, clock=SystemClock())
    who = (Participant("ae", "CT1", True),)
    captured = Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who, about())

    def append(together: int) -> None:
        for _ in range(APPENDS // together):
            journal.record_all([captured] * together)

    per_s = {
        together: APPENDS / median(_timed(partial(append, together)).seconds for _ in range(rounds))
        for together in TOGETHER
    }
    database.close()
    return Appends(per_s)
