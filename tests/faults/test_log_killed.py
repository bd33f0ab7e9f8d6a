"""kill -9 at any moment while records are appended, and a disk that fills up: the log of a host, and the centre's."""

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from control_plane.db.engine import close_database
from shared.audit.record import AuditRecord, StoredRecord, leaf_hash
from tests.control_plane.vault.bench import Bench
from tests.faults.journaling import CENTRE, HOST, append, hosts_journal
from tests.forked import FORKING

_APPENDS, _KILLS = 1000, 500
_APPENDS_IN_BRIEF, _KILLS_IN_BRIEF = 300, 3


@contextmanager
def appending(side: str, folder: Path, name: str, ahead: int = 0) -> Iterator[tuple[BaseProcess, Connection]]:
    """Yield a process that appends records, and what it tells; at the end it is gone."""
    hears, tells = FORKING.Pipe(duplex=False)
    process = FORKING.Process(target=append, args=(side, folder, name, tells, ahead))
    process.start()
    tells.close()
    try:
        yield process, hears
    finally:
        process.kill()
        process.join()
        hears.close()


def told(hears: Connection) -> Iterator[str]:
    """Yield what was told, whole, until nobody is left who could tell more."""
    with suppress(EOFError, OSError):
        while True:
            yield hears.recv()


def appended(side: str, folder: Path, name: str, most: int, ahead: int = 0) -> list[str]:
    """Have records appended, kill that with no warning after about `most`, and return those said to be durable."""
    with appending(side, folder, name, ahead) as (process, hears):
        said = list(islice(told(hears), most))
        process.kill()
        return said + list(told(hears))


def held_by_the_host(folder: Path) -> list[str]:
    """Return what the records say, once each is found to name the one before it."""
    journal = hosts_journal(folder)
    found = journal.after(0, most=1_000_000, most_bytes=1 << 40)
    assert found is not None
    return _followed(found.prev, found.records)


def held_by_the_centre(folder: Path) -> list[str]:
    bench = Bench(folder)
    verdicts = bench.reading.prove()
    assert (verdicts["control-plane"].state, verdicts["merkle-log"].state) == ("verified", "verified")
    rows = bench.rows("SELECT public, entry FROM audit_records ORDER BY seq")
    assert sorted(row.entry for row in rows) == list(range(len(rows)))
    close_database(bench.database)
    return [name for row in rows for name in _names(AuditRecord.parse(bytes(row.public)))]


def _followed(prev: bytes, records: tuple[StoredRecord, ...]) -> list[str]:
    names = list[str]()
    for number, stored in enumerate(records, 1):
        record = AuditRecord.parse(stored.public)
        assert (record.seq, record.prev) == (number, prev)
        prev = leaf_hash(stored.public)
        names += _names(record)
    return names


def _names(record: AuditRecord) -> list[str]:
    return [subject.name for subject in record.what if subject.kind == "thing"]


HELD: dict[str, Callable[[Path], list[str]]] = {HOST: held_by_the_host, CENTRE: held_by_the_centre}


def endure(side: str, folder: Path, appends: int, kills: int) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    folder.mkdir()
    acknowledged = list[str]()
    for kill in range(kills):
        acknowledged += appended(side, folder, str(kill), chance.randint(1, 2 * appends // kills))
    acknowledged += appended(side, folder, "last", max(1, appends - len(acknowledged)))

    held = HELD[side](folder)
    assert len(acknowledged) >= appends
    assert set(acknowledged) <= set(held)
    assert len(set(held)) == len(held)


@pytest.mark.parametrize("side", [HOST, CENTRE])
def test_every_record_that_was_acknowledged_is_there_whenever_its_writer_is_killed(side: str, tmp_path: Path) -> None:
    endure(side, tmp_path / side, _APPENDS_IN_BRIEF, _KILLS_IN_BRIEF)


@pytest.mark.parametrize("side", [HOST, CENTRE])
def test_a_writer_that_acknowledges_what_is_not_durable_yet_is_found(side: str, tmp_path: Path) -> None:
    acknowledged = appended(side, tmp_path, "early", 20, ahead=1000)

    assert not set(acknowledged) <= set(HELD[side](tmp_path))


@pytest.mark.soak
@pytest.mark.parametrize("side", [HOST, CENTRE])
def test_a_writer_is_killed_five_hundred_times_in_a_thousand_appends(side: str, tmp_path: Path) -> None:
    endure(side, tmp_path / side, _APPENDS, _KILLS)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("side", [HOST, CENTRE])
def test_a_disk_that_is_full_is_said_and_every_acknowledged_record_is_there(side: str, small_disk: Path) -> None:
    folder = small_disk / side
    folder.mkdir()
    (small_disk / "somebody-else-s").write_bytes(bytes(2 << 20))

    with appending(side, folder, "full") as (_, hears):
        *acknowledged, last = told(hears)
    (small_disk / "somebody-else-s").unlink()

    assert last.startswith("stopped: ")
    assert acknowledged
    assert set(acknowledged) <= set(HELD[side](folder))
