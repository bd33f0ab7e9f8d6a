"""Hosts that renewed since the copy was made go on with what they have; nobody else gets in by that."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy.orm import Session

from control_plane.backup.restored import RESTORED, UNSETTLED, Restored
from control_plane.checkpoints.forgotten import ForgottenCertificates
from control_plane.db.models import Fact
from control_plane.db.models import Host as HostRow
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.certified import bar
from control_plane.enrolment.standing import Standing
from edge_agent.https import HttpsDoor, verified_context
from tests.control_plane.checkpoints.ward import Host, Ward
from tests.control_plane.http.test_doors import issue_code

IN, OUT, NO_OBJECT = 404, 403, 422  # no policy is published; not let in; let in, and sends none


def renewed_since(ward: Ward) -> Host:
    b = ward.enrol("CT B")
    copied = ward.copy()
    b.renewal.renew()
    for _ in range(20):
        issue_code(ward.door)
    ward.revoke(ward.enrol("CT A"))
    ward.restore(copied, with_mark=True)
    return b


def asks(host: Host) -> int:
    return host._doors[1].get("/api/v1/policy/head").status


def minted(ward: Ward, host: Host, folder: Path) -> HttpsDoor:
    """Return a door that is asked with a certificate which the CA's key signed now, and which is noted nowhere."""
    key = ec.generate_private_key(ec.SECP256R1())
    with Session(ward.door.centre._database.kw["bind"]) as session:
        pem = ward.door.centre._ca.issue(session, Kind.HOST, str(host.host_id), key.public_key())
        session.rollback()
    file = folder / "minted.pem"
    file.write_bytes(pem.encode() + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return HttpsDoor("127.0.0.1", ward.door.centre._doors["hosts"].port, verified_context(host.folder.ca, file))


def test_a_host_that_renewed_since_goes_on_and_its_certificate_is_noted_again(ward: Ward) -> None:
    b = renewed_since(ward)

    assert asks(b) == IN
    assert "issued within what the log lost" in ward.people("GET", "/api/v1/audit/records").body.decode()
    ward.people("POST", "/api/v1/log/accept-loss", {"reason": "the disk broke"})
    b.renewal.renew()
    assert b'"certificates":{"first_bad":null' in ward.people("POST", "/api/v1/audit/verify", {}).body


def test_a_forgotten_certificate_lets_nobody_past_a_quarantine(ward: Ward) -> None:
    b = renewed_since(ward)
    with ward.door.centre._database.begin() as session:
        session.get_one(HostRow, str(b.host_id)).standing = Standing.QUARANTINED

    first = b._doors[1].post("/api/v1/audit/batches", b"no batch", "application/octet-stream")

    assert (first.status, b"HostQuarantined" in first.body) == (OUT, True)


def test_a_forgotten_certificate_is_barred_where_the_host_was_rekeyed_since(ward: Ward) -> None:
    """Two machines went on, both were barred, and one of them had a certificate that the database had forgotten."""
    b = renewed_since(ward)
    with ward.door.centre._database.begin() as session:
        bar(session, b.host_id, ward.clock.now())

    assert [asks(b), asks(b)] == [OUT, OUT]


def test_without_being_noted_it_is_kept_out(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this as the control: what lets it in is that it was issued within a loss."""
    monkeypatch.setattr(ForgottenCertificates, "note", lambda *_: None)

    assert asks(renewed_since(ward)) == OUT


@pytest.mark.parametrize("standing, answer", [("quarantined", OUT), ("active", NO_OBJECT)])
def test_a_quarantined_host_delivers_nothing_by_a_certificate_that_is_noted_again(
    ward: Ward, standing: str, answer: int
) -> None:
    """Not even once. The control is a host in good standing, which is told that this is no object."""
    b = renewed_since(ward)
    with ward.door.centre._database.begin() as session:
        session.get_one(HostRow, str(b.host_id)).standing = standing

    assert b._doors[1].put_file(f"/api/v1/objects/{'0' * 32}", BytesIO(b"none"), 4).status == answer


def test_what_was_barred_since_stays_barred_though_its_certificate_was_forgotten(ward: Ward) -> None:
    """The control is `test_a_host_that_renewed_since_goes_on_and_its_certificate_is_noted_again`."""
    b = renewed_since(ward)
    centre = ward.door.centre
    with centre._database.begin() as session:
        bar(session, b.host_id, ward.clock.now())

    assert asks(b) == OUT
    assert asks(b) == OUT


@pytest.mark.parametrize("age, answer", [(0, IN), (1, OUT)], ids=["after the backup", "before it"])
def test_after_a_restore_a_host_that_renewed_since_goes_on_before_anybody_shows_how_far_the_log_went(
    ward: Ward, age: int, answer: int
) -> None:
    """Images that are delivered at once are records, so the log may have grown past what is lost by then."""
    b, begun = ward.enrol("CT B"), ward.clock.now() + timedelta(days=age)
    copied = ward.copy()
    b.renewal.renew()
    ward.restore(copied, with_mark=False, with_list=True)
    with ward.door.centre._database.begin() as session:
        when = max(begun, ward.clock.now())
        session.add(Fact(name=RESTORED, value=Restored("a backup", begun, 1, when).text()))

    assert asks(b) == answer


@pytest.mark.parametrize("is_kept, answer", [(True, IN), (False, OUT)], ids=["both", "the second alone"])
def test_a_host_that_renewed_before_the_first_of_two_restores_goes_on_after_the_second(
    ward: Ward, is_kept: bool, answer: int
) -> None:
    b, begun = ward.enrol("CT B"), ward.clock.now()
    copied = ward.copy()
    b.renewal.renew()
    ward.restore(copied, with_mark=False, with_list=True)
    first, later = Restored("a backup", begun, 1, ward.clock.now()), ward.clock.now() + timedelta(days=1)
    with ward.door.centre._database.begin() as session:
        if is_kept:
            session.add(Fact(name=f"{UNSETTLED}: another backup", value=first.text()))
        session.add(Fact(name=RESTORED, value=Restored("another backup", later, 2, later).text()))

    assert asks(b) == answer


def test_a_certificate_that_nobody_issued_is_kept_out_where_nothing_was_lost(ward: Ward, tmp_path: Path) -> None:
    b = ward.enrol("CT B")
    door = minted(ward, b, tmp_path)
    status = door.get("/api/v1/policy/head").status
    door.close()

    assert status == OUT
