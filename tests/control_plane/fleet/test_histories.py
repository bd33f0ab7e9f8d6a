"""One machine is told from two that report under one identity, and a disk that was put back from one that went on."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from control_plane.db.models import AuditRow, LostObject, Object
from control_plane.fleet.histories import MOST_RUNS, History, Known, Run, follow
from control_plane.fleet.reports import Report
from control_plane.fleet.states import StateReplayed
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.fleet.state import HostState
from shared.identity import ObjectId
from tests.control_plane.fleet.reporting import HOST, Fleet
from tests.fakes.clock import FakeClock

A, B = "a" * 32, "b" * 32


@dataclass
class Centre:
    """What the centre knows, fed report by report; a machine's clock is `ahead` of the centre's."""

    clock: FakeClock = field(default_factory=FakeClock)
    known: Known = field(default_factory=Known)

    def hears(
        self, run: str, number: int, *, made: datetime | None = None, ahead: timedelta = timedelta(), captured: int = 9
    ) -> History:
        self.clock.advance(timedelta(minutes=2))
        time = (made or self.clock.now()) + ahead
        state = HostState(HOST, number, time, "test", 0, 0, "", True, 0, captured, 0, 0, 0, run=run)
        report = Report.of(state, state.encode())
        history, runs = follow(self.known, report, self.clock.now())
        if history is not History.REPEATED:
            self.known = Known(report, runs)
        return history


def test_a_machine_that_starts_anew_goes_on() -> None:
    centre = Centre()
    heard = [centre.hears(A, 1), centre.hears(A, 2), centre.hears(B, 3), centre.hears(B, 7)]
    assert heard == [History.GOES_ON] * 4


def test_a_disk_that_was_put_back_is_restored() -> None:
    centre = Centre()
    for number in range(1, 10):
        centre.hears(A, number)
    assert centre.hears(B, 4) is History.RESTORED
    assert centre.hears(B, 5) is History.GOES_ON


def test_a_copy_that_runs_beside_the_first_one_is_a_clone_from_the_first_s_next_report_on() -> None:
    centre = Centre()
    centre.hears(A, 1)
    assert centre.hears(B, 2) is History.GOES_ON
    assert centre.hears(A, 2) is History.CLONED
    assert centre.hears(B, 3) is History.GOES_ON
    assert centre.hears(A, 3) is History.CLONED


def test_reports_that_come_late_or_twice_prove_nothing() -> None:
    centre = Centre()
    centre.hears(A, 1)
    held_back = centre.clock.now() + timedelta(minutes=1)
    centre.hears(A, 3)
    centre.hears(B, 5)
    assert centre.hears(A, 1, made=held_back - timedelta(minutes=1)) is History.REPEATED
    assert centre.hears(A, 4, made=held_back) is History.REPEATED
    assert centre.hears("c" * 32, 2, made=held_back) is History.REPEATED
    assert centre.hears(B, 5, made=centre.clock.now()) is not History.GOES_ON


@pytest.mark.parametrize("first", [timedelta(), timedelta(hours=-3), timedelta(days=2)])
@pytest.mark.parametrize("copy", [timedelta(), timedelta(hours=-3), timedelta(days=2)])
def test_a_clone_is_found_whatever_the_two_clocks_show(first: timedelta, copy: timedelta) -> None:
    centre = Centre()
    for number in (1, 2):
        assert centre.hears(A, number, ahead=first) is History.GOES_ON
    assert centre.hears(B, 3, ahead=copy) is History.GOES_ON
    assert centre.hears(A, 3, ahead=first) is History.CLONED


def test_two_machines_that_were_resumed_from_one_image_give_one_number_to_two_reports() -> None:
    centre = Centre()
    centre.hears(A, 7)
    assert centre.hears(A, 7, captured=10) is History.CLONED


def test_control_without_the_run_a_clone_is_not_told_from_one_machine() -> None:
    centre = Centre()
    assert [centre.hears("", number) for number in (1, 2, 3, 4)] == [History.GOES_ON] * 4
    assert centre.hears("", 3) is History.REPEATED


# None is as far off as a report is held back here, or an old one could look like a new one of another clock.
CLOCK_SET = st.sampled_from([timedelta(), timedelta(days=-30), timedelta(days=400), timedelta(days=-400)])


@given(st.lists(st.tuples(st.integers(1, 5), CLOCK_SET), min_size=1, max_size=30), st.data())
def test_one_machine_is_never_called_cloned_whatever_its_clock_and_the_broker_do(
    runs: list[tuple[int, timedelta]], data: st.DataObject
) -> None:
    centre, number = Centre(), 0
    held_back: list[tuple[str, int, datetime, timedelta]] = []
    heard = set[History]()
    for run, (reports, ahead) in enumerate(runs):
        for nth in range(reports):
            number += 1
            report = (f"{run:032x}", number, centre.clock.now() + timedelta(minutes=2), ahead)
            # The first report of a run gets through, by which the centre knows its clock.
            if nth and data.draw(st.booleans()):
                held_back.append(report)
                continue
            heard.add(centre.hears(report[0], report[1], made=report[2], ahead=ahead))
        for name, late, made, ahead_then in data.draw(st.permutations(held_back))[:5]:
            heard.add(centre.hears(name, late, made=made, ahead=ahead_then))

    assert heard <= {History.GOES_ON, History.REPEATED}
    assert len(centre.known.runs) <= MOST_RUNS


def test_a_run_reads_back() -> None:
    run = Run(A, FakeClock().now(), 7, -3)
    assert Run.parse(run.json()) == run


def test_a_clone_is_said_recorded_once_and_settled_by_a_named_person(fleet: Fleet) -> None:
    for run, number in ((A, 1), (B, 2), (A, 2), (B, 3), (A, 3)):
        fleet.clock.advance(timedelta(minutes=2))
        fleet.report(run=run, number=number)

    answer = fleet.answer()
    assert answer["hosts"][0]["doubt"] == "cloned"
    (told,) = [gap for gap in answer["not_evaluated"] if "cloned" in gap]
    assert f"settle-host {HOST}" in told
    assert "cloned" in fleet.get("/")[1]
    assert events(fleet).count(Event.HOST_CLONED) == 1
    assert reason(fleet, Event.HOST_CLONED) == (
        "report 2 of a run that had been followed by another, or that gave this number to another report"
    )

    assert fleet.command("settle-host", str(HOST), "--reason", "the copy was switched off")[0] == 0
    assert fleet.answer()["hosts"][0]["doubt"] == ""
    assert events(fleet).count(Event.HOST_SETTLED) == 1
    assert fleet.command("settle-host", str(HOST), "--reason", "again")[0] != 0


@pytest.mark.parametrize("run, number, is_told", [(B, 2, False), (A, 6, True)], ids=["it went back", "it goes on"])
def test_a_host_that_went_back_is_told_again_of_what_the_vault_lost(
    fleet: Fleet, run: str, number: int, is_told: bool
) -> None:
    for earlier in range(1, 6):
        fleet.clock.advance(timedelta(seconds=5))
        fleet.report(run=A, number=earlier)
    name, now = str(ObjectId.new()), fleet.clock.now()
    with fleet.database.begin() as session:
        session.add(
            Object(
                object_id=name, host_id=str(HOST), binding=b"", record=b"", record_sha256=b"", sealed_index=b"",
                index_state="indexed", body_bytes=0, received=now, receipt=b"",
            )
        )  # fmt: skip
        session.flush()
        session.add(LostObject(object_id=name, host_id=str(HOST), dataset_sha256=b"", found=now, told=now))

    fleet.clock.advance(timedelta(seconds=5))
    fleet.report(run=run, number=number)

    with fleet.database() as session:
        assert (session.get_one(LostObject, name).told is not None) == is_told


def test_a_restored_host_is_said_and_its_reports_are_taken(fleet: Fleet) -> None:
    for number in range(1, 6):
        fleet.clock.advance(timedelta(seconds=5))
        fleet.report(run=A, number=number)
    fleet.clock.advance(timedelta(seconds=5))
    fleet.report(run=B, number=2)

    host = fleet.answer()["hosts"][0]
    assert (host["doubt"], host["state"]) == ("restored", "capturing")
    assert events(fleet).count(Event.HOST_RESTORED) == 1
    assert reason(fleet, Event.HOST_RESTORED) == "report 2 of a start at which report 5 had been given before"
    with pytest.raises(StateReplayed):
        fleet.report(run=B, number=2)


def records(fleet: Fleet) -> list[AuditRecord]:
    with fleet.database() as session:
        return [AuditRecord.parse(public) for public in session.scalars(select(AuditRow.public))]


def events(fleet: Fleet) -> list[str]:
    return [record.event.value for record in records(fleet)]


def reason(fleet: Fleet, event: Event) -> str:
    (told,) = [record.reason for record in records(fleet) if record.event is event]
    return told
