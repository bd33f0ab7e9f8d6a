"""What was captured lately is counted by kind, from rows that may be damaged and may be too many."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import AuditRow, Object
from control_plane.db.transactions import snapshot
from control_plane.policy.simulation.captures import Captured
from control_plane.policy.simulation.rows import Lately, LatelyAttached, attached_since, captured_since
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from shared.devices.device import Interface, UsbDevice
from tests.control_plane.begun import database_at
from tests.control_plane.policy.simulation.ward import Ward

STICK = UsbDevice(
    "1-2", "", 0x0781, 0x5581, "Ultra: red", "4C53", "AAAA", "", (Interface(3, 1, 1), Interface(8, 6, 80))
)


@pytest.fixture
def database(tmp_path: Path) -> sessionmaker[Session]:
    return database_at(tmp_path / "centre.sqlite")


def lately(database: sessionmaker[Session], most: int = 100) -> Lately:
    with snapshot(database) as session:
        return captured_since(session, SystemClock().now() - timedelta(days=30), most)


def test_counts_by_host_sender_grade_and_version_what_arrived_in_time(database: sessionmaker[Session]) -> None:
    ward = Ward(database)
    one, other = ward.host("CT 2", None), ward.host("MR 1", None)
    for host, title, grade, days in (
        (one, "CT1", "restricted", 0), (one, "CT1", "restricted", 29), (one, "CT1", "secret", 1),
        (other, "MR1", "restricted", 1), (other, "MR1", "restricted", 31),
    ):  # fmt: skip
        ward.captured(host, title, grade=grade, ago=timedelta(days=days))

    assert lately(database).counts == {
        Captured(str(one), "CT1", "restricted", (), 1, is_read=True): 2,
        Captured(str(one), "CT1", "secret", (), 1, is_read=True): 1,
        Captured(str(other), "MR1", "restricted", (), 1, is_read=True): 1,
    }


def test_what_is_beyond_the_most_is_counted_as_left_out_and_the_newest_are_looked_at(
    database: sessionmaker[Session],
) -> None:
    ward = Ward(database)
    host = ward.host("CT 2", None)
    for days in range(5):
        ward.captured(host, f"CT{days}", ago=timedelta(days=days))

    found = lately(database, most=2)
    assert (found.left_out, found.unreadable) == (3, 0)
    assert sorted(captured.ae_title for captured in found.counts) == ["CT0", "CT1"]


@pytest.mark.parametrize("damaged", [b"", b"{", b"[" * 10_000, b"[1]", b'{"who": 1}', b'{"who": [{"kind": "ae"}]}'])
def test_a_damaged_audit_record_names_no_sender(database: sessionmaker[Session], damaged: bytes) -> None:
    ward = Ward(database)
    ward.captured(ward.host("CT 2", None), "CT1")
    with database.begin() as session:
        session.execute(update(AuditRow).values(public=damaged))

    assert [captured.ae_title for captured in lately(database).counts] == [""]


def test_a_damaged_capture_record_is_counted_as_unreadable(database: sessionmaker[Session]) -> None:
    ward = Ward(database)
    ward.captured(ward.host("CT 2", None), "CT1")
    with database.begin() as session:
        session.execute(update(Object).values(record=b"none"))

    assert (lately(database).counts.total(), lately(database).unreadable) == (0, 1)


def attached(database: sessionmaker[Session], most: int = 100) -> LatelyAttached:
    with snapshot(database) as session:
        return attached_since(session, SystemClock().now() - timedelta(days=30), most)


def test_a_device_is_read_from_the_newest_record_of_its_attachment_as_its_guard_wrote_it(
    database: sessionmaker[Session],
) -> None:
    ward = Ward(database)
    host = ward.host("CT 2", None)
    ward.attached(host, STICK, ago=timedelta(days=2))
    ward.attached(host, replace(STICK, fingerprint="BBBB"), ago=timedelta(days=1))
    ward.attached(host, replace(STICK, port="1-3", problems=("no string 3",)), ago=timedelta(days=3))
    ward.attached(host, replace(STICK, port="1-4"), ago=timedelta(days=31))

    found = attached(database)
    devices = [one.device for one in found.by_host[str(host)].values()]
    assert devices == [
        replace(STICK, fingerprint="BBBB"), replace(STICK, port="1-3", problems=("no string 3",)),
    ]  # fmt: skip
    assert [identity for _, identity in found.by_host[str(host)]] == [STICK.identity] * 2
    assert attached(database, most=1).left_out == 2


@pytest.mark.parametrize("damaged", [b"", b"[" * 10_000, b'{"what": [{"kind": "fact", "name": "id: x"}]}'])
def test_a_damaged_record_of_an_attachment_tells_of_no_device(database: sessionmaker[Session], damaged: bytes) -> None:
    ward = Ward(database)
    ward.attached(ward.host("CT 2", None), STICK)
    with database.begin() as session:
        session.execute(update(AuditRow).values(public=damaged))

    assert attached(database) == LatelyAttached({}, unreadable=1, left_out=0)


def test_a_record_of_a_device_whose_descriptors_could_not_be_read_is_no_damaged_one(
    database: sessionmaker[Session],
) -> None:
    ward = Ward(database)
    ward.attached(ward.host("CT 2", None), STICK)
    (held,) = database().scalars(select(AuditRow.public)).all()
    record = AuditRecord.parse(held)
    named = replace(record, what=tuple(one for one in record.what if one.kind == "device"))
    with database.begin() as session:
        session.execute(update(AuditRow).values(public=named.encode()))

    assert attached(database) == LatelyAttached({}, unreadable=0, left_out=0)
