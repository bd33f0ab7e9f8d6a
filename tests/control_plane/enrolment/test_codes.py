"""Codes are each for one asset, used once, and whoever comes second is not overlooked."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from control_plane.db.models import AuditRow, EnrolmentCodeRow, Host
from control_plane.enrolment import code_list
from control_plane.enrolment.code_list import ListedAsset, ListMalformed
from control_plane.enrolment.code_service import (
    CodeOver,
    CodeUnknown,
    ListRefused,
    NothingToSettle,
    WantedCode,
    gaps,
)
from control_plane.enrolment.codes import CodeOfAnotherAsset, CodeRefused
from control_plane.enrolment.tombstones import LIFT, Lifting, NoTombstone, Tombstoned
from control_plane.people.accounts import Accounts
from control_plane.people.two_persons import TwoPersons
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.enrolment.exchange import EnrolmentAnswer, EnrolmentRequest
from shared.identity import HostId
from tests.control_plane.enrolment.test_enrolment import ASSET, DOORS, Centre, a_request

HOUR = timedelta(hours=1)


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


def asking(secret: bytes, asset: str = ASSET, machine: tuple[bytes, ...] = ()) -> EnrolmentRequest:
    made = a_request(secret)
    return EnrolmentRequest(made.secret, made.tls_csr, made.evidence_csr, asset, machine)


def enrolled(centre: Centre, asset: str = ASSET, machine: tuple[bytes, ...] = ()) -> EnrolmentAnswer:
    issued = centre.codes.issue("ada", WantedCode(asset), HOUR)
    return centre.enroller.enrol(asking(issued.code.secret, asset, machine), DOORS)


def newest(centre: Centre) -> AuditRecord:
    with centre.database() as session:
        return AuditRecord.parse(session.scalars(select(AuditRow.public).order_by(AuditRow.seq.desc())).first() or b"")


def not_proved(centre: Centre) -> list[str]:
    with centre.database() as session:
        return list(gaps(session))


def lifted(centre: Centre, host_id: HostId) -> None:
    Accounts(centre.database, centre.clock).create("ben", "administrator")
    two = TwoPersons(centre.database, centre.journal, centre.clock, [Lifting(centre.journal)])
    two.approve("ben", two.ask("ada", LIFT, str(host_id), "it was found again").request_id)


def test_stolen_code_used_first(centre: Centre) -> None:
    """The thief enrols first; the engineer's attempt is refused, recorded, and named until somebody has looked."""
    issued = centre.code()
    thief = centre.enroller.enrol(a_request(issued.code.secret), DOORS)

    assert not_proved(centre) == []
    with pytest.raises(CodeRefused):
        centre.enroller.enrol(a_request(issued.code.secret), DOORS)
    refusal = newest(centre)
    assert refusal.event is Event.CODE_REUSED
    named = {what.kind: what.name for what in refusal.what}
    assert named == {"code": issued.code_id, "asset": ASSET, "host": str(thief.host_id)}
    (said,) = not_proved(centre)
    assert str(thief.host_id) in said
    assert issued.code_id in said


def test_a_code_that_was_tried_twice_is_named_until_it_is_settled_or_its_host_is_revoked(centre: Centre) -> None:
    settled, revoked = centre.code(), centre.codes.issue("ada", WantedCode("MR 1"), HOUR)
    centre.enroller.enrol(asking(settled.code.secret), DOORS)
    thief = centre.enroller.enrol(asking(revoked.code.secret, "MR 1"), DOORS)
    for secret, asset in ((settled.code.secret, ASSET), (revoked.code.secret, "MR 1")):
        with pytest.raises(CodeRefused):
            centre.enroller.enrol(asking(secret, asset), DOORS)
    assert len(not_proved(centre)) == 2

    centre.codes.settle("ada", settled.code_id, "the engineer ran it twice")
    centre.revoke(thief.host_id)
    assert not_proved(centre) == []
    with pytest.raises(NothingToSettle):
        centre.codes.settle("ada", settled.code_id, "again")


def test_a_code_is_for_its_asset_alone_and_is_not_used_up_by_another(centre: Centre) -> None:
    """The control is that its own asset, in another spelling of the same, is enrolled with it afterwards."""
    issued = centre.code()

    with pytest.raises(CodeOfAnotherAsset) as refusal:
        centre.enroller.enrol(asking(issued.code.secret, "MR 7"), DOORS)
    assert ASSET not in str(refusal.value)
    assert newest(centre).reason.startswith("CodeOfAnotherAsset")
    assert centre.hosts() == 0
    centre.enroller.enrol(asking(issued.code.secret, " ct 2,  ROOM 1.14"), DOORS)
    with centre.database() as session:
        assert session.scalars(select(Host.asset)).all() == [ASSET]


def test_reused_and_revoked_code(centre: Centre) -> None:
    """A revoked host's asset enrols nothing, neither by its old code nor by one that waited; lifted, it does."""
    used, waiting = centre.code(), centre.code()
    host = centre.enroller.enrol(a_request(used.code.secret), DOORS)
    centre.revoke(host.host_id)

    with pytest.raises(CodeRefused):
        centre.enroller.enrol(a_request(used.code.secret), DOORS)
    with pytest.raises(Tombstoned):
        centre.enroller.enrol(a_request(waiting.code.secret), DOORS)
    assert newest(centre).what[0].name == str(host.host_id)
    with pytest.raises(Tombstoned):
        centre.code()
    lifted(centre, host.host_id)
    centre.enroller.enrol(a_request(waiting.code.secret), DOORS)
    assert centre.hosts() == 2


def test_a_revoked_machine_does_not_come_back_under_another_asset(centre: Centre) -> None:
    """The control is a machine of which no digest is known."""
    known, other = bytes(32), bytes([1]) * 32
    host = enrolled(centre, ASSET, (known, other))
    centre.revoke(host.host_id)

    with pytest.raises(Tombstoned, match="this machine"):
        enrolled(centre, "MR 1", (bytes([2]) * 32, other))
    enrolled(centre, "MR 1", (bytes([2]) * 32,))


def test_only_a_tombstone_that_stands_is_lifted(centre: Centre) -> None:
    host = enrolled(centre)
    Accounts(centre.database, centre.clock).create("ben", "administrator")
    two = TwoPersons(centre.database, centre.journal, centre.clock, [Lifting(centre.journal)])

    with pytest.raises(NoTombstone):
        two.ask("ada", LIFT, str(host.host_id), "why not")


def test_a_cancelled_code_opens_nothing(centre: Centre) -> None:
    issued = centre.code()
    centre.codes.cancel("ada", issued.code_id)

    with pytest.raises(CodeRefused):
        centre.enroller.enrol(a_request(issued.code.secret), DOORS)
    assert newest(centre).reason.endswith("cancelled")
    with pytest.raises(CodeOver, match="cancelled"):
        centre.codes.cancel("ada", issued.code_id)
    with pytest.raises(CodeUnknown):
        centre.codes.cancel("ada", "000000000000")


def test_codes_are_listed_without_their_secrets(centre: Centre) -> None:
    issued = centre.code(parts=("site-north",))
    (listed,) = centre.codes.listed()

    assert (listed["code"], listed["asset"], listed["state"]) == (issued.code_id, ASSET, "open")
    assert issued.code.secret.hex() not in str(listed)
    assert issued.code.text() not in str(listed)


def test_a_list_makes_a_code_for_each_asset_or_none(centre: Centre) -> None:
    revoked = enrolled(centre, "CT 9")
    centre.revoke(revoked.host_id)
    before = len(centre.codes.listed())

    with pytest.raises(ListRefused) as refusal:
        centre.codes.issue_all("ada", [WantedCode("CT 1"), WantedCode("CT 9"), WantedCode(" ct 1 ")], HOUR)
    assert [fault.split(":")[0] for fault in refusal.value.faults] == ["entry 2", "entry 3"]
    assert len(centre.codes.listed()) == before
    issued = centre.codes.issue_all("ada", [WantedCode("CT 1"), WantedCode("MR 1", ("site-north",))], HOUR)
    for code in issued:
        centre.enroller.enrol(asking(code.code.secret, code.asset), DOORS)
    with centre.database() as session:
        assert {row.asset for row in session.scalars(select(EnrolmentCodeRow)) if row.used} == {"CT 9", "CT 1", "MR 1"}


def test_a_list_of_a_site_is_read() -> None:
    listed = code_list.parse(b'asset,site,type\r\nCT-4711,north,ct\r\n"MR 1, room 2",,\n')

    assert listed == [ListedAsset("CT-4711", "north", "ct"), ListedAsset("MR 1, room 2", None, None)]


def test_every_fault_of_a_list_is_named_by_its_line() -> None:
    lines = ["asset,site,type", "CT 1,north,ct", ",north,ct", "CT 2,North,ct", "CT 3,north", "ct 1,south,ct"]

    with pytest.raises(ListMalformed) as refusal:
        code_list.parse("\n".join(lines).encode())
    assert [fault.split(":")[0] for fault in refusal.value.faults] == ["line 3", "line 4", "line 5", "line 6"]


@pytest.mark.parametrize(
    "data", [b"", b"asset\nCT 1\n", b"asset,site,type\n", b"\xff\xfe", b'asset,site,type\n"CT', b"a" * (256 << 10 | 1)]
)
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(ListMalformed):
        code_list.parse(data)
