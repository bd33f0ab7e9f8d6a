"""Images that the vault answered for and has no more: the body is missing, or is not what the host signed.

A loss is open while its row is there. The host that captured the image is told, so that it no longer says that it has
it and takes it in again; with the image here again the row goes. The log keeps both.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db import driver
from control_plane.db.engine import engine_of
from control_plane.db.models import Host, LostObject, as_stored
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Malformed
from shared.fleet.receipt import MOST_LOST
from shared.identity import CONTROL_PLANE, HostId, ObjectId
from shared.sealing.record import CaptureRecord
from shared.signing import claimed_payload

_MOST_NAMED = 3
_SIGNED = "SELECT host_id, record FROM objects WHERE object_id = ?"
_OPEN = "SELECT 1 FROM lost_objects WHERE object_id = ?"
_OF_DATASET = "SELECT object_id FROM lost_objects WHERE dataset_sha256 = ?"
_UNTOLD = "SELECT object_id FROM lost_objects WHERE host_id = ? AND told IS NULL ORDER BY object_id LIMIT ?"
_WHO = Participant("service", CONTROL_PLANE, True)


class Losses:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._engine, self._journal, self._clock = engine_of(database), journal, clock

    def found(self, object_id: ObjectId, why: str) -> None:
        """Raises DatabaseUnavailable."""
        self._journal.commits.run(lambda session: self.note(session, object_id, why))

    def note(self, session: Session, object_id: ObjectId, why: str) -> None:
        """Note that an object's body is not here as its host signed it; once, and nothing of what is no object."""
        held = driver.row(session, _SIGNED, (str(object_id),))
        if held is None or is_lost(session, object_id):
            return
        try:
            digest = CaptureRecord.parse(claimed_payload(driver.blob(held[1]))).dataset_sha256
        except Malformed:
            return  # the row was altered; of the body that says nothing
        row = (str(object_id), held[0], digest, as_stored(session, self._clock.now()))
        driver.insert(session, "lost_objects (object_id, host_id, dataset_sha256, found)", [row])
        who = (_WHO, Participant("host", held[0], False))
        what = (Subject("object", str(object_id)),)
        lost = Happening(Event.OBJECT_LOST, Action.READ, Outcome.SERIOUS_FAILURE, who, what, why)
        self._journal.append(session, lost)

    def untold(self, host_id: HostId) -> tuple[ObjectId, ...]:
        """Return what a host is to be told of, the first few. Raises DatabaseUnavailable."""
        rows = driver.rows_by_itself(self._engine, _UNTOLD, (str(host_id), MOST_LOST))
        return tuple(ObjectId.parse(name) for (name,) in rows)

    def of_dataset(self, dataset_sha256: bytes) -> tuple[ObjectId, ...]:
        """Return what was lost and held this very data set. Raises DatabaseUnavailable."""
        rows = driver.rows_by_itself(self._engine, _OF_DATASET, (dataset_sha256,))
        return tuple(ObjectId.parse(name) for (name,) in rows)

    def told(self, object_id: ObjectId, host_id: HostId) -> None:
        """Note that the host of an object asked for its receipt and hears that there is none."""

        def note(session: Session) -> None:
            driver.run(
                session,
                "UPDATE lost_objects SET told = ? WHERE object_id = ? AND host_id = ? AND told IS NULL",
                (as_stored(session, self._clock.now()), str(object_id), str(host_id)),
            )

        self._journal.commits.run(note)

    def ended(self, object_id: ObjectId) -> None:
        """Note that an object was proved whole; of one that was not lost there is nothing to note."""
        if driver.rows_by_itself(self._engine, _OPEN, (str(object_id),)):
            self._journal.commits.run(lambda session: self.end(session, (object_id,), object_id))

    def end(self, session: Session, lost: Sequence[ObjectId], by: ObjectId) -> None:
        """Note that what was lost is here again, as the object `by`, which was proved to hold it."""
        for object_id in lost:
            if driver.run(session, "DELETE FROM lost_objects WHERE object_id = ?", (str(object_id),)):
                what = tuple(Subject("object", name) for name in dict.fromkeys((str(by), str(object_id))))
                self._journal.append(session, Happening(Event.LOSS_OVER, Action.UPDATE, Outcome.SUCCESS, (_WHO,), what))


def is_lost(session: Session, object_id: ObjectId) -> bool:
    return driver.row(session, _OPEN, (str(object_id),)) is not None


def gaps(session: Session) -> Iterator[str]:
    """Say for each host what of its images is lost, and what people can do."""
    open_ones = select(Host.asset, LostObject.host_id, LostObject.object_id, LostObject.told).join(
        Host, Host.host_id == LostObject.host_id
    )
    rows = session.execute(open_ones.order_by(Host.enrolled, LostObject.host_id, LostObject.object_id)).all()
    for _, of_host in groupby(rows, key=lambda row: row.host_id):
        lost = list(of_host)
        told = sum(row.told is not None for row in lost)
        named = ", ".join(row.object_id for row in lost[:_MOST_NAMED])
        more = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
        images = "1 image" if len(lost) == 1 else f"{len(lost)} images"
        yield (
            f"{lost[0].asset}: the vault lost {images}, or they are damaged there: {named}{more}; the host knows of "
            f"{told}, and takes in anew what is sent to it again"
        )
