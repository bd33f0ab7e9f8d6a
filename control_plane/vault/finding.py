"""Finds objects by blind index, without a patient's value in any table; every look-up is recorded."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import BlindIndex, Conflict, Instance, Object
from control_plane.db.transactions import snapshot
from control_plane.vault.conflicts import Conflicts
from control_plane.vault.index_service import Attribute, IndexService
from control_plane.vault.siblings import Siblings
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.sealing.record import CaptureRecord, verify_record

MOST = 100


class AmbiguousLookUp(Refused):
    def __init__(self) -> None:
        super().__init__("a look-up is by one attribute at a time")


@dataclass(frozen=True)
class Found:
    """An object's facts that identify nobody."""

    object_id: str
    host_id: str
    received: datetime
    index_state: str
    record: CaptureRecord | None  # None: the host's signature on it does not hold, so nothing it says is shown
    siblings: Siblings | None  # None: its attributes were not evaluated, so nobody knows which instance it is

    def json(self) -> dict[str, Json]:
        unknown = dict.fromkeys(Siblings(0).json())
        return {
            "object": self.object_id,
            "host": self.host_id,
            "received": clocks.text(self.received),
            "index_state": self.index_state,
            "record": "signed" if self.record else "not authentic",
            "captured": clocks.text(self.record.captured) if self.record else None,
            "dataset_bytes": self.record.dataset_bytes if self.record else None,
            "grade": self.record.grade if self.record else None,
            "policy_version": self.record.policy_version if self.record else None,
            **(self.siblings.json() if self.siblings else unknown),
        }


class Finder:
    def __init__(
        self,
        database: sessionmaker[Session],
        hosts: EvidenceKeys,
        index: IndexService,
        conflicts: Conflicts,
        journal: CentreJournal,
    ) -> None:
        self._database, self._hosts, self._index = database, hosts, index
        self._conflicts, self._journal = conflicts, journal

    def find(
        self,
        person: str,
        *,
        patient_id: str | None = None,
        study: str | None = None,
        sop_instance: str | None = None,
        conflicts: bool = False,
    ) -> tuple[Found, ...]:
        """Return the newest objects, at most 100, that have the one attribute given; of all where none is.

        `conflicts` asks for those of open conflicts instead: several data sets under one SOP Instance UID.

        What was asked for is recorded before it is answered, its value in the sealed part only.
        Raises AmbiguousLookUp, Malformed, DatabaseUnavailable.
        """
        asked = {
            Attribute.PATIENT_ID: patient_id,
            Attribute.STUDY_INSTANCE_UID: study,
            Attribute.SOP_INSTANCE_UID: sop_instance,
        }
        given = [(attribute, value) for attribute, value in asked.items() if value is not None]
        if len(given) + conflicts > 1:
            raise AmbiguousLookUp
        newest = select(Object).order_by(Object.received.desc(), Object.object_id).limit(MOST)
        if conflicts:
            found = self._answer(_in_conflict(newest))
        else:
            found = self._answer(self._with(newest, *given[0]) if given else newest)
        who = (Participant("person", person, True),)
        what = (Subject("query", given[0][0].value if given else "conflicts" if conflicts else "newest"),)
        private: dict[str, Json] | None = {"value": given[0][1]} if given else None
        self._journal.record(
            Happening(Event.LOOKED_UP, Action.EXECUTE, Outcome.SUCCESS, who, what, f"{len(found)} found", private)
        )
        return found

    def _with(self, objects: Select[Object], attribute: Attribute, value: str) -> Select[Object] | None:
        token = self._index.token(attribute, value)
        if token is None:
            return None
        return objects.join(BlindIndex, BlindIndex.object_id == Object.object_id).where(
            BlindIndex.attribute == token.attribute.value, BlindIndex.token == token.value
        )

    def _answer(self, query: Select[Object] | None) -> tuple[Found, ...]:
        if query is None:
            return ()
        with snapshot(self._database) as session:
            rows = session.scalars(query).all()
        siblings = self._conflicts.of([row.object_id for row in rows])
        return tuple(
            Found(
                row.object_id,
                row.host_id,
                row.received,
                row.index_state,
                self._record(row),
                siblings.get(row.object_id),
            )
            for row in rows
        )

    def _record(self, row: Object) -> CaptureRecord | None:
        try:
            return verify_record(row.record, self._hosts.for_statement(row.host_id, row.record))
        except (Malformed, IntegrityFailure):
            return None


def _in_conflict(objects: Select[Object]) -> Select[Object]:
    of_conflicts = objects.join(Instance, Instance.object_id == Object.object_id)
    return of_conflicts.join(Conflict, Conflict.token == Instance.token).where(Conflict.settled.is_(None))
