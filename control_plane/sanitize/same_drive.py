"""Orders for one and the same drive: who asks for a second is told of the first, and a proved wipe ends the others.

Serial number or WWN alone are enough for a warning; that an order is done with takes every name that a ticket binds.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import WipeOrderRow
from control_plane.sanitize.reading import Known, known
from shared.errors import Malformed
from shared.sanitization.ticket import Ticket

# Longer than the longest ticket holds, and than a large drive takes.
_LOOKED_BACK = timedelta(days=30)


class OrderedDrives:
    """The orders asked for since `since`, to be looked through for drives; each is read once more where one fits."""

    def __init__(self, session: Session, since: datetime) -> None:
        self._session = session
        wanted = select(WipeOrderRow).where(WipeOrderRow.requested > since - _LOOKED_BACK)
        self._rows = list(session.scalars(wanted.order_by(WipeOrderRow.requested, WipeOrderRow.order_id)))

    def others(self, ticket: Ticket) -> tuple[Known, ...]:
        """Return the other orders for the drive of `ticket`, the oldest first, each with those beside it."""
        found = [one for row in self._rows if (one := self._of(row, ticket)) is not None]
        return tuple(replace(one, others=tuple(each for each in found if each is not one)) for one in found)

    def _of(self, row: WipeOrderRow, ticket: Ticket) -> Known | None:
        named = (ticket.drive.serial, ticket.drive.wwn)
        if row.order_id == str(ticket.ticket_id) or not any(name.encode() in row.ticket for name in named if name):
            return None
        try:
            other = known(self._session, row)
        except Malformed:  # it is shown as not authentic, and says nothing of a drive
            return None
        return other if ticket.drive.may_be(other.ticket.drive) else None


def with_others(session: Session, held: Known) -> Known:
    return replace(held, others=OrderedDrives(session, held.ticket.issued).others(held.ticket))
