"""The status shows what a host said as what it does now only for as long as that is so."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text

from control_plane.audit_log.objects import MAX_ENTRY
from control_plane.db.models import Conflict
from shared.fleet.budget import Budget, NotCounted
from shared.fleet.keys import KeyProtection
from shared.fleet.state import CaptureState, FolderState, RouteState
from tests.control_plane.fleet.reporting import Fleet
from tests.shared.fleet.test_budget import FINE


def test_a_host_that_reports_is_capturing_until_it_falls_silent(fleet: Fleet) -> None:
    fleet.report()
    assert fleet.status()[0] == "capturing"

    fleet.clock.advance(timedelta(hours=4))
    state, gaps = fleet.status()
    assert state == "silent"
    assert "CT 2: silent since" in gaps

    fleet.report()
    assert fleet.status()[0] == "capturing"


def test_what_a_host_can_open_and_what_its_own_routes_hold_up_is_said(fleet: Fleet) -> None:
    good, bad = RouteState("pacs", 2, ""), RouteState("second", 1, "PeerUnreachable: nobody is there")
    fleet.report(
        capture=CaptureState(spool_bytes=900, spool_quota_bytes=1000, damaged=1, openable_here=3, routes=(good, bad))
    )

    answer = fleet.answer()
    (host,) = answer["hosts"]
    assert host["openable_here"] == 3
    assert host["routes"] == [good.json(), bad.json()]
    told = [gap for gap in answer["not_evaluated"] if "route" in gap]
    assert told == ["CT 2: route second: 1 images wait on the host: PeerUnreachable: nobody is there"]
    shown = fleet.command("status")[1]
    assert "spool: 900 bytes, 90 % of its quota; 1 damaged or refused" in shown
    assert "openable on this host: 3" in shown
    assert "route second: 1 waiting on this host" in shown


def test_who_tried_to_send_and_what_waits_for_an_answer_is_said(fleet: Fleet) -> None:
    fleet.report(capture=CaptureState(senders_refused=7, commitments_waiting=2))

    (host,) = fleet.answer()["hosts"]
    assert (host["senders_refused"], host["commitments_waiting"]) == (7, 2)
    shown = fleet.command("status")[1]
    assert "interception attempts: 7" in shown
    assert "storage commitments waiting: 2" in shown

    fleet.report(capture=CaptureState())
    quiet = fleet.command("status")[1]
    assert "interception" not in quiet
    assert "commitments" not in quiet


def test_an_export_folder_is_said_with_its_disk_and_one_that_is_missing_is_not_proved(fleet: Fleet) -> None:
    there, gone = FolderState("US1", "memory", 4), FolderState("XA1", "missing", 0)
    fleet.report(capture=CaptureState(folders=(there,)))
    assert [gap for gap in fleet.answer()["not_evaluated"] if "folder" in gap] == []

    fleet.report(capture=CaptureState(folders=(there, gone)))
    assert fleet.answer()["hosts"][0]["export_folders"] == [there.json(), gone.json()]
    shown = fleet.command("status")[1]
    assert "export folder of US1: on memory, 4 waiting" in shown
    assert "export folder of XA1: MISSING, 0 waiting" in shown
    assert "not proved CT 2: the export folder of XA1 is missing" in shown


def test_what_protects_a_host_s_keys_is_said(fleet: Fleet) -> None:
    fleet.report()
    assert [host["keys"] for host in fleet.answer()["hosts"]] == ["file"]
    assert "keys: file (readable by root and by whoever takes the disk)\n" in fleet.command("status")[1]
    fleet.report(keys=KeyProtection.TPM)
    assert [host["keys"] for host in fleet.answer()["hosts"]] == ["tpm"]
    assert "keys: tpm\n" in fleet.command("status")[1]


def test_a_spool_that_is_nearly_full_and_objects_that_stay_in_it_are_said(fleet: Fleet) -> None:
    def about_the_spool(capture: CaptureState) -> list[str]:
        fleet.report(capture=capture)
        return [gap for gap in fleet.answer()["not_evaluated"] if "spool" in gap]

    assert about_the_spool(CaptureState(spool_bytes=1 << 40)) == []
    assert about_the_spool(CaptureState(spool_bytes=799, spool_quota_bytes=1000)) == []
    (nearly_full,) = about_the_spool(CaptureState(spool_bytes=800, spool_quota_bytes=1000))
    assert nearly_full == "CT 2: its spool is 80 % full, and takes no new image once it is full"
    (damaged,) = about_the_spool(CaptureState(damaged=2))
    assert damaged.startswith("CT 2: 2 objects of its spool are not whole or refused by the vault")
    (host,) = fleet.answer()["hosts"]
    assert (host["spool_bytes"], host["spool_used_percent"], host["damaged"]) == (0, None, 2)


def test_a_report_that_a_broker_held_back_is_said_to_be_late(fleet: Fleet) -> None:
    fleet.report(of=timedelta(hours=-1))

    assert "CT 2: its clock is wrong, or its report of" in fleet.status()[1]


def test_a_certificate_that_was_not_renewed_is_named_before_and_after_it_expires(fleet: Fleet) -> None:
    assert "certificate" not in fleet.status()[1]

    fleet.clock.advance(timedelta(days=5, hours=1))
    assert "CT 2: its certificate expires at" in fleet.status()[1]
    fleet.clock.advance(timedelta(days=2))
    assert "nothing it captures is delivered" in fleet.status()[1]


def test_a_log_that_will_be_full_is_not_proved_from_nine_tenths_on(fleet: Fleet) -> None:
    with fleet.database.begin() as session:
        size = session.execute(text("SELECT size FROM log_head")).scalar_one()

    def said_at(size: int) -> list[str]:
        with fleet.database.begin() as session:
            session.execute(text("UPDATE log_head SET size = :size"), {"size": size})
        return [gap for gap in fleet.answer()["not_evaluated"] if "the audit log holds" in gap]

    assert [len(said_at(at)) for at in (MAX_ENTRY * 9 // 10 + 1, MAX_ENTRY * 9 // 10, size)] == [1, 0, 0]


def test_open_conflicts_are_counted_and_said_until_they_are_settled(fleet: Fleet) -> None:
    assert fleet.answer()["objects"]["conflicts"] == 0

    with fleet.database.begin() as session:
        for number, settled in enumerate((None, None, fleet.clock.now())):
            session.add(Conflict(token=bytes([number]), found=fleet.clock.now(), settled=settled))

    answer = fleet.answer()
    assert answer["objects"]["conflicts"] == 2
    assert [line for line in answer["not_evaluated"] if line.startswith("2 SOP Instance UIDs: several data sets")]


def test_what_a_host_takes_is_said_and_loudly_where_it_is_too_much(fleet: Fleet) -> None:
    def budget_of(taken: Budget | None) -> tuple[object, list[str]]:
        fleet.report(budget=taken)
        answer = fleet.answer()
        (host,) = answer["hosts"]
        return host["budget"]["verdict"], [gap for gap in answer["not_evaluated"] if "BUDGET" in gap]

    assert budget_of(None) == ("not evaluated", [])
    assert budget_of(NotCounted("no cgroup v2")) == ("not evaluated", [])
    assert budget_of(FINE) == ("within", [])
    verdict, (gap,) = budget_of(replace(FINE, most_bytes=163 << 20))
    assert (verdict, gap.partition(", ")[0]) == ("exceeded", "CT 2: BUDGET EXCEEDED: 163 of 150 MiB at the most")
    shown = fleet.command("status")[1]
    assert "           budget: EXCEEDED: 163 of 150 MiB at the most" in shown
    fleet.clock.advance(timedelta(hours=4))
    assert fleet.answer()["hosts"][0]["budget"] == {"verdict": "not evaluated", "findings": ["the host is silent"]}
