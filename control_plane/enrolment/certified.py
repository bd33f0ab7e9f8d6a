"""Which certificate of a host opens doors now: its newest that has not run out and that nobody barred."""

from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from control_plane.db.models import BarredCertificate, Certificate, Host
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.standing import Standing, standing_of
from shared.errors import Refused
from shared.identity import HostId


class CertificateBarred(Refused):
    """The host may ask for another one: docs/formats/enrolment.md section 7."""

    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"this certificate of {host_id} was taken out of use; a person has to approve the next one")
        self.host_id = host_id


def certified_until(session: Session, host_id: str) -> datetime | None:
    """Return the end of a host's newest certificate that is not barred, None where it has none."""
    newest = select(Certificate.not_after).where(*_unbarred(host_id)).order_by(Certificate.not_after.desc()).limit(1)
    return session.scalars(newest).first()


def standing(session: Session, host: Host, now: datetime) -> Standing:
    return standing_of(host.standing, certified_until(session, host.host_id), now)


def bar(session: Session, host_id: HostId, now: datetime) -> None:
    """Have none of a host's certificates of until now open anything; its identity is not ended by that."""
    for serial in session.scalars(select(Certificate.serial).where(*_unbarred(str(host_id)))).all():
        session.add(BarredCertificate(serial=serial, barred=now))


def barred_after(session: Session, host_id: HostId, instant: datetime) -> datetime | None:
    """Return when certificates of a host were barred last, None where none was since `instant`."""
    theirs = select(BarredCertificate.barred).join(Certificate, Certificate.serial == BarredCertificate.serial)
    since = theirs.where(Certificate.subject == str(host_id), BarredCertificate.barred > instant)
    return session.scalars(since.order_by(BarredCertificate.barred.desc()).limit(1)).first()


def is_barred(session: Session, serial: str) -> bool:
    return session.get(BarredCertificate, serial) is not None


def _unbarred(host_id: str) -> tuple[ColumnElement[bool], ...]:
    barred = select(BarredCertificate.serial)
    return Certificate.subject == host_id, Certificate.kind == Kind.HOST, Certificate.serial.not_in(barred)
