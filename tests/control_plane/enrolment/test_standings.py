"""Whom the log revoked stays revoked, whatever somebody writes into the hosts' rows."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from control_plane.db.models import AuditRow, Host
from control_plane.enrolment.revocation import Revocation
from control_plane.enrolment.revoked_file import RevokedFile
from control_plane.enrolment.standing import Standing
from control_plane.enrolment.standing_log import EFFECTS, Stands, fold, with_kept
from control_plane.enrolment.standings import Standings
from control_plane.keys import store
from edge_agent.https import DoorUnavailable
from shared.audit.events import Action, Event, Outcome, Subject
from shared.audit.record import AuditRecord
from shared.identity import CONTROL_PLANE, HostId
from tests.control_plane.checkpoints.ward import Ward
from tests.control_plane.enrolment.test_enrolment import DOORS, Centre, a_request

HOSTS = [HostId.new(), HostId.new()]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.close()


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def enrolled(centre: Centre) -> HostId:
    return centre.enroller.enrol(a_request(centre.code().code.secret), DOORS).host_id


def standings(centre: Centre, told: list[HostId] | None = None) -> Standings:
    own = centre.keys.signer(store.JOURNAL).public
    kept = RevokedFile(centre.folder / "revoked.json")
    return Standings(centre.database, centre.journal, own, kept, (told if told is not None else []).append)


def call_active(centre: Centre, host: HostId) -> None:
    with centre.database.begin() as session:
        session.execute(update(Host).where(Host.host_id == str(host)).values(standing=Standing.ACTIVE))


def is_active(centre: Centre, host: HostId) -> bool:
    with centre.database() as session:
        row = session.get(Host, str(host))
    return row is not None and row.active


def test_a_row_that_says_active_of_a_host_that_the_log_revoked_is_put_right(centre: Centre) -> None:
    revoked, staying, told = enrolled(centre), enrolled(centre), list[HostId]()
    centre.revoke(revoked)
    call_active(centre, revoked)
    found = standings(centre, told)
    put_right = found.rebuild()

    assert put_right == (revoked,)
    assert told == [revoked]
    assert (is_active(centre, revoked), is_active(centre, staying)) == (False, True)
    assert centre.events()[-1] is Event.STANDING_PUT_RIGHT
    assert f"{revoked}: its row said active" in found.gaps()[0]
    assert found.rebuild() == ()
    assert len(found.gaps()) == 1


def test_a_revocation_that_was_only_tried_revokes_nobody(centre: Centre) -> None:
    host = enrolled(centre)
    record = AuditRecord(
        CONTROL_PLANE, 9, bytes(32), datetime(2026, 11, 29, tzinfo=UTC), Event.HOST_REVOKED, Action.UPDATE,
        Outcome.MINOR_FAILURE, (), (Subject("host", str(host)),), "", None,
    )  # fmt: skip

    assert fold([record]) == {}
    assert fold([replace(record, outcome=Outcome.SUCCESS)]) == {host: Stands(Standing.REVOKED, 9)}


def test_a_record_that_was_taken_out_is_said_to_be_missing(centre: Centre) -> None:
    host, _ = enrolled(centre), enrolled(centre)
    centre.revoke(host)
    call_active(centre, host)
    with centre.database.begin() as session:
        session.execute(delete(AuditRow).where(AuditRow.seq == 2))
    found = standings(centre)
    found.rebuild()

    assert "record 3 does not follow 1; revocations may be missing before it" in found.gaps()[-1]


def test_a_record_of_nobodys_revokes_nobody(centre: Centre) -> None:
    """The control is the first test: the same words under the centre's signature do."""
    host = enrolled(centre)
    with centre.database.begin() as session:
        row = session.get(AuditRow, (CONTROL_PLANE, 1))
        assert row is not None
        forged = AuditRecord.parse(row.public)
        row.public = replace(forged, event=Event.HOST_REVOKED).encode()
    found = standings(centre)
    found.rebuild()

    assert is_active(centre, host)
    assert "record 1, of how a host stands, is not proved" in found.gaps()[0]


def test_the_list_beside_the_root_key_is_undone_by_a_later_record_alone() -> None:
    a, b = HOSTS
    stands = {a: Stands(Standing.ACTIVE, 5), b: Stands(Standing.ACTIVE, 9)}

    assert with_kept(stands, {a: 7, b: 7}) == {a: Stands(Standing.REVOKED, 7), b: Stands(Standing.ACTIVE, 9)}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"revoked":{"x":1},"v":1}', b'{"revoked":{},"v":2}'])
def test_a_list_that_cannot_be_read_is_said_and_left_alone(centre: Centre, content: bytes) -> None:
    host = enrolled(centre)
    centre.revoke(host)
    file = centre.folder / "revoked.json"
    file.write_bytes(content)
    found = standings(centre)
    found.keep()
    found.rebuild()

    assert "the list of revoked hosts beside the root key is not used" in found.gaps()[0]
    assert file.read_bytes() == content


def test_who_was_revoked_is_on_the_list_before_the_revocation_is_answered(centre: Centre) -> None:
    host, staying = enrolled(centre), enrolled(centre)
    found = standings(centre)
    Revocation(centre.database, centre.journal, lambda _host: "", found.keep).revoke("ada", host, "stolen")

    with centre.database() as session:
        records = [AuditRecord.parse(public) for public in session.scalars(select(AuditRow.public))]
    revoked = next(record.seq for record in records if record.event is Event.HOST_REVOKED)
    assert RevokedFile(centre.folder / "revoked.json").read() == {host: revoked}
    assert staying != host


def revived(ward: Ward) -> None:
    """Revoke a host, write *active* into its row, start the centre again, and have the host renew."""
    host = ward.enrol("CT A")
    ward.revoke(host)
    with ward.door.centre._database.begin() as session:
        session.execute(update(Host).values(standing=Standing.ACTIVE))
    ward.stop()
    ward.start()
    host.renewal.renew()


def test_an_edited_row_revives_nobody(ward: Ward) -> None:
    with pytest.raises(DoorUnavailable, match="403"):
        revived(ward)

    status = json.loads(ward.people("GET", "/api/v1/status").body)
    assert [host["state"] for host in status["hosts"]] == ["revoked"]
    assert any("its row said active; it is revoked" in gap for gap in status["not_evaluated"])


def test_without_the_log_an_edited_row_revives_the_host(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this as the control: what keeps it out is what the log says."""
    monkeypatch.setattr(Standings, "rebuild", lambda _standings: ())

    revived(ward)


events = st.builds(
    lambda seq, event, outcome, host: AuditRecord(
        CONTROL_PLANE, seq, bytes(32), datetime(2026, 11, 29, tzinfo=UTC), event, Action.UPDATE, outcome, (),
        (Subject("host", str(host)),), "", None,
    ),
    st.integers(1, 9), st.sampled_from(Event), st.sampled_from(Outcome), st.sampled_from(HOSTS),
)  # fmt: skip


@given(st.lists(events))
def test_the_last_event_that_succeeded_says_how_a_host_stands(records: list[AuditRecord]) -> None:
    stands = fold(records)

    for host in HOSTS:
        said = [
            EFFECTS[Event(record.event.value)] for record in records
            if record.event in EFFECTS and record.outcome is Outcome.SUCCESS and record.what[0].name == str(host)
        ]  # fmt: skip
        assert (stands[host].standing if host in stands else None) == (said[-1] if said else None)
