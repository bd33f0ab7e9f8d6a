"""Certificates that the authority issued within what the log lost: their hosts show them, and they are noted again."""

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.orm import Session, sessionmaker

from control_plane.backup.restored import Restored, settled, unsettled
from control_plane.checkpoints import rows
from control_plane.db.models import AuditRow, BarredCertificate, Certificate, Host, LogLoss
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.certified import barred_after
from control_plane.enrolment.enroller import Journal
from control_plane.enrolment.issuance import Issued, Why
from control_plane.enrolment.profiles import BACKDATED
from shared.audit.record import AuditRecord
from shared.identity import CONTROL_PLANE, HostId

# A certificate is dated back a little, for clocks that run behind.
_BACKDATED = timedelta(minutes=10)


class ForgottenCertificates:
    def __init__(self, database: sessionmaker[Session], journal: Journal) -> None:
        self._database, self._journal = database, journal

    def note(self, host_id: HostId, shown: x509.Certificate) -> Certificate | None:
        """Return the row of a certificate, which TLS verified, if it was issued to `host_id` within what is lost.

        It is noted then, with its record. The host has to be one that is known and active: a loss makes nobody known.
        """
        with self._database() as session:
            if not _is_of(session, host_id, shown):
                return None
        return in_one_commit(self._database, lambda session: self._note(session, host_id, shown))

    def _note(self, session: Session, host_id: HostId, shown: x509.Certificate) -> Certificate | None:
        serial = f"{shown.serial_number:x}"
        if not _is_of(session, host_id, shown):
            return None
        if (noted := session.get(Certificate, serial)) is not None:
            return noted
        row = Certificate(
            serial=serial,
            kind=Kind.HOST.value,
            subject=str(host_id),
            pem=shown.public_bytes(Encoding.PEM).decode(),
            issued=shown.not_valid_before_utc,
            not_after=shown.not_valid_after_utc,
        )
        session.add(row)
        # Who decided since then that two machines go on meant this one too.
        if barred := barred_after(session, host_id, shown.not_valid_before_utc + BACKDATED):
            session.flush()
            session.add(BarredCertificate(serial=serial, barred=barred))
        issued = Issued.of(shown, Kind.HOST.value, str(host_id), Why.WITHIN_A_LOSS.value)
        self._journal.append(session, issued.happening())
        return row


def _is_of(session: Session, host_id: HostId, shown: x509.Certificate) -> bool:
    host = session.get(Host, str(host_id))
    if host is None or not host.active:
        return False
    return began_within_a_loss(session, shown)


def began_within_a_loss(session: Session, shown: x509.Certificate) -> bool:
    """Return whether a certificate's life began in a time of which the log lost records, as far as anybody found."""
    return _is_of_before_a_restore(session, shown) or any(
        _covers(session, loss, shown) for loss in rows.losses(session)
    )


def _is_of_before_a_restore(session: Session, shown: x509.Certificate) -> bool:
    """Return whether a certificate's life began between a backup and a restore from it that nobody has settled yet.

    By then the log may have grown past what is lost, so that no finding says any more where the loss begins.
    """
    return any(_is_between(restored, shown) for restored in unsettled(session))


def began_before_a_settled_restore(session: Session, shown: x509.Certificate) -> bool:
    """Return the same of restores that people have settled: good enough for whoever decides about one host.

    A host that was off all that time shows how far the log went to nobody, once its certificate for TLS has ended.
    """
    return any(_is_between(restored, shown) for restored in settled(session))


def _is_between(restored: Restored, shown: x509.Certificate) -> bool:
    return restored.begun - _BACKDATED <= shown.not_valid_before_utc <= restored.when


def _covers(session: Session, loss: LogLoss, shown: x509.Certificate) -> bool:
    """Return whether a certificate's life began after the last record before a loss and before the loss was found."""
    before = session.get(AuditRow, (CONTROL_PLANE, loss.first - 1))
    if before is None:
        return False
    began = shown.not_valid_before_utc
    return AuditRecord.parse(before.public).time - _BACKDATED <= began <= loss.found
