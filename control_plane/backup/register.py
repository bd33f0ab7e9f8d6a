"""Which copies there are, and which of them still hold what was destroyed since."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.backup.manifest import Manifest
from control_plane.db.models import BackupRow, DestroyedRow
from control_plane.fleet.states import Journal
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.errors import Refused

KEY, WRAP = "key", "wrap"


class BackupUnknown(Refused):
    def __init__(self, label: str) -> None:
        super().__init__(f"no copy {label} is known that is not gone already")
        self.label = label


@dataclass(frozen=True)
class Copy:
    """A copy that exists as far as anybody said. `holds` names what was destroyed here and is still in it."""

    label: str
    place: str
    begun: datetime
    is_finished: bool
    audit_seq: int
    objects: int
    body_bytes: int
    keep_until: datetime | None
    holds: tuple[str, ...]

    def json(self) -> dict[str, Json]:
        return {
            "label": self.label,
            "place": self.place,
            "begun": clocks.text(self.begun),
            "finished": self.is_finished,
            "audit_seq": self.audit_seq,
            "objects": self.objects,
            "body_bytes": self.body_bytes,
            "keep_until": clocks.text(self.keep_until) if self.keep_until else None,
            "holds_destroyed": list(self.holds),
        }


def begin(session: Session, manifest: Manifest, place: str, keep_until: datetime | None) -> None:
    session.add(_row(manifest, place, keep_until))


def finish(session: Session, label: str, now: datetime) -> None:
    session.get_one(BackupRow, label).made = now


def know(session: Session, manifest: Manifest, place: str, now: datetime) -> None:
    """Note the finished backup that a centre was restored from, which its rows do not know yet as one."""
    row = _row(manifest, place, None)
    row.made = now
    session.merge(row)


def forget(session: Session, label: str, person: str, now: datetime) -> None:
    """Note that a person says that a copy is gone. Raises BackupUnknown."""
    row = session.get(BackupRow, label)
    if row is None or row.forgotten is not None:
        raise BackupUnknown(label)
    row.forgotten, row.forgotten_by = now, person


@dataclass(frozen=True)
class Destruction:
    """A key by its name, or the wrap of an object by the object's id. `since`: when it had come to be."""

    kind: str
    name: str
    since: datetime
    person: str


def destroyed(session: Session, journal: Journal, gone: Destruction, now: datetime) -> None:
    """Note, with its record and with the caller's commit, what was destroyed here for good."""
    who, what = (Participant("person", gone.person, True),), (Subject(gone.kind, gone.name),)
    journal.append(session, Happening(Event.KEY_DESTROYED, Action.DELETE, Outcome.SUCCESS, who, what))
    session.add(DestroyedRow(kind=gone.kind, name=gone.name, since=gone.since, destroyed=now, person=gone.person))


def copies(session: Session) -> Iterator[Copy]:
    """Yield every copy that nobody said is gone, oldest first."""
    gone = session.scalars(select(DestroyedRow).order_by(DestroyedRow.destroyed, DestroyedRow.name)).all()
    known = select(BackupRow).where(BackupRow.forgotten.is_(None)).order_by(BackupRow.begun, BackupRow.label)
    for row in session.scalars(known):
        keys = set(json.loads(row.keys))
        yield Copy(
            label=row.label,
            place=row.place,
            begun=row.begun,
            is_finished=row.made is not None,
            audit_seq=row.audit_seq,
            objects=row.objects,
            body_bytes=row.body_bytes,
            keep_until=row.keep_until,
            holds=tuple(f"{one.kind} {one.name}" for one in gone if _holds(row.begun, keys, one)),
        )


def _holds(begun: datetime, keys: set[str], gone: DestroyedRow) -> bool:
    was_there = gone.since <= begun <= gone.destroyed
    return was_there and (gone.kind != KEY or gone.name in keys)


def _row(manifest: Manifest, place: str, keep_until: datetime | None) -> BackupRow:
    return BackupRow(
        label=manifest.label,
        place=place,
        begun=manifest.begun,
        made=None,
        audit_seq=manifest.audit_seq,
        objects=manifest.objects,
        body_bytes=manifest.body_bytes,
        keys=json.dumps(list(manifest.keys)),
        keep_until=keep_until,
        forgotten=None,
        forgotten_by="",
    )
