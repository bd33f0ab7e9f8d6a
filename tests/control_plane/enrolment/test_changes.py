"""Hosts are renamed, replaced and taken out of service: their history stays, and one identity goes on at most."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from control_plane.db.models import AuditRow, Host, SpoolMove
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.code_service import WantedCode
from control_plane.enrolment.codes import CodeRefused
from control_plane.enrolment.decommissioning import DECOMMISSION, Decommissioning
from control_plane.enrolment.renaming import Renaming
from control_plane.enrolment.replacing import IdentityEnded, code_for_replacement
from control_plane.enrolment.standing import ENDED, Act, Standing, may, standing_of
from control_plane.enrolment.tombstones import Tombstoned
from control_plane.fleet.states import HostUnknown
from control_plane.keys import store
from control_plane.people.accounts import Accounts
from control_plane.people.two_persons import TwoPersons
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.enrolment.exchange import EnrolmentAnswer
from shared.enrolment.renewal import RenewalRequest
from shared.identity import CONTROL_PLANE
from tests.control_plane.enrolment.test_enrolment import ASSET, DOORS, START, Centre, a_request, request_pem

DAY = timedelta(days=1)
WANTED_MR = WantedCode("MR 1")


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


@pytest.fixture
def host(centre: Centre) -> EnrolmentAnswer:
    return centre.enroller.enrol(a_request(centre.code(parts=("site-north",)).code.secret), DOORS)


def row(centre: Centre, answer: EnrolmentAnswer) -> Host:
    with centre.database() as session:
        return session.get_one(Host, str(answer.host_id))


def renewal(asset: str | None = None) -> RenewalRequest:
    return RenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1())), asset)


@pytest.mark.parametrize(
    "kept, until, standing",
    [
        ("active", START + DAY, Standing.ACTIVE),
        ("active", START, Standing.LAPSED),
        ("active", None, Standing.LAPSED),
        ("quarantined", None, Standing.QUARANTINED),
        ("revoked", START + DAY, Standing.REVOKED),
    ],
)
def test_a_host_lapses_by_its_certificate_and_everything_else_is_a_persons_word(
    kept: str, until: datetime | None, standing: Standing
) -> None:
    assert standing_of(kept, until, START) is standing


def test_what_a_host_may_do_goes_by_its_standing() -> None:
    allowed = {standing: {act for act in Act if may(standing, act).allowed} for standing in Standing}

    assert allowed[Standing.ACTIVE] == {Act.DELIVER, Act.RENEW, Act.REPORT}
    assert allowed[Standing.QUARANTINED] == {Act.REPORT}
    assert allowed[Standing.LAPSED] == {Act.ASK}
    assert all(allowed[standing] == set() for standing in ENDED)


def test_a_renamed_host_learns_its_name_when_it_renews(centre: Centre, host: EnrolmentAnswer) -> None:
    assert centre.renewer.renew(host.host_id, renewal(ASSET)).asset is None
    assert Renaming(centre.database, centre.journal).rename("ada", host.host_id, "CT 2, room 3") == ASSET

    assert centre.renewer.renew(host.host_id, renewal(ASSET)).asset == "CT 2, room 3"
    assert centre.renewer.renew(host.host_id, renewal("CT 2, room 3")).asset is None
    assert centre.renewer.renew(host.host_id, renewal()).asset is None  # one that does not know of names
    assert Event.HOST_RENAMED in centre.events()


def test_a_host_is_not_renamed_into_a_revoked_ones_place(centre: Centre, host: EnrolmentAnswer) -> None:
    centre.revoke(host.host_id)
    issued = centre.codes.issue("ada", WANTED_MR, DAY)
    request = a_request(issued.code.secret)
    other = centre.enroller.enrol(type(request)(**{**request.__dict__, "asset": "MR 1"}), DOORS)

    with pytest.raises(Tombstoned):
        Renaming(centre.database, centre.journal).rename("ada", other.host_id, ASSET)
    with pytest.raises(IdentityEnded):
        Renaming(centre.database, centre.journal).rename("ada", host.host_id, "MR 2")


def test_new_hardware_takes_a_hosts_place_and_may_bring_its_spool(centre: Centre, host: EnrolmentAnswer) -> None:
    with centre.database.begin() as session:
        journal_key = centre.keys.p256(store.JOURNAL).public_key()
        centre.ca.issue(session, Kind.EVIDENCE, CONTROL_PLANE, journal_key)
    issued = code_for_replacement(centre.database, centre.codes, "ada", host.host_id, DAY)
    assert row(centre, host).standing == Standing.ACTIVE  # until the code is used

    new = centre.enroller.enrol(a_request(issued.code.secret), DOORS)
    assert new.layers == host.layers
    assert (row(centre, host).standing, row(centre, host).tombstone) == (Standing.REPLACED, False)
    assert (row(centre, new).asset, row(centre, new).replaces) == (ASSET, str(host.host_id))
    assert centre.closed == [host.host_id]
    with centre.database() as session:
        (move,) = session.scalars(select(SpoolMove))
    assert (move.source, move.bearer) == (str(host.host_id), str(new.host_id))
    assert centre.moves.permitting(host.host_id, new.host_id) is not None
    with pytest.raises(HostUnknown):
        centre.renewer.renew(host.host_id, renewal())


def test_what_replaces_a_host_that_was_renamed_meanwhile_has_its_present_name(
    centre: Centre, host: EnrolmentAnswer
) -> None:
    """Or two hosts could have one name. It learns that when it renews."""
    issued = code_for_replacement(centre.database, centre.codes, "ada", host.host_id, DAY)
    Renaming(centre.database, centre.journal).rename("ada", host.host_id, "CT 2, room 3")

    new = centre.enroller.enrol(a_request(issued.code.secret), DOORS)

    assert row(centre, new).asset == "CT 2, room 3"
    assert centre.renewer.renew(new.host_id, renewal(ASSET)).asset == "CT 2, room 3"


def test_a_host_that_was_revoked_is_not_replaced(centre: Centre, host: EnrolmentAnswer) -> None:
    """Neither before the code is made nor after it: the code is then not used up either."""
    issued = code_for_replacement(centre.database, centre.codes, "ada", host.host_id, DAY)
    centre.revoke(host.host_id)

    with pytest.raises(Tombstoned):
        centre.enroller.enrol(a_request(issued.code.secret), DOORS)
    with pytest.raises(IdentityEnded):
        code_for_replacement(centre.database, centre.codes, "ada", host.host_id, DAY)
    assert centre.hosts() == 1


def test_a_host_is_replaced_once(centre: Centre, host: EnrolmentAnswer) -> None:
    one, two = (code_for_replacement(centre.database, centre.codes, "ada", host.host_id, DAY) for _ in range(2))
    centre.enroller.enrol(a_request(one.code.secret), DOORS)

    with pytest.raises(IdentityEnded):
        centre.enroller.enrol(a_request(two.code.secret), DOORS)
    with pytest.raises(CodeRefused):
        centre.enroller.enrol(a_request(one.code.secret), DOORS)
    assert centre.hosts() == 2


def test_two_persons_take_a_host_out_of_service_without_a_tombstone(centre: Centre, host: EnrolmentAnswer) -> None:
    Accounts(centre.database, centre.clock).create("ben", "administrator")
    act = Decommissioning(centre.journal, centre.closed.append)
    two = TwoPersons(centre.database, centre.journal, centre.clock, [act])
    request = two.ask("ada", DECOMMISSION, str(host.host_id), "the scanner was sold")
    assert row(centre, host).standing == Standing.ACTIVE

    two.approve("ben", request.request_id)
    assert row(centre, host).standing == Standing.DECOMMISSIONED
    assert centre.closed == [host.host_id]
    with pytest.raises(HostUnknown):
        centre.renewer.renew(host.host_id, renewal())
    centre.enroller.enrol(a_request(centre.code().code.secret), DOORS)
    with centre.database() as session:
        records = [AuditRecord.parse(public) for public in session.scalars(select(AuditRow.public))]
    (ended,) = [record for record in records if record.event is Event.HOST_DECOMMISSIONED]
    assert {who.name for who in ended.who} == {"ada", "ben"}
    with pytest.raises(IdentityEnded):
        two.ask("ada", DECOMMISSION, str(host.host_id), "again")
