"""What the database says of the centre's own log at one number, and of what was found missing of it."""

from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, AuditStatement, AuditSubject, LogLoss
from shared.audit.checkpoint import LOST, AcceptedLoss, Loss, read_loss, verify_loss
from shared.audit.events import Event
from shared.audit.record import AuditRecord, leaf_hash
from shared.errors import IntegrityFailure, Malformed
from shared.identity import CONTROL_PLANE
from shared.signing import EvidencePublicKey


def leaf_at(session: Session, seq: int) -> bytes | None:
    """Return the leaf of record `seq`, None where there is none."""
    public = session.scalar(select(AuditRow.public).where(AuditRow.source == CONTROL_PLANE, AuditRow.seq == seq))
    return None if public is None else leaf_hash(public)


def statement_of(session: Session, seq: int) -> bytes | None:
    """Return what the log signed of its record `seq`, None where it did not."""
    ends_there = (AuditStatement.source == CONTROL_PLANE, AuditStatement.last == seq)
    return session.scalars(select(AuditStatement.statement).where(*ends_there).limit(1)).first()


def newest_statement(session: Session) -> bytes | None:
    theirs = select(AuditStatement.statement).where(AuditStatement.source == CONTROL_PLANE)
    return session.scalars(theirs.order_by(AuditStatement.last.desc()).limit(1)).first()


def losses(session: Session) -> Sequence[LogLoss]:
    return session.scalars(select(LogLoss).order_by(LogLoss.seq, LogLoss.leaf)).all()


def accepted_by(session: Session, loss: LogLoss, own: EvidencePublicKey) -> str | None:
    """Return who accepted a loss, None where it is open: a row that says so without a record of it says nothing."""
    return loss.accepted_by if is_signed(accepted_loss(session, loss.seq), own) else None


def is_signed(accepted: AcceptedLoss | None, own: EvidencePublicKey) -> bool:
    """Whether there is a record of it that the journal signed: rows of a record are made as easily as any other."""
    try:
        return accepted is not None and bool(verify_loss(accepted, own))
    except (Malformed, IntegrityFailure):
        return False


def open_losses(session: Session, own: EvidencePublicKey) -> list[LogLoss]:
    return [loss for loss in losses(session) if accepted_by(session, loss, own) is None]


def accepted_loss(session: Session, seq: int) -> AcceptedLoss | None:
    """Return the newest record by which a person accepted that record `seq` is lost."""
    return _newest_acceptance(session, lambda loss: loss.last >= seq)


def accepted_tree_loss(session: Session, size: int) -> AcceptedLoss | None:
    """Return the newest record by which a person accepted that a Merkle log of `size` entries is lost."""
    return _newest_acceptance(session, lambda loss: loss.tree >= size)


def _newest_acceptance(session: Session, covers: Callable[[Loss], bool]) -> AcceptedLoss | None:
    # Of this kind, by which rows are found; without it all that is said of every object is looked through.
    named = select(AuditSubject.seq).where(
        AuditSubject.kind == LOST, AuditSubject.source == CONTROL_PLANE,
        AuditSubject.event == Event.LOG_LOSS_ACCEPTED.value,
    )  # fmt: skip
    for number in session.scalars(named.order_by(AuditSubject.seq.desc()).distinct()):
        row, statement = session.get(AuditRow, (CONTROL_PLANE, number)), statement_of(session, number)
        try:
            if row is not None and statement is not None and covers(read_loss(AuditRecord.parse(row.public))):
                return AcceptedLoss(row.public, statement)
        except Malformed:
            continue  # altered; whoever asks verifies what it gets, and another one may serve
    return None
