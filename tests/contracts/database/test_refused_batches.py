"""Refused audit records are a line of the status, on every engine: what was signed otherwise for a week."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from control_plane.audit_log.refused_batches import LOOKED_BACK, RefusedBatches
from control_plane.db.driver import blob
from shared.audit.record import AuditRecord
from shared.errors import IntegrityFailure, Refused
from tests.control_plane.audit_log.test_intake import forked
from tests.control_plane.vault.bench import Bench, HostBench, new_signer

SECOND = timedelta(seconds=1)


def gaps(bench: Bench) -> list[str]:
    return RefusedBatches(bench.database, bench.clock).gaps()


def delivered(bench: Bench) -> HostBench:
    host = bench.enrol()
    for _ in range(6):
        host.note()
    host.deliver(1, 3)
    return host


def sent(bench: Bench, host: HostBench, batch: bytes) -> None:
    with suppress(Refused, IntegrityFailure):
        bench.audit.take(host.host_id, batch)


@pytest.mark.parametrize(
    "forge, named",
    [
        (lambda host: forked(host, 3, 6).batch(3, 5), "AuditForked: audit record 4 of"),
        (lambda host: host.batch(4, 5, signer=new_signer()), "WrongSigner: "),
    ],
    ids=["a rewritten past", "another key"],
)
def test_what_was_signed_otherwise_is_an_alert_for_a_week_whatever_comes_afterwards(
    bench: Bench, forge: Callable[[HostBench], bytes], named: str
) -> None:
    host = delivered(bench)
    sent(bench, host, forge(host))
    host.deliver(4, 6)

    (gap,) = gaps(bench)
    assert "audit records that it sent were refused at 2026-03-01T08:" in gap
    assert named in gap
    bench.clock.advance(LOOKED_BACK + SECOND)
    assert gaps(bench) == []


def test_a_gap_that_came_afterwards_does_not_hide_another_story(bench: Bench) -> None:
    host = delivered(bench)
    sent(bench, host, forked(host, 3, 6).batch(3, 5))
    sent(bench, host, host.batch(5, 6))

    (gap,) = gaps(bench)
    assert "AuditForked: " in gap


def test_records_that_are_missing_are_an_alert_until_they_come(bench: Bench) -> None:
    host = delivered(bench)
    sent(bench, host, host.batch(5, 6))

    (gap,) = gaps(bench)
    assert "record 4 has not arrived" in gap
    host.deliver(4, 6)
    assert gaps(bench) == []


def test_a_batch_of_another_host_is_an_alert_of_who_sent_it_whatever_that_one_sends_of_its_own(bench: Bench) -> None:
    host, other = delivered(bench), delivered(bench)
    sent(bench, other, host.batch(4, 6))
    other.deliver(4, 6)
    sent(bench, other, host.batch(4, 6))  # which is no record any more

    (gap,) = gaps(bench)
    assert f"{other.host_id} sent audit records of {host.host_id}" in gap


def test_records_that_come_again_as_they_were_are_nothing_to_look_into(bench: Bench) -> None:
    """The control: an answer is lost now and then."""
    host = delivered(bench)
    host.deliver(1, 3)
    host.deliver(2, 6)

    assert gaps(bench) == []


@pytest.mark.parametrize("public", [b"{}", None], ids=["no record", "a record of nobody"])
def test_a_refusal_that_was_edited_keeps_nothing_else_off_the_status(bench: Bench, public: bytes | None) -> None:
    for host in (delivered(bench), delivered(bench)):
        sent(bench, host, host.batch(5, 6))
    (entry, held) = bench.rows(
        "SELECT entry, public FROM audit_records WHERE event = 'audit.batch-refused' ORDER BY entry LIMIT 1"
    )[0]
    nobody = replace(AuditRecord.parse(blob(held)), who=()).encode()
    with bench.engine.begin() as connection:
        edit = text("UPDATE audit_records SET public = :public WHERE entry = :entry")
        connection.execute(edit, {"public": public or nobody, "entry": entry})

    assert len(gaps(bench)) == 1


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_host_that_was_refused_often_is_looked_up_once(bench: Bench) -> None:
    host, asked = delivered(bench), list[str]()
    for first in (5, 6, 5, 6):
        sent(bench, host, host.batch(first, 6))
    host.deliver(4, 6)
    event.listen(bench.engine, "before_cursor_execute", lambda *of: asked.append(of[2]))

    assert gaps(bench) == []
    assert len([one for one in asked if "audit_records" in one]) == 2


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)  # which says the same of an empty log as of a full one
def test_refusals_are_found_without_a_look_at_every_record(bench: Bench) -> None:
    """Each status asks it, of a log of millions."""
    asked = list[tuple[str, tuple[object, ...]]]()
    event.listen(bench.engine, "before_cursor_execute", lambda *of: asked.append((of[2], of[3])))
    gaps(bench)
    ((question, values),) = (one for one in asked if "audit_records" in one[0])

    with bench.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}", values).all()
    assert not [step.detail for step in plan if step.detail.startswith("SCAN audit_")]
