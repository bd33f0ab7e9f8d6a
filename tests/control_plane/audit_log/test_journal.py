"""The centre's own journal: chained, signed, durable, and numbered once whoever writes."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from control_plane.audit_log.journal import CentreJournal, Sealing
from control_plane.audit_log.reading import ChainState
from control_plane.db.transactions import DatabaseUnavailable, in_one_commit
from control_plane.keys import store
from control_plane.tlog.sequencer import Sequencer
from control_plane.vault.object_store import BodyMissing
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import Malformed, Unavailable
from shared.identity import CONTROL_PLANE, ObjectId
from tests.control_plane.vault.bench import Bench
from tests.control_plane.vault.test_receive import fill
from tests.control_plane.vault.tmpfs import small_filesystem

__all__ = ["small_filesystem"]

STARTED = Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS)
OPENED = Happening(Event.OBJECT_OPENED, Action.READ, Outcome.SUCCESS)


def verdict(bench: Bench) -> tuple[int, ChainState]:
    found = bench.reading.verify("A. Admin")[CONTROL_PLANE]
    # The reading is a record itself.
    return found.records - 1, found.state


def test_every_record_is_chained_and_signed(bench: Bench) -> None:
    for _ in range(3):
        bench.journal.record(STARTED)

    assert verdict(bench) == (3, ChainState.VERIFIED)


def test_a_record_outlives_a_kill_right_after_it(bench: Bench) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tests.control_plane.vault.bench import Bench;"
        "from tests.control_plane.audit_log.test_journal import STARTED;"
        "Bench(Path(sys.argv[1])).journal.record(STARTED); os._exit(9)"
    )

    subprocess.run([sys.executable, "-c", script, bench.folder], cwd=Path(__file__).parents[3], check=False)

    assert bench.events() == [Event.SERVER_STARTED]
    assert verdict(bench) == (1, ChainState.VERIFIED)


def test_several_threads_and_processes_number_each_record_once(bench: Bench) -> None:
    # Another journal on a connection of its own stands for another process.
    other = Bench(bench.folder)
    journals = [bench.journal, other.journal, bench.journal, other.journal]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda journal: [journal.record(STARTED) for _ in range(10)], journals))

    assert verdict(bench) == (40, ChainState.VERIFIED)


def test_a_record_joins_the_transaction_of_what_it_records(bench: Bench) -> None:
    def work(session: Session) -> None:
        bench.journal.append(session, STARTED)
        fail()

    with pytest.raises(BodyMissing):
        in_one_commit(bench.database, work)

    assert bench.events() == []


def fail() -> None:
    raise BodyMissing(ObjectId(bytes(16)))


def test_what_comes_from_outside_is_made_one_line(bench: Bench) -> None:
    who = (Participant("ae", "", True), Participant("ae", "CT\n1\x00" + "x" * 300, True))
    what = (Subject("address", "10.0.0.1\x7f"), Subject("address", "\ud800"))
    bench.journal.record(replace(STARTED, who=who, what=what, reason="two\nlines" + "y" * 2000))

    record = bench.last_record()
    assert [p.name for p in record.who] == ["?", "CT\ufffd1\ufffd" + "x" * 195]
    assert [s.name for s in record.what] == ["10.0.0.1\ufffd", "\ufffd"]
    assert record.reason.startswith("two\ufffdlines")
    assert verdict(bench) == (1, ChainState.VERIFIED)


@pytest.mark.parametrize("value", ["x" * 40_000, "\ud800"])
def test_a_private_part_that_cannot_be_kept_is_refused_and_nothing_is_recorded(bench: Bench, value: str) -> None:
    with pytest.raises(Malformed):
        bench.journal.record(replace(STARTED, private={"value": value}))

    assert bench.events() == []


def test_a_private_part_is_sealed_and_opens_with_the_audit_key_only(bench: Bench) -> None:
    bench.journal.record(replace(STARTED, private={"patient": "Grabowski"}))

    (row,) = bench.rows("SELECT public, sealed FROM audit_records")
    assert b"Grabowski" not in row.public + row.sealed
    assert bench.opened(row) == {"patient": "Grabowski"}


def test_without_an_audit_key_a_private_part_is_left_out_and_that_is_said(bench: Bench) -> None:
    journal = CentreJournal(
        bench.database,
        bench.keys.signer(store.JOURNAL),
        Sequencer(bench.keys.log_signer()),
        lambda *_: Sealing(None),
        bench.clock,
    )

    journal.record(replace(STARTED, private={"patient": "Grabowski"}))

    assert "private part not kept" in bench.last_record().reason
    assert bench.rows("SELECT sealed FROM audit_records")[0].sealed is None


# ---- attempts


def test_a_successful_attempt_is_recorded_once(bench: Bench) -> None:
    with bench.journal.attempt(OPENED) as attempt:
        attempt.succeeded(Subject("object", "00"))

    assert bench.events() == [Event.OBJECT_OPENED]
    assert bench.last_record().what == (Subject("object", "00"),)


def test_an_attempt_that_ends_without_success_is_recorded_as_failed(bench: Bench) -> None:
    with bench.journal.attempt(OPENED, failed=Event.OPEN_REFUSED):
        pass

    record = bench.last_record()
    assert (record.event, record.outcome) == (Event.OPEN_REFUSED, Outcome.SERIOUS_FAILURE)
    assert record.reason == "ended without success"


def test_an_attempt_that_fails_with_our_error_names_it(bench: Bench) -> None:
    with pytest.raises(BodyMissing), bench.journal.attempt(OPENED):
        fail()

    assert bench.last_record().reason.startswith("BodyMissing: the object store has no body")


def test_an_attempt_that_fails_unexpectedly_quotes_nothing(bench: Bench) -> None:
    with pytest.raises(RuntimeError), bench.journal.attempt(OPENED):
        raise RuntimeError("Grabowski^Anna")

    record = bench.last_record()
    assert (record.reason, record.outcome) == ("RuntimeError", Outcome.SERIOUS_FAILURE)


# ---- faults


def test_a_full_disk_means_that_nothing_happened(small_filesystem: Path) -> None:
    bench = Bench(small_filesystem / "centre")
    bench.journal.record(STARTED)
    fill(small_filesystem / "filler")

    with pytest.raises(Unavailable):
        record_often(bench, 200)

    (small_filesystem / "filler").unlink()
    bench.journal.record(STARTED)
    assert verdict(bench)[1] is ChainState.VERIFIED


def record_often(bench: Bench, times: int) -> None:
    for _ in range(times):
        bench.journal.record(STARTED)


def test_a_database_that_is_gone_is_said_so(bench: Bench) -> None:
    bench.sql("DROP TABLE audit_statements")

    with pytest.raises(DatabaseUnavailable):
        bench.journal.record(STARTED)
    assert bench.events() == []
