"""States that a lost image does not come again: a person's word, for what nobody can send any more.

It is off what is *not proved* then, and stays counted. Whoever brings the image all the same ends the loss as ever.
"""

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import Host, LostObject
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.vault.opening import ReasonMissing
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import ObjectId

_MOST = 1000
_MISSED = LostObject.over_by.is_(None)


class NoOpenLoss(Refused):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"object {object_id} is not lost, or it is settled already")
        self.object_id = object_id


class FinalLosses:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def listed(self) -> dict[str, Json]:
        """Return what is lost, open losses first, the first thousand; and how many there are."""
        rows = select(LostObject, Host.asset, Host.standing).join(Host, Host.host_id == LostObject.host_id)
        first = rows.where(_MISSED).order_by(LostObject.settled.is_not(None), LostObject.found, LostObject.object_id)
        with snapshot(self._database) as session:
            losses = [_shown(*row) for row in session.execute(first.limit(_MOST))]
            still_open = _count(session, LostObject.settled.is_(None))
            return {"losses": list(losses), "open": still_open, "settled": count_settled(session)}

    def settle(self, object_id: ObjectId, person: str, reason: str) -> None:
        """State that an image does not come again. The reason is sealed: it may be about somebody's care.

        Raises ReasonMissing, NoOpenLoss, DatabaseUnavailable.
        """
        if not reason.strip():
            raise ReasonMissing
        in_one_commit(self._database, lambda session: self._settle(session, object_id, person, reason))

    def _settle(self, session: Session, object_id: ObjectId, person: str, reason: str) -> None:
        lost = session.get(LostObject, str(object_id))
        if lost is None or lost.over_by is not None or lost.settled is not None:
            raise NoOpenLoss(object_id)
        lost.settled = self._clock.now()
        who = (Participant("person", person, True), Participant("host", lost.host_id, False))
        what, private = (Subject("object", str(object_id)),), dict[str, Json](reason=reason)
        self._journal.append(
            session, Happening(Event.LOSS_SETTLED, Action.UPDATE, Outcome.SUCCESS, who, what, private=private)
        )


def count_settled(session: Session) -> int:
    return _count(session, LostObject.settled.is_not(None))


def _count(session: Session, which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(LostObject).where(_MISSED, which)) or 0


def _shown(lost: LostObject, asset: str, standing: str) -> Json:
    return {
        "object": lost.object_id,
        "state": "lost" if lost.settled is None else "lost, settled",
        "host": lost.host_id,
        "asset": asset,
        "standing": standing,
        "found": clocks.text(lost.found),
        "settled": None if lost.settled is None else clocks.text(lost.settled),
    }
