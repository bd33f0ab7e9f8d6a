"""The journal: append-only, chained, durable, one outcome per attempt."""

import shutil
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.audit.journal import Journal
from edge_agent.database import Database, DatabaseUnavailable
from shared.audit.batch import ChainHead, follow, sign_batch, verify_batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord, open_private
from shared.errors import Refused
from tests.fakes.host import Host

STARTED = Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)


class DoorShut(Refused):
    pass


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def test_records_are_chained_and_verify_as_a_signed_batch(host: Host) -> None:
    for _ in range(3):
        host.journal.record(STARTED)

    unsent = host.journal.unsent(most=100, most_bytes=1 << 20)
    assert unsent is not None
    batch = sign_batch(str(host.host_id), unsent.prev, unsent.records, host.signer)
    assert [r.seq for r in verify_batch(batch, str(host.host_id), host.signer.public)] == [1, 2, 3]


def test_a_record_is_on_the_disk_before_record_returns(host: Host, tmp_path: Path) -> None:
    host.journal.record(STARTED)

    # A power cut is the folder as it stands: nothing of the process that wrote it.
    shutil.copytree(host.folder, tmp_path / "after the cut")
    survivor = Database(tmp_path / "after the cut" / "agent.sqlite")
    journal = Journal(survivor, host.host_id, key=lambda: None, clock=host.clock)
    assert journal.head().seq == 1


def test_every_commit_is_synced(host: Host) -> None:
    with host.database.transaction() as connection:
        pragmas = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    # 2 is FULL: https://www.sqlite.org/pragma.html#pragma_synchronous
    assert pragmas == ["wal", 2]


def test_the_chain_goes_on_across_a_restart(host: Host) -> None:
    host.journal.record(STARTED)
    host.restart()
    host.journal.record(STARTED)

    unsent = host.journal.unsent(most=100, most_bytes=1 << 20)
    assert unsent is not None
    head = ChainHead()
    for stored in unsent.records:
        head, _ = follow(head, str(host.host_id), stored)
    assert head == host.journal.head()


@pytest.mark.parametrize("statement", ["DELETE FROM record WHERE seq = 3", "UPDATE record SET public = x'00'"])
def test_refuses_to_forget_what_is_not_confirmed_and_to_change_any_record(host: Host, statement: str) -> None:
    for _ in range(3):
        host.journal.record(STARTED)
    host.journal.acknowledge(2)

    with pytest.raises(sqlite3.IntegrityError, match="append-only"), host.database.transaction() as connection:
        connection.execute(statement)


def test_an_attempt_that_says_nothing_is_a_failure(host: Host) -> None:
    with host.journal.attempt(Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS)):
        pass

    (record,) = host.records()
    assert (record.event, record.outcome) == (Event.IMAGE_CAPTURED, Outcome.SERIOUS_FAILURE)
    assert record.reason == "ended without success"


def test_an_attempt_that_raises_is_recorded_with_our_reason_and_still_raises(host: Host) -> None:
    happening = Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS)
    with pytest.raises(DoorShut), host.journal.attempt(happening, failed=Event.IMAGE_REFUSED):
        raise DoorShut("the door is shut")

    (record,) = host.records()
    assert (record.event, record.reason) == (Event.IMAGE_REFUSED, "DoorShut: the door is shut")


def test_the_text_of_a_foreign_error_never_reaches_the_journal(host: Host) -> None:
    with pytest.raises(ValueError, match="DOE"), host.journal.attempt(STARTED):
        raise ValueError("DOE^JANE 1970-01-01")

    assert host.records()[0].reason == "ValueError"


def test_an_attempt_succeeds_once_and_is_recorded_once(host: Host) -> None:
    with host.journal.attempt(STARTED) as attempt:
        attempt.succeeded(Subject("object", "00"))

    (record,) = host.records()
    assert (record.outcome, record.what) == (Outcome.SUCCESS, (Subject("object", "00"),))


def test_a_private_part_is_sealed_to_the_audit_key_and_to_be_read_nowhere_else(host: Host) -> None:
    host.put_in_force()
    host.journal.record(
        Happening(Event.AGENT_STARTED, Action.READ, Outcome.SUCCESS, private={"sop_instance": "1.2.999"})
    )

    unsent = host.journal.unsent(most=1, most_bytes=1 << 20)
    assert unsent is not None
    assert open_private(unsent.records[0], host.keys.audit) == {"sop_instance": "1.2.999"}
    assert not any(b"1.2.999" in file.read_bytes() for file in host.folder.glob("agent.sqlite*"))


def test_without_a_key_a_private_part_is_left_out_and_the_record_says_so(host: Host) -> None:
    host.journal.record(
        Happening(Event.AGENT_STARTED, Action.READ, Outcome.SUCCESS, private={"sop_instance": "1.2.999"})
    )

    assert host.records()[0].reason.startswith("private part not kept")


@pytest.mark.parametrize("name", ["", "CT\x00\x1b[31m", "\ud800", "A" * 5000])
def test_hostile_names_become_printable_and_the_record_stays_readable(host: Host, name: str) -> None:
    who = (Participant("ae", name, True),)
    host.journal.record(Happening(Event.ASSOCIATION_REFUSED, Action.EXECUTE, Outcome.MINOR_FAILURE, who, reason=name))

    unsent = host.journal.unsent(most=1, most_bytes=1 << 20)
    assert unsent is not None
    assert AuditRecord.parse(unsent.records[0].public).who[0].name


def test_acknowledged_records_stay_and_are_not_sent_again(host: Host) -> None:
    for _ in range(5):
        host.journal.record(STARTED)
    host.journal.acknowledge(3)

    unsent = host.journal.unsent(most=100, most_bytes=1 << 20)
    assert unsent is not None
    assert [AuditRecord.parse(r.public).seq for r in unsent.records] == [4, 5]
    assert host.journal.waiting() == 2
    with host.database.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM record").fetchone() == (5,)


def kept(journal: Journal) -> list[int]:
    found = journal.after(journal.oldest() - 1, most=1_000_000, most_bytes=1 << 30)
    assert found is not None
    return [AuditRecord.parse(record.public).seq for record in found.records]


def test_only_so_many_confirmed_records_are_kept_and_all_that_are_not_confirmed(host: Host) -> None:
    journal = Journal(host.database, host.host_id, key=lambda: None, clock=host.clock, most_confirmed=3)
    for _ in range(9):
        journal.record(STARTED)
    journal.acknowledge(2)
    assert kept(journal) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    journal.acknowledge(6)

    assert kept(journal) == [4, 5, 6, 7, 8, 9]
    assert journal.count(Event.AGENT_STARTED) == 9
    # The chain goes on behind what was let go, and so does its proof.
    unsent = journal.unsent(most=100, most_bytes=1 << 20)
    assert unsent is not None
    batch = sign_batch(str(host.host_id), unsent.prev, unsent.records, host.signer)
    assert [record.seq for record in verify_batch(batch, str(host.host_id), host.signer.public)] == [7, 8, 9]


def test_a_journal_of_before_that_kept_all_for_good_is_bounded_too(host: Host) -> None:
    host.journal.record_all([STARTED] * 5)
    with host.database.transaction() as connection:
        connection.execute(
            "CREATE TRIGGER record_stays BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'append-only'); END"
        )
    journal = Journal(host.database, host.host_id, key=lambda: None, clock=host.clock, most_confirmed=2)
    journal.acknowledge(5)

    assert kept(journal) == [4, 5]


def test_a_journal_that_is_far_too_long_is_cut_some_at_a_time(host: Host) -> None:
    """One of before is brought within its bound while no image waits for that."""
    journal = Journal(host.database, host.host_id, key=lambda: None, clock=host.clock, most_confirmed=2)
    journal.record_all([STARTED] * 2500)
    oldest = []
    for _ in range(4):
        journal.acknowledge(2500)
        oldest.append(journal.oldest())

    assert oldest == [1001, 2001, 2499, 2499]


def test_a_centre_that_lost_records_gets_them_again(host: Host) -> None:
    for _ in range(3):
        host.journal.record(STARTED)
    host.journal.acknowledge(3)
    host.journal.acknowledge(1)

    unsent = host.journal.unsent(most=100, most_bytes=1 << 20)
    assert unsent is not None
    assert AuditRecord.parse(unsent.records[0].public).seq == 2


def test_a_batch_is_cut_by_bytes_and_never_empty(host: Host) -> None:
    for _ in range(3):
        host.journal.record(STARTED)

    unsent = host.journal.unsent(most=100, most_bytes=1)
    assert unsent is not None
    assert len(unsent.records) == 1


def test_a_transaction_that_fails_takes_its_records_with_it(host: Host) -> None:
    def fails_after_recording() -> None:
        with host.database.transaction():
            host.journal.record(STARTED)
            raise DoorShut

    with pytest.raises(DoorShut):
        fails_after_recording()
    assert host.journal.head() == ChainHead()
    assert host.journal.count(Event.AGENT_STARTED) == 0


def test_says_so_when_it_cannot_be_written(host: Host) -> None:
    with host.database.transaction() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    with host.database.transaction() as connection:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for _ in range(200):
            host.journal.record(STARTED)

    with pytest.raises(DatabaseUnavailable):
        fill()


REFUSED = Happening(Event.IMAGE_REFUSED, Action.CREATE, Outcome.MINOR_FAILURE)


def test_what_could_not_be_recorded_on_a_full_disk_is_counted_once_there_is_room(host: Host) -> None:
    host.fill(REFUSED)
    for happening in (REFUSED, STARTED):
        host.clock.advance(timedelta(hours=1))
        with pytest.raises(DatabaseUnavailable):
            host.journal.record(happening)
    host.make_room()
    host.clock.advance(timedelta(hours=1))
    host.journal.record(STARTED)
    host.journal.record(STARTED)

    told, *after = host.records()[-3:]
    assert [record.event for record in after] == [Event.AGENT_STARTED] * 2
    assert (told.event, told.outcome) == (Event.RECORDS_UNWRITTEN, Outcome.SERIOUS_FAILURE)
    assert told.reason == (
        "3 records could not be written between 2026-03-01T08:00:00.000000Z and 2026-03-01T10:00:00.000000Z"
    )
    assert told.what == (Subject("fact", "capture.image-refused: 2"), Subject("fact", "agent.started: 1"))


def test_it_is_told_where_nothing_else_is_to_be_recorded(host: Host) -> None:
    host.fill(REFUSED)
    with pytest.raises(DatabaseUnavailable):
        host.journal.make_up()
    host.make_room()

    assert [host.journal.make_up() for _ in range(2)] == [True, False]
    assert host.events()[-2:] == [Event.IMAGE_REFUSED, Event.RECORDS_UNWRITTEN]
    assert host.records()[-1].reason.startswith("1 records could not be written")


def test_what_a_transaction_was_to_record_is_not_counted_as_it_is_done_again_as_a_whole(host: Host) -> None:
    host.fill(REFUSED)
    with pytest.raises(DatabaseUnavailable), host.database.transaction():
        host.journal.record(STARTED)
    host.make_room()
    host.journal.make_up()

    assert host.records()[-1].what == (Subject("fact", "capture.image-refused: 1"),)


@pytest.mark.parametrize(
    "before, is_clean",
    [
        ([], None),
        ([Event.AGENT_STARTED], False),
        ([Event.AGENT_STARTED, Event.IMAGE_CAPTURED], False),
        ([Event.AGENT_STARTED, Event.AGENT_STOPPED], True),
        ([Event.AGENT_STARTED, Event.AGENT_STOPPED, Event.SPOOL_EXPORTED], True),
        ([Event.AGENT_STARTED, Event.AGENT_STOPPED, Event.AGENT_STARTED], False),
    ],
)
def test_tells_whether_the_last_run_recorded_its_stop(host: Host, before: list[Event], is_clean: bool | None) -> None:
    for event in before:
        host.journal.record(replace(STARTED, event=event))

    assert host.journal.stopped_cleanly() is is_clean


def test_a_run_so_long_that_the_record_of_its_start_was_let_go_did_not_record_its_stop(host: Host) -> None:
    journal = Journal(host.database, host.host_id, key=lambda: None, clock=host.clock, most_confirmed=2)
    journal.acknowledge([journal.record(STARTED), *(journal.record(REFUSED) for _ in range(9))][-1])
    journal.acknowledge(journal.head().seq)

    assert journal.oldest() > 1
    assert journal.stopped_cleanly() is False


def test_counts_by_event_survive_a_restart(host: Host) -> None:
    host.journal.record(STARTED)
    host.journal.record(STARTED)
    host.restart()

    assert host.journal.count(Event.AGENT_STARTED, Event.AGENT_STOPPED) == 2
