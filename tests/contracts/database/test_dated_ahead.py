"""Records that are dated later than they arrived, on every engine: said while their time is to come, and for good."""

from datetime import timedelta

import pytest
from sqlalchemy import event

from control_plane.audit_log.dated_ahead import TOLERATED, DatedAhead
from control_plane.audit_log.reading import ChainState
from tests.control_plane.vault.bench import Bench, HostBench

SECOND = timedelta(seconds=1)


def delivered(bench: Bench, ahead: timedelta) -> HostBench:
    """Have a host deliver three records; the last two were made by a clock that is ahead."""
    host = bench.enrol()
    host.note()
    bench.clock.advance(ahead)
    host.note()
    host.note()
    bench.clock.advance(-ahead)
    host.deliver(1, 3)
    return host


def test_records_of_a_time_to_come_are_an_alert_until_then_and_named_by_verification_for_good(bench: Bench) -> None:
    host, said = delivered(bench, 2 * TOLERATED), DatedAhead(bench.database, bench.clock)

    (gap,) = said.gaps()
    assert "CT 1: 2 of its audit records are dated up to 2026-03-01T08:10:00.000000Z, which is to come" in gap
    bench.clock.advance(2 * TOLERATED)
    assert said.gaps() == []
    verdict = bench.reading.prove()[str(host.host_id)]
    assert (verdict.state, verdict.first_bad) == (ChainState.VERIFIED, None)
    assert verdict.why == "2 dated more than 5 minutes later than they arrived, the first is 2"


def test_a_clock_that_is_a_little_ahead_is_nothing_to_look_into(bench: Bench) -> None:
    """The control: who looks at nothing but the order of records would name these too."""
    host = delivered(bench, TOLERATED - SECOND)

    assert DatedAhead(bench.database, bench.clock).gaps() == []
    assert bench.reading.prove()[str(host.host_id)].why == ""


def test_a_host_that_was_offline_for_weeks_is_not_ahead(bench: Bench) -> None:
    host = bench.enrol()
    host.note()
    bench.clock.advance(timedelta(weeks=5))
    host.deliver(1, 1)

    assert DatedAhead(bench.database, bench.clock).gaps() == []
    assert bench.reading.prove()[str(host.host_id)].why == ""


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # which says the same of an empty log as of a full one
def test_what_is_to_come_is_found_without_a_look_at_every_record(bench: Bench) -> None:
    """Each status asks it, of a log of millions."""
    asked = list[tuple[str, tuple[object, ...]]]()
    event.listen(bench.engine, "before_cursor_execute", lambda *of: asked.append((of[2], of[3])))
    DatedAhead(bench.database, bench.clock).gaps()
    ((question, values),) = (one for one in asked if "audit_records" in one[0])

    with bench.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}", values).all()
    assert not [step.detail for step in plan if step.detail.startswith("SCAN audit_records")]
