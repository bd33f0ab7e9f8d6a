import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_agent.database import Database
from edge_agent.devices.journal import GuardJournal, Note
from shared.devices.record import GENESIS, GuardEvent, GuardRecord
from tests.fakes.clock import FakeClock


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "guard.sqlite")) as database:
        yield database


def note(subject: str = "1-1", **fields: str) -> Note:
    return Note(GuardEvent.ATTACHED, subject, fields)


def records(journal: GuardJournal, after: int = 0) -> list[GuardRecord]:
    return [GuardRecord.parse(line) for line in journal.after(after, 1000)]


def assert_chained(found: list[GuardRecord], prev: bytes) -> None:
    for record in found:
        assert record.prev == prev
        prev = record.digest


def test_records_are_numbered_and_each_holds_the_digest_of_the_one_before(database: Database) -> None:
    journal = GuardJournal(database, FakeClock())

    journal.record(note("1-1"), note("1-2"))
    journal.record(note("1-3"))

    found = records(journal)
    assert [(r.number, r.subject) for r in found] == [(1, "1-1"), (2, "1-2"), (3, "1-3")]
    assert_chained(found, GENESIS)


def test_what_was_recorded_is_there_after_a_restart(database: Database) -> None:
    GuardJournal(database, FakeClock()).record(note("1-1"))

    again = GuardJournal(database, FakeClock())

    assert again.record(note("1-2")) == 2
    assert_chained(records(again), GENESIS)


def test_what_is_confirmed_can_still_be_read_and_the_number_never_goes_down(database: Database) -> None:
    journal = GuardJournal(database, FakeClock())
    journal.record(note("1-1"), note("1-2"), note("1-3"))

    journal.confirm(3)
    journal.confirm(1)
    journal.record(note("1-4"))

    assert journal.confirmed() == 3
    assert_chained(records(journal), GENESIS)


@pytest.mark.parametrize("upto", [0, 1, 2])
def test_confirming_what_was_confirmed_writes_nothing(database: Database, tmp_path: Path, upto: int) -> None:
    journal = GuardJournal(database, FakeClock())
    journal.record(note("1-1"), note("1-2"))
    journal.confirm(2)
    with closing(sqlite3.connect(tmp_path / "guard.sqlite")) as beside:
        before = beside.execute("PRAGMA data_version").fetchone()

        journal.confirm(upto)

        assert beside.execute("PRAGMA data_version").fetchone() == before
        journal.record(note("1-3"))
        journal.confirm(3)
        assert beside.execute("PRAGMA data_version").fetchone() != before


def test_confirming_more_than_there_is_confirms_nothing_that_comes_later(database: Database) -> None:
    journal = GuardJournal(database, FakeClock())
    journal.record(note("1-1"))

    journal.confirm(1_000_000)
    journal.record(note("1-2"))

    assert journal.confirmed() == 1
    assert journal.written() == 2


def test_a_journal_that_nobody_confirms_gives_up_the_oldest_and_says_which(database: Database) -> None:
    journal = GuardJournal(database, FakeClock(), most_kept=50)

    for n in range(60):
        journal.record(note(f"1-{n}"))

    found = records(journal)
    gaps = [r for r in found if r.event is GuardEvent.GAP]
    assert len(found) <= 51
    assert gaps
    assert gaps[0].fields["records"].startswith("1 to ")
    assert gaps[0].outcome == 8


def test_what_was_confirmed_goes_without_a_word(database: Database) -> None:
    journal = GuardJournal(database, FakeClock(), most_kept=50)

    for n in range(60):
        journal.record(note(f"1-{n}"))
        journal.confirm(journal.written())

    assert len(records(journal)) <= 50
    assert not [r for r in records(journal) if r.event is GuardEvent.GAP]


def test_hostile_text_of_a_device_cannot_forge_a_line(database: Database) -> None:
    journal = GuardJournal(database, FakeClock())

    journal.record(note("1-1", name='x"}\n{"number":9,\u202e\x00' + "a" * 10_000, serial="\ud800"))

    (record,) = records(journal)
    assert "\n" not in record.fields["name"]
    assert "\u202e" not in record.fields["name"]
    assert len(record.fields["name"]) == 500
