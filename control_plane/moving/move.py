"""What was allowed, as its audit record says it, and whether it is so now.

    record    = event vault.move-allowed of the centre
    subjects  = {move: its id}, {from: host}, {to: host}, {until: time}

The record decides and the row beside it does not: the row is a way to find it, and counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from shared import clock
from shared.audit.events import Outcome, Subject
from shared.audit.record import AuditRecord
from shared.errors import Malformed
from shared.identity import HostId

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class State(StrEnum):
    OPEN = "open"
    ENDED = "ended"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Move:
    """Until `until`, `bearer` may deliver the objects and audit records of `source`, as `source` signed them."""

    move_id: str
    source: HostId
    bearer: HostId
    until: datetime

    def subjects(self) -> tuple[Subject, ...]:
        return (
            self.subject,
            Subject("from", str(self.source)),
            Subject("to", str(self.bearer)),
            Subject("until", clock.text(self.until)),
        )

    @property
    def subject(self) -> Subject:
        return Subject("move", self.move_id)


class Moves(Protocol):
    """What the vault and the audit log ask before they take from one host what another one signed."""

    def permitting(self, source: HostId, bearer: HostId) -> Move | None:
        """Return what allows `bearer` to deliver for `source` now, None where nothing does whose record holds."""

    def count(self, session: "Session", move: Move, *, objects: int = 0, records: int = 0) -> None:
        """Add to what came by `move`, in the commit that keeps it. Raises MoveOver: it ended meanwhile."""


def state_of(until: datetime, ended: datetime | None, now: datetime) -> State:
    if ended is not None:
        return State.ENDED
    return State.OPEN if now < until else State.EXPIRED


def allowed_by(record: AuditRecord) -> Move | None:
    """Return what the record of an allowed move allows, None where it records a failure to."""
    if record.outcome is not Outcome.SUCCESS:
        return None
    try:
        move_id, source, bearer, until = (_one(record.what, kind) for kind in ("move", "from", "to", "until"))
        return Move(move_id, HostId.parse(source), HostId.parse(bearer), clock.parse(until))
    except Malformed:
        return None


def _one(subjects: Iterable[Subject], kind: str) -> str:
    names = [subject.name for subject in subjects if subject.kind == kind]
    if len(names) != 1:
        raise Malformed("record of a move", f"names {len(names)} times {kind}")
    return names[0]
