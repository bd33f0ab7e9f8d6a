"""A loss that a person accepted does not hide what else is missing."""

import json
from pathlib import Path

import pytest
from sqlalchemy import delete

from control_plane.db.models import AuditRow, AuditStatement
from provisioning.verify.__main__ import main
from tests.control_plane.checkpoints.test_restored_database import put_back
from tests.control_plane.checkpoints.ward import Ward


def verdict(ward: Ward) -> tuple[str, int | None]:
    answer = json.loads(ward.people("POST", "/api/v1/audit/verify", {}).body)["control-plane"]
    return answer["state"], answer["first_bad"]


def lose_and_accept(ward: Ward) -> tuple[int, int]:
    """Return the numbers of the gap."""
    put_back(ward, with_mark=True)
    with ward.door.centre._database() as session:
        before = session.query(AuditRow).count()
    ward.people("POST", "/api/v1/log/accept-loss", {"reason": "the disk broke"})
    with ward.door.centre._database() as session:
        first = next(seq for seq in range(before, 10_000) if session.get(AuditRow, ("control-plane", seq)) is None)
        last = next(seq for seq in range(first, 10_000) if session.get(AuditRow, ("control-plane", seq + 1)))
    return first, last


@pytest.mark.parametrize("which", ["before the gap", "after the gap"])
def test_a_record_that_is_gone_besides_is_named(ward: Ward, which: str) -> None:
    """The control is the log before: with the gap alone it is verified."""
    first, last = lose_and_accept(ward)
    before = verdict(ward)
    verdict(ward)  # leaves a record of itself, and the last one could be cut off without a trace
    gone = first - 1 if which == "before the gap" else last + 2
    with ward.door.centre._database.begin() as session:
        session.execute(delete(AuditRow).where(AuditRow.source == "control-plane", AuditRow.seq == gone))
        session.execute(
            delete(AuditStatement).where(AuditStatement.source == "control-plane", AuditStatement.last == gone)
        )

    assert before == ("verified", None)
    assert verdict(ward) == ("altered", gone)


def test_without_the_record_that_accepts_it_the_gap_is_named(ward: Ward) -> None:
    first, last = lose_and_accept(ward)
    with ward.door.centre._database.begin() as session:
        session.execute(delete(AuditRow).where(AuditRow.source == "control-plane", AuditRow.seq == last + 1))

    assert verdict(ward) == ("altered", first)


def test_an_export_with_a_gap_is_incomplete_offline_and_the_lost_records_are_named(
    ward: Ward, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = lose_and_accept(ward)
    file, ca = tmp_path / "export.jsonl", tmp_path / "ca.pem"
    file.write_bytes(ward.people("GET", "/api/v1/audit/export").body)
    ca.write_bytes(ward.door.centre._ca.pem)
    code = main(["audit", str(file), "--ca", str(ca)])

    assert code == 1
    assert f"control-plane is incomplete (records missing: {first} to {last})" in capsys.readouterr().out
