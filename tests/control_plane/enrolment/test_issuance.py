"""Every certificate is a record of the log in the same commit, and the table is held against the log."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from control_plane.audit_log.certificates import CertificatesCompared, compare
from control_plane.audit_log.journal import CentreJournal, Sealing
from control_plane.db.models import AuditRow, AuditSubject, Certificate
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment import authority
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.enroller import Enroller, Renewer
from control_plane.enrolment.issuance import Issuance, Issued, Why, record_what_was_issued
from control_plane.enrolment.replacing import Replacing
from control_plane.enrolment.revocation import RevokedHosts
from control_plane.keys import store
from shared.audit.events import Event, Happening
from shared.audit.record import AuditRecord
from shared.enrolment.renewal import RenewalRequest
from shared.errors import Unavailable
from shared.identity import HostId
from tests.control_plane.checkpoints.ward import Ward
from tests.control_plane.enrolment.test_enrolment import DOORS, Centre, a_request, request_pem


class Stopped(Unavailable):
    pass


class Issuing:
    """A centre whose certificates all come by way of the log."""

    def __init__(self, folder: Path) -> None:
        self.centre = centre = Centre(folder)
        self.stopped, self.looked = False, 0
        record_what_was_issued(centre.database, centre.journal, Why.FIRST_START)
        self.issuance = Issuance(centre.ca, centre.journal, self._may_issue, self._issued)
        self.enroller = Enroller(
            centre.database, self.issuance.because(Why.ENROLMENT), centre.journal, centre.clock,
            Replacing(centre.journal, centre.moves, centre.closed.append),
            sop_hash_secret=bytes(32), policy_root=lambda: b"{}",
        )  # fmt: skip
        self.renewer = Renewer(centre.database, self.issuance.because(Why.RENEWAL), centre.journal)

    def enrol(self) -> HostId:
        return self.enroller.enrol(a_request(self.centre.code().code.secret), DOORS).host_id

    def renew(self, host: HostId) -> None:
        self.renewer.renew(host, RenewalRequest(request_pem(ec.generate_private_key(ec.SECP256R1()))))

    def issued(self) -> list[Issued]:
        with self.centre.database() as session:
            records = [AuditRecord.parse(public) for public in session.scalars(select(AuditRow.public))]
        return [Issued.read(record) for record in records if record.event is Event.CERTIFICATE_ISSUED]

    def compared(self) -> CertificatesCompared:
        with snapshot(self.centre.database) as session:
            return compare(session)

    def _may_issue(self, _session: Session) -> None:
        if self.stopped:
            raise Stopped

    def _issued(self) -> None:
        self.looked += 1


@pytest.fixture
def issuing(tmp_path: Path) -> Issuing:
    return Issuing(tmp_path)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.close()


def insert_by_hand(issuing: Issuing) -> str:
    """Put a certificate in the table that the CA's key did sign, and that nobody recorded."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with issuing.centre.database.begin() as session:
        issuing.centre.ca.issue(session, Kind.HOST, str(HostId.new()), key)
        session.flush()
        newest = select(Certificate.serial).order_by(Certificate.serial)
        recorded = {one.serial for one in issuing.issued()}
        return next(serial for serial in session.scalars(newest) if serial not in recorded)


def test_every_certificate_is_a_record_that_says_whose_and_why(issuing: Issuing) -> None:
    host = issuing.enrol()
    issuing.renew(host)
    RevokedHosts(issuing.centre.database, issuing.centre.ca, issuing.issuance.because(Why.STAND_IN)).stand_in(host)

    said = [(one.purpose, one.why) for one in issuing.issued()]
    assert set(said[:2]) == {("root", Why.FIRST_START), ("ca", Why.FIRST_START)}
    assert said[2:] == [
        ("host", Why.ENROLMENT),
        ("evidence", Why.ENROLMENT),
        ("host", Why.RENEWAL),
        ("host", Why.STAND_IN),
    ]
    assert {one.subject for one in issuing.issued()[2:]} == {str(host)}
    assert issuing.compared() == CertificatesCompared(6, 0, ())
    assert issuing.looked == 4


def test_a_row_inserted_by_hand_is_named(issuing: Issuing) -> None:
    """The control is the centre before: everything it issued by itself is recorded."""
    issuing.enrol()
    before = issuing.compared()
    serial = insert_by_hand(issuing)
    found = issuing.compared()

    assert before.count == 0
    assert found.count == 1
    assert found.differences[0].startswith(f"certificate {serial} of host-")
    assert "no record of the log names it" in found.differences[0]


def test_a_row_that_borrows_another_ones_record_is_named(issuing: Issuing) -> None:
    issuing.enrol()
    serial, other = insert_by_hand(issuing), issuing.issued()[2].serial
    with issuing.centre.database.begin() as session:
        seq = session.scalar(select(AuditSubject.seq).where(AuditSubject.name == other))
        session.add(
            AuditSubject(kind="certificate", name=serial, event="certificate.issued", source="control-plane", seq=seq)
        )

    assert "the log names another one by that number" in issuing.compared().differences[0]


def test_a_row_that_was_deleted_or_changed_is_named(issuing: Issuing) -> None:
    issuing.enrol()
    *_, gone, changed = issuing.issued()
    with issuing.centre.database.begin() as session:
        session.execute(delete(Certificate).where(Certificate.serial == gone.serial))
        session.execute(
            update(Certificate).where(Certificate.serial == changed.serial).values(subject=str(HostId.new()))
        )
    found = issuing.compared()

    assert found.count == 2
    assert any(f"certificate {gone.serial}" in one and "is not held" in one for one in found.differences)
    assert any(f"certificate {changed.serial}" in one for one in found.differences)


def test_a_record_that_cannot_be_kept_takes_the_certificate_with_it(issuing: Issuing) -> None:
    class Failing(CentreJournal):
        def append(self, session: Session, happening: Happening) -> None:
            if happening.event is Event.CERTIFICATE_ISSUED:
                raise Stopped
            super().append(session, happening)

    centre = issuing.centre
    failing = Failing(
        centre.database,
        centre.keys.signer(store.JOURNAL),
        centre.journal.sequencer,
        lambda *_: Sealing(None),
        centre.clock,
    )
    issuance = Issuance(centre.ca, failing, lambda _session: None, lambda: None)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(Stopped):
        in_one_commit(centre.database, lambda session: issuance.because(Why.OWN).issue(session, Kind.SERVICE, "x", key))

    assert issuing.compared() == CertificatesCompared(2, 0, ())


def test_while_issuing_is_stopped_nobody_gets_one_and_no_code_is_used_up(issuing: Issuing) -> None:
    host, code = issuing.enrol(), issuing.centre.code()
    issuing.stopped = True
    with pytest.raises(Stopped):
        issuing.renew(host)
    with pytest.raises(Stopped):
        issuing.enroller.enrol(a_request(code.code.secret), DOORS)
    stand_ins = RevokedHosts(issuing.centre.database, issuing.centre.ca, issuing.issuance.because(Why.STAND_IN))
    stand_ins.stand_in(host)
    issuing.stopped = False

    issuing.enroller.enrol(a_request(code.code.secret), DOORS)
    assert issuing.compared().count == 0


def test_what_was_issued_before_there_were_records_is_recorded_once(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    centre.enroller.enrol(a_request(centre.code(timedelta(hours=1)).code.secret), DOORS)
    counts = [record_what_was_issued(centre.database, centre.journal, Why.BEFORE_RECORDS) for _ in range(2)]

    assert counts == [4, 0]


def test_a_row_is_not_taken_over_by_emptying_the_index_of_the_log(issuing: Issuing) -> None:
    insert_by_hand(issuing)
    with issuing.centre.database.begin() as session:
        session.execute(delete(AuditSubject))

    assert record_what_was_issued(issuing.centre.database, issuing.centre.journal, Why.BEFORE_RECORDS) == 0


def test_a_first_start_records_the_ca_and_every_certificate_of_the_centres_own(ward: Ward) -> None:
    host = ward.enrol("CT B")
    host.renewal.renew()
    answer = json.loads(ward.people("POST", "/api/v1/audit/verify", {}).body)

    assert answer["certificates"] == {
        "records": len(("root", "issuing")) + len(authority._OWN) + 3, "state": "verified", "first_bad": None, "why": ""
    }  # fmt: skip
    assert answer["control-plane"]["state"] == "verified"


def test_audit_verify_names_a_certificate_that_somebody_put_into_the_table(ward: Ward) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with ward.door.centre._database.begin() as session:
        ward.door.centre._ca.issue(session, Kind.HOST, str(HostId.new()), key)
    answer = json.loads(ward.people("POST", "/api/v1/audit/verify", {}).body)

    assert answer["certificates"]["state"] == "altered"
    assert "no record of the log names it" in answer["certificates"]["why"]
