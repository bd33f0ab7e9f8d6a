"""A log that is full takes nothing, says so, and keeps what it has; that it will be is said long before."""

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from control_plane.audit_log.intake import AuditIntake
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.reading import ChainState
from control_plane.audit_log.room import LogRoom
from control_plane.db.models import Fact
from control_plane.db.transactions import in_one_commit
from control_plane.keys import store
from control_plane.tlog.sequencer import LogFull, Sequencer
from shared.audit.events import Action, Event, Happening, Outcome
from shared.identity import CONTROL_PLANE
from tests.control_plane.vault.bench import Bench, HostBench

STARTED = Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS)
TABLES = ("audit_records", "audit_statements", "audit_objects", "audit_pieces", "log_tiles", "log_head")


def journal_with_room(bench: Bench, most: int) -> CentreJournal:
    return CentreJournal(
        bench.database,
        bench.keys.signer(store.JOURNAL),
        Sequencer(bench.keys.log_signer(), most),
        bench.private.sealing,
        bench.clock,
    )


def held(bench: Bench) -> list[object]:
    return [tuple(row) for table in TABLES for row in bench.rows(f"SELECT * FROM {table}")]  # noqa: S608 (ours)


def test_a_batch_that_finds_no_room_is_refused_whole_and_what_fits_is_taken(bench: Bench, host: HostBench) -> None:
    journal = journal_with_room(bench, 6)
    intake = AuditIntake(bench.evidence, journal, bench.clock, bench.moves)
    for _ in range(8):
        host.note()
    intake.take(host.host_id, host.batch(1, 4))
    before = held(bench)

    with pytest.raises(LogFull, match="holds 4 of at most 6 entries"):
        intake.take(host.host_id, host.batch(5, 8))
    assert held(bench) == before

    assert intake.take(host.host_id, host.batch(5, 6)) == 6
    assert bench.reading.prove()[str(host.host_id)].state is ChainState.VERIFIED


def test_the_centre_does_nothing_that_it_cannot_record(bench: Bench) -> None:
    journal = journal_with_room(bench, 2)
    journal.record(STARTED)
    journal.record(STARTED)
    before = held(bench)

    def work(session: Session) -> None:
        session.add(Fact(name="done", value="and never recorded"))
        journal.append(session, STARTED)

    with pytest.raises(LogFull):
        in_one_commit(bench.database, work)
    with pytest.raises(LogFull):
        journal.commits.run(work)

    assert (held(bench), bench.rows("SELECT * FROM facts WHERE name = 'done'")) == (before, [])
    assert bench.reading.prove()[CONTROL_PLANE].state is ChainState.VERIFIED


def test_of_what_is_committed_together_only_what_fits_is_kept(bench: Bench) -> None:
    journal = journal_with_room(bench, 3)
    journal.record(STARTED)

    def enter(count: int) -> Callable[[Session], int]:
        return lambda session: journal.sequencer.enter(session, [bytes(32)] * count)

    def work(session: Session) -> None:
        gathered = journal.sequencer.gather(session)
        assert enter(1)(session) == 1
        with pytest.raises(LogFull, match="holds 2 of at most 3"):
            enter(2)(session)
        assert enter(1)(session) == 2
        gathered.finish()

    in_one_commit(bench.database, work)

    assert bench.rows("SELECT size FROM log_head") == [(3,)]


@pytest.mark.parametrize("size, is_said", [(89, False), (90, True), (100, True), ("ninety", False)])
def test_that_the_log_will_be_full_is_said_well_ahead(bench: Bench, size: object, is_said: bool) -> None:
    bench.journal.record(STARTED)
    bench.sql("UPDATE log_head SET size = :size", size=size)

    said = LogRoom(bench.database, 100).gaps()

    assert [f"holds {size} of at most 100 entries" in line for line in said] == [True] * is_said
