"""Closes a conflict of data sets, for a person who looked into it and says why."""

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import Conflict, Instance
from control_plane.db.transactions import in_one_commit
from control_plane.vault.opening import ReasonMissing
from control_plane.vault.siblings import MOST_NAMED
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import ObjectId


class NoOpenConflict(Refused):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"object {object_id} is in no conflict that is open")
        self.object_id = object_id


class Settling:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def settle(self, object_id: ObjectId, person: str, reason: str) -> None:
        """Close the conflict that an object is in. Nothing is deleted or preferred, and both stay flagged.

        The reason stands in the sealed part of the record: it may be about somebody's care.
        Raises ReasonMissing, NoOpenConflict, DatabaseUnavailable.
        """
        if not reason.strip():
            raise ReasonMissing
        in_one_commit(self._database, lambda session: self._settle(session, object_id, person, reason))

    def _settle(self, session: Session, object_id: ObjectId, person: str, reason: str) -> None:
        instance = session.get(Instance, str(object_id))
        conflict = session.get(Conflict, instance.token) if instance is not None else None
        if instance is None or conflict is None or conflict.settled is not None:
            raise NoOpenConflict(object_id)
        conflict.settled = self._clock.now()
        others = select(Instance.object_id).where(
            Instance.token == instance.token, Instance.object_id != str(object_id)
        )  # fmt: skip
        names = (str(object_id), *session.scalars(others.order_by(Instance.object_id).limit(MOST_NAMED)))
        who, what = (Participant("person", person, True),), tuple(Subject("object", name) for name in names)
        private: dict[str, Json] = {"reason": reason}
        self._journal.append(
            session, Happening(Event.CONFLICT_SETTLED, Action.UPDATE, Outcome.SUCCESS, who, what, private=private)
        )
