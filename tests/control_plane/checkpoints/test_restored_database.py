"""Somebody puts yesterday's database back, of before a host was revoked: nobody gets a certificate by that."""

import json
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from control_plane.backup.restored import RESTORED, Restored, RestoreSettling
from control_plane.checkpoints import rows
from control_plane.checkpoints.guard import STOPPED, THE_MARK, LogGuard
from control_plane.db.models import Fact
from edge_agent.enrol.enroller import CodeRefused
from edge_agent.https import DoorUnavailable
from shared.audit.batch import sign_batch
from shared.audit.checkpoint import loss_subject, tree_subject
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.audit.record import GENESIS, compose
from shared.identity import CONTROL_PLANE
from tests.control_plane.checkpoints.ward import Host, Ward
from tests.control_plane.http.test_doors import issue_code
from tests.shared.made import HOST_SIGNER, NOW


def put_back(ward: Ward, *, with_mark: bool, busy: int = 20) -> tuple[Host, Host]:
    """Enrol A and B, copy the database, revoke A, do `busy` other things, and put the copy back."""
    a, b = ward.enrol("CT A"), ward.enrol("CT B")
    copied = ward.copy()
    ward.revoke(a)
    for _ in range(busy):
        issue_code(ward.door)
    b.witness.ask()
    ward.restore(copied, with_mark=with_mark)
    return a, b


@pytest.mark.parametrize("with_mark", [True, False], ids=["the mark finds it", "a host finds it"])
def test_restoring_yesterdays_database_revives_nobody(ward: Ward, with_mark: bool) -> None:
    a, b = put_back(ward, with_mark=with_mark)
    if not with_mark:
        b.witness.ask()

    for host in (a, b):
        with pytest.raises(DoorUnavailable, match="503: Issuing stopped"):
            host.renewal.renew()
    with pytest.raises(DoorUnavailable, match="503: Issuing stopped"):
        ward.enrol("CT C")
    seen_by = THE_MARK if with_mark else str(b.host_id)
    assert f"centre's log: {seen_by} saw number " in ward.gaps()
    assert "revocations among them are unknown" in ward.gaps()


def test_without_the_guard_the_revoked_host_renews(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this as the control: what keeps it out is the guard."""
    monkeypatch.setattr(LogGuard, "verify_may_issue", lambda _guard, _session: None)
    a, _ = put_back(ward, with_mark=True)

    a.renewal.renew()


def test_a_loss_that_a_row_alone_says_was_accepted_stops_issuing_still(ward: Ward) -> None:
    _, b = put_back(ward, with_mark=True)
    b.witness.ask()
    with closing(sqlite3.connect(ward.folders.database)) as database:
        database.execute("UPDATE log_losses SET accepted = found, accepted_by = 'ada'")
        database.execute("UPDATE tree_losses SET accepted = found, accepted_by = 'ada', accepted_seq = 1000000")
        database.commit()

    with pytest.raises(DoorUnavailable, match="503: Issuing stopped"):
        b.renewal.renew()
    shown = json.loads(ward.people("GET", "/api/v1/log/witnesses").body)
    assert {one["accepted_by"] for one in shown["findings"]} == {None}


def test_a_record_of_an_acceptance_that_the_journal_never_signed_ends_no_loss(ward: Ward) -> None:
    _, b = put_back(ward, with_mark=True)
    b.witness.ask()
    what = (loss_subject(1, 10**9), tree_subject(10**9))
    made = Happening(
        Event.LOG_LOSS_ACCEPTED, Action.EXECUTE, Outcome.SUCCESS, (Participant("person", "ada", True),), what
    )
    one = compose(made, source=CONTROL_PLANE, seq=1, prev=GENESIS, time=NOW, salt=bytes(32), key=None)
    signed = sign_batch(CONTROL_PLANE, GENESIS, [one], HOST_SIGNER).statement
    with closing(sqlite3.connect(ward.folders.database)) as database:
        record = "UPDATE audit_records SET public = ?, leaf = ? WHERE source = 'control-plane' AND seq = 1"
        database.execute(record, (one.public, one.leaf))
        statement = "UPDATE audit_statements SET statement = ? WHERE source = 'control-plane' AND last = 1"
        database.execute(statement, (signed,))
        database.execute("INSERT INTO audit_subjects VALUES ('log', 'x', 'log.loss-accepted', 'control-plane', 1)")
        for table in ("log_losses", "tree_losses"):
            database.execute(f"UPDATE {table} SET accepted = found, accepted_by = 'ada'")  # noqa: S608 (ours)
        database.commit()

    with pytest.raises(DoorUnavailable, match="503: Issuing stopped"):
        b.renewal.renew()
    shown = json.loads(ward.people("GET", "/api/v1/log/witnesses").body)
    assert {one["accepted_by"] for one in shown["findings"]} == {None}


def test_a_host_shows_that_the_log_shrank_and_keeps_what_it_saw(ward: Ward) -> None:
    _, b = put_back(ward, with_mark=False)
    saw = b.store.held().checkpoint
    b.witness.ask()
    b.witness.ask()

    assert saw is not None
    assert b.said.startswith(f"shrank from {saw.seq} to ")
    assert b.store.held().checkpoint == saw


def test_status_shows_what_a_host_says_of_the_log_and_of_its_renewal(ward: Ward) -> None:
    _, b = put_back(ward, with_mark=False)
    b.report(1)
    before = ward.gaps()
    b.witness.ask()
    b.renewal._error = "DoorUnavailable: status 503: Issuing stopped"  # as its part leaves it
    b.report(2)

    assert "CT B: centre's log: " not in before
    assert "CT B: centre's log: shrank from " in ward.gaps()
    assert "CT B: its certificate is due and was not renewed: DoorUnavailable: status 503" in ward.gaps()


def test_a_restore_that_says_so_of_itself_stops_issuing_too(ward: Ward) -> None:
    b = ward.enrol("CT B")
    as_restored(ward)
    with pytest.raises(DoorUnavailable, match="Issuing stopped"):
        b.renewal.renew()
    assert "centre's log: the database was restored (from backup 20261128T220017Z-47f7), and what was" in ward.gaps()
    ward.people("POST", "/api/v1/log/accept-loss", {"reason": "planned"})

    b.renewal.renew()
    assert ward.people("POST", "/api/v1/log/accept-loss", {"reason": "again"}).status == 409


def as_restored(ward: Ward, label: str = "20261128T220017Z-47f7") -> None:
    """Note what a restore notes in the database that it wrote."""
    now = ward.clock.now()
    with ward.door.centre._database.begin() as session:
        session.merge(Fact(name=RESTORED, value=Restored(label, now - timedelta(days=1), 1, now).text()))
        session.merge(Fact(name=STOPPED, value=f"from backup {label}"))


def test_who_accepts_what_the_log_lost_has_not_settled_what_else_a_restore_left_open(ward: Ward) -> None:
    as_restored(ward)
    ward.people("POST", "/api/v1/log/accept-loss", {"reason": "planned"})
    still_open = ward.gaps()
    RestoreSettling(ward.door.centre._database, ward.door.centre._journal).settle("ada", "looked into it")

    assert "restored from backup 20261128T220017Z-47f7: what was done after" in still_open
    assert "restored from backup" not in ward.gaps()


def test_a_second_restore_stops_issuing_once_more(ward: Ward) -> None:
    b = ward.enrol("CT B")
    as_restored(ward)
    ward.people("POST", "/api/v1/log/accept-loss", {"reason": "planned"})
    as_restored(ward, "20261129T220017Z-11aa")

    with pytest.raises(DoorUnavailable, match="Issuing stopped"):
        b.renewal.renew()


def test_a_host_shows_that_the_log_grew_again_with_other_records(ward: Ward) -> None:
    _, b = put_back(ward, with_mark=False, busy=0)
    saw = b.store.held().checkpoint
    b.witness.ask()

    assert saw is not None
    assert b.said.startswith("forked: ")
    assert f"number {saw.seq} is not what it was" in b.said
    assert b.store.held().checkpoint == saw


def test_what_was_found_outlives_a_restart_and_is_known_before_anybody_asks(ward: Ward) -> None:
    a, b = put_back(ward, with_mark=False)
    b.witness.ask()
    ward.stop()
    ward.folders.log_mark.unlink(missing_ok=True)
    ward.start()

    with pytest.raises(DoorUnavailable, match="Issuing stopped"):
        a.renewal.renew()


@pytest.mark.parametrize("with_list", [True, False])
def test_whom_the_list_beside_the_root_key_names_stays_revoked_after_the_loss_is_accepted(
    ward: Ward, with_list: bool
) -> None:
    """The control is the same without the list: whoever accepts the loss has to know it by themselves."""
    a, b = ward.enrol("CT A"), ward.enrol("CT B")
    copied = ward.copy()
    ward.revoke(a)
    ward.restore(copied, with_mark=True, with_list=with_list)
    ward.people("POST", "/api/v1/log/accept-loss", {"reason": "the disk broke, ticket 9"})
    b.renewal.renew()

    if with_list:
        with pytest.raises(DoorUnavailable, match="403"):
            a.renewal.renew()
        assert f"{a.host_id}: its row said active; it is revoked" in ward.gaps()
    else:
        a.renewal.renew()


@pytest.mark.parametrize("busy", [0, 20], ids=["forked", "shrank"])
def test_once_a_person_accepts_the_loss_everybody_goes_on_and_no_number_is_given_twice(ward: Ward, busy: int) -> None:
    _, b = put_back(ward, with_mark=False, busy=busy)
    b.witness.ask()
    saw = b.store.held().checkpoint
    assert saw is not None
    answer = ward.people("POST", "/api/v1/log/accept-loss", {"reason": "the disk broke, ticket 9"})
    lost = json.loads(answer.body)
    b.witness.ask()
    b.renewal.renew()
    went_on = b.store.held()

    verified = json.loads(ward.people("POST", "/api/v1/audit/verify", {}).body)["control-plane"]
    export = ward.people("GET", "/api/v1/audit/export")

    assert (answer.status, lost["last"]) == (200, saw.seq)
    assert (verified["state"], verified["first_bad"]) == ("verified", None)
    assert bool(verified["why"]) == bool(busy)
    assert export.status == 200
    assert b'"records":[]' not in export.body
    assert 0 < lost["first"] <= saw.seq
    assert went_on.said == ""
    assert went_on.checkpoint is not None
    assert went_on.checkpoint.seq > saw.seq
    assert "centre's log: " not in ward.gaps().replace(f"centre's log: {THE_MARK} was missing", "")
    ward.stop()
    ward.start()
    assert "centre's log: " not in ward.gaps()


def test_a_code_that_was_used_within_what_is_lost_is_not_good_once_more(ward: Ward) -> None:
    """The control is a code of after the loss."""
    code = issue_code(ward.door, "CT B")
    copied = ward.copy()
    ward.enrol_with(code, "CT B")
    ward.restore(copied, with_mark=True, with_list=True)
    ward.people("POST", "/api/v1/log/accept-loss", {"reason": "the disk broke"})

    with pytest.raises(CodeRefused):
        ward.enrol_with(code, "CT B", again=True)
    ward.enrol("CT C")


def test_nothing_is_accepted_where_nothing_is_lost(ward: Ward) -> None:
    answer = ward.people("POST", "/api/v1/log/accept-loss", {"reason": "to be sure"})

    assert answer.status == 409


def test_a_log_that_lost_nothing_is_no_finding(ward: Ward) -> None:
    """Keep this as the control: a start with the mark, and a host that saw everything, find nothing."""
    b = ward.enrol("CT B")
    b.witness.ask()
    ward.stop()
    ward.start()
    b.witness.ask()

    b.renewal.renew()
    assert b.said == ""
    assert "centre's log" not in ward.gaps()


def test_the_mark_is_moved_up_by_each_issue_and_each_revocation_at_once(ward: Ward) -> None:
    marks = []
    host = ward.enrol("CT A")
    for act in (lambda: None, host.renewal.renew, lambda: ward.revoke(host)):
        act()
        with ward.door.centre._database() as session:
            newest = rows.newest_statement(session)
        marks.append((ward.folders.log_mark.read_bytes(), newest))

    assert [mark for mark, _ in marks] == [newest for _, newest in marks]
    assert len({mark for mark, _ in marks}) == 3


def test_a_copy_that_is_put_back_once_more_is_found_once_more(ward: Ward) -> None:
    """What was found is in the database that is put back, too; the mark stays where it was until it is accepted."""
    a, _ = put_back(ward, with_mark=True)
    mark = ward.folders.log_mark.read_bytes()
    (copied,) = ward.folder.glob("yesterday.sqlite")
    ward.restore(copied, with_mark=True, with_list=True)

    with pytest.raises(DoorUnavailable, match="Issuing stopped"):
        a.renewal.renew()
    assert ward.folders.log_mark.read_bytes() == mark
