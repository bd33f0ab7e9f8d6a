"""Seals anew, to the subjects' own keys, what hosts sealed to the centre's audit key, and what was held before.

A host cannot have a key for each patient. The commitment stays, and with it every hash and proof; only the bytes beside
the record are other ones. What does not open, or is about nobody who is known, is left as it came.
"""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from control_plane.audit_log import rows
from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import AuditRow, Fact
from control_plane.erasure.private_parts import PrivateParts
from control_plane.erasure.subject_box import is_subject_box
from control_plane.erasure.subjects import concerned
from shared import canonical
from shared.audit.record import SALT_BYTES, AuditRecord, StoredRecord
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.sealing.hpke import BoxLabel

_DONE = "audit/resealed-below"
_AT_ONCE = 200


def resealed_below(session: Session) -> int:
    """Return the entry below which everything that can be is sealed anew."""
    fact = session.get(Fact, _DONE)
    return int(fact.value) if fact is not None else 0


class Resealing:
    def __init__(self, journal: CentreJournal, private: PrivateParts) -> None:
        self._journal, self._private = journal, private

    def step(self) -> None:
        """Go on until nothing is left. Raises DatabaseUnavailable."""
        while self._journal.commits.run(self.some):
            pass

    def some(self, session: Session) -> bool:
        """Seal some records anew, within a commit; return whether there may be more."""
        below = resealed_below(session)
        sealed = select(AuditRow).where(AuditRow.entry >= below, AuditRow.sealed.is_not(None))
        found = session.scalars(sealed.order_by(AuditRow.entry).limit(_AT_ONCE)).all()
        for row in found:
            self._seal(session, row)
        is_more = len(found) == _AT_ONCE
        last = found[-1].entry if is_more else session.scalar(select(func.max(AuditRow.entry)))
        now = below if last is None else last + 1
        if now != below:
            session.merge(Fact(name=_DONE, value=str(now)))
        return is_more

    def _seal(self, session: Session, row: AuditRow) -> None:
        if row.sealed is None or is_subject_box(row.sealed):
            return
        try:
            stored = StoredRecord(row.public, row.sealed)
            record, opened = AuditRecord.parse(row.public), self._private.open(session, stored)
            private = canonical.parse((opened.salted or b"")[SALT_BYTES:], "audit private part")
        except (Malformed, Refused, IntegrityFailure):
            return
        if opened.salted is None or record.commitment is None or not isinstance(private, dict):
            return
        about = concerned(session, self._private.index, record.who, record.what, private)
        if about.tokens:
            sealer = self._private.sealer(session, about, row.received)
            box = sealer.seal(BoxLabel.AUDIT_PRIVATE, record.commitment, opened.salted)
            here = (AuditRow.source == row.source) & (AuditRow.seq == row.seq)
            session.execute(update(AuditRow).where(here).values(sealed=box))
            rows.keep_tokens(session, row.entry or 0, about.asked)
