"""Images that the vault answered for and has no more: the body is missing, or is not what the host signed.

The host that captured the image is told, so that it no longer says that it has it and takes it in again; where that
one's identity ended, whichever host brought images of it here. With the same
image here as another object the loss is over, and its row stays, for the lost object has no receipt to give; with the
body itself here again the row goes. The log keeps all of it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db import driver
from control_plane.db.engine import engine_of
from control_plane.db.models import Host, LostObject, as_stored
from control_plane.enrolment.standing import ENDED
from control_plane.vault.object_store import Bodies, BodyMissing, BodyUnreadable
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Malformed
from shared.fleet.receipt import MOST_LOST
from shared.identity import CONTROL_PLANE, HostId, ObjectId
from shared.sealing.binding import Binding
from shared.sealing.record import CaptureRecord
from shared.signing import claimed_payload

_MOST_NAMED, _AT_ONCE = 3, 100
_READ_BYTES = 1 << 18
_SIGNED = "SELECT host_id, record FROM objects WHERE object_id = ?"
_LOST = "SELECT dataset_sha256 FROM lost_objects WHERE object_id = ?"
_OF_DATASET = (
    "SELECT o.object_id, o.binding, o.index_state FROM lost_objects l JOIN objects o ON o.object_id = l.object_id "
    "WHERE l.dataset_sha256 = ? AND (l.over_by IS NULL OR l.object_id = ?)"
)
# Whose images a host is told of: its own, and those of hosts whose identity ended and of which it brought some.
_ENDED = ", ".join(f"'{standing}'" for standing in sorted(ENDED))
_TOLD_OF = (
    "(host_id = ? OR host_id IN (SELECT m.source FROM spool_moves m JOIN hosts h ON h.host_id = m.source "  # noqa: S608 (ours)
    f"WHERE m.bearer = ? AND m.objects > 0 AND h.standing IN ({_ENDED})))"
)
_UNTOLD = (
    f"SELECT object_id FROM lost_objects WHERE {_TOLD_OF} AND told IS NULL AND over_by IS NULL "  # noqa: S608 (ours)
    "ORDER BY object_id LIMIT ?"
)
_TOLD = f"UPDATE lost_objects SET told = ? WHERE object_id = ? AND {_TOLD_OF} AND told IS NULL"  # noqa: S608 (ours)
_FORGET_TOLD = f"UPDATE lost_objects SET told = NULL WHERE {_TOLD_OF}"  # noqa: S608 (ours)
_OPEN = (
    "SELECT o.object_id, o.record, o.body_bytes FROM lost_objects l JOIN objects o ON o.object_id = l.object_id "
    "WHERE l.over_by IS NULL AND l.object_id > ? ORDER BY l.object_id LIMIT ?"
)
_ENDED_BY = "SELECT object_id, host_id FROM lost_objects WHERE over_by = ?"
_AGAIN = "UPDATE lost_objects SET over_by = NULL, told = NULL, settled = NULL WHERE over_by = ?"
_OVER = "UPDATE lost_objects SET over_by = ? WHERE object_id = ? AND over_by IS NULL"
_WHO = Participant("service", CONTROL_PLANE, True)


@dataclass(frozen=True)
class OpenLoss:
    """A lost object that nothing came for; `record` is what its host signed, as far as the database goes."""

    object_id: ObjectId
    record: bytes
    body_bytes: int


class Losses:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._engine, self._journal, self._clock = engine_of(database), journal, clock

    def found(self, object_id: ObjectId, why: str) -> None:
        """Raises DatabaseUnavailable."""
        self._journal.commits.run(lambda session: self.note(session, object_id, why))

    def note(self, session: Session, object_id: ObjectId, why: str) -> None:
        """Note that an object's body is not here as its host signed it; once, and nothing of what is no object.

        What it had come in the place of is missed again.
        """
        held = driver.row(session, _SIGNED, (str(object_id),))
        if held is None or is_lost(session, object_id):
            return
        try:
            digest = CaptureRecord.parse(claimed_payload(driver.blob(held[1]))).dataset_sha256
        except Malformed:
            return  # the row was altered; of the body that says nothing
        row = (str(object_id), held[0], digest, as_stored(session, self._clock.now()))
        driver.insert(session, "lost_objects (object_id, host_id, dataset_sha256, found)", [row])
        self._record(session, str(object_id), held[0], why)
        for again, host_id in driver.rows(session, _ENDED_BY, (str(object_id),)):
            self._record(session, again, host_id, f"object {object_id}, which held the same image, is lost too")
        driver.run(session, _AGAIN, (str(object_id),))

    def _record(self, session: Session, object_id: str, host_id: str, why: str) -> None:
        who, what = (_WHO, Participant("host", host_id, False)), (Subject("object", object_id),)
        lost = Happening(Event.OBJECT_LOST, Action.READ, Outcome.SERIOUS_FAILURE, who, what, why)
        self._journal.append(session, lost)

    def untold(self, host_id: HostId) -> tuple[ObjectId, ...]:
        """Return what a host is to be told of, the first few. Raises DatabaseUnavailable."""
        rows = driver.rows_by_itself(self._engine, _UNTOLD, (*[str(host_id)] * 2, MOST_LOST))
        return tuple(ObjectId.parse(name) for (name,) in rows)

    def open_after(self, after: ObjectId | None) -> Iterator[OpenLoss]:
        """Yield what nothing came for, in the order of ids, behind `after`; a few are held at a time.

        Raises DatabaseUnavailable.
        """
        last = "" if after is None else str(after)
        while rows := driver.rows_by_itself(self._engine, _OPEN, (last, _AT_ONCE)):
            for name, record, size_bytes in rows:
                yield OpenLoss(ObjectId.parse(name), driver.blob(record), size_bytes)
            last = rows[-1][0]

    def regained(self, by: Binding, dataset_sha256: bytes, index_states: Sequence[str]) -> tuple[ObjectId, ...]:
        """Return what was lost and is here again with an object that holds this very data set.

        It is the same image only in the same transfer syntax; `index_states` are those in which no look-up found more
        of it. Raises DatabaseUnavailable.
        """
        rows = driver.rows_by_itself(self._engine, _OF_DATASET, (dataset_sha256, str(by.object_id)))
        return tuple(
            ObjectId.parse(name)
            for name, bound, state in rows
            if name == str(by.object_id)
            or (_transfer_syntax(driver.blob(bound)) == by.transfer_syntax and state in index_states)
        )

    def told(self, object_id: ObjectId, host_id: HostId) -> None:
        """Note that whoever is told of an object asked for its receipt and hears that there is none."""

        def note(session: Session) -> None:
            now = as_stored(session, self._clock.now())
            driver.run(session, _TOLD, (now, str(object_id), *[str(host_id)] * 2))

        self._journal.commits.run(note)

    def ended(self, lost: Sequence[ObjectId], by: ObjectId) -> None:
        """Do what `end` does, in a commit of its own. Raises DatabaseUnavailable."""
        if lost:
            self._journal.commits.run(lambda session: self.end(session, lost, by))

    def end(self, session: Session, lost: Iterable[ObjectId], by: ObjectId) -> None:
        """Note that what was lost is here again, as the object `by`, which was proved to hold it."""
        for object_id in lost:
            is_news = driver.run(session, _OVER, (str(by), str(object_id)))
            if object_id == by:
                driver.run(session, "DELETE FROM lost_objects WHERE object_id = ?", (str(by),))
            if is_news:
                what = tuple(Subject("object", name) for name in dict.fromkeys((str(by), str(object_id))))
                self._journal.append(session, Happening(Event.LOSS_OVER, Action.UPDATE, Outcome.SUCCESS, (_WHO,), what))


def is_lost(session: Session, object_id: ObjectId) -> bool:
    return driver.row(session, _LOST, (str(object_id),)) is not None


def forget_telling(session: Session, host_id: HostId) -> None:
    """Have a host told of everything again, for it went back to a state in which it may not have heard."""
    driver.run(session, _FORGET_TOLD, tuple([str(host_id)] * 2))


def is_whole(bodies: Bodies, object_id: ObjectId, size_bytes: int, digest: bytes) -> bool:
    """Return whether a body is here just as its host signed it. Raises StoreUnavailable."""
    try:
        return _digest(bodies, object_id) == (size_bytes, digest)
    except (BodyMissing, BodyUnreadable):
        return False


def is_as_signed(bodies: Bodies, object_id: ObjectId, signed: bytes, rest: Callable[[], None] = lambda: None) -> bool:
    """Return whether all of a body is what the capture record `signed` names; `rest` is called after each piece.

    Raises BodyMissing, BodyUnreadable, StoreUnavailable, and whatever `rest` raises.
    """
    try:
        record = CaptureRecord.parse(claimed_payload(signed))
    except Malformed:
        return False  # the row was altered, and nothing says what the body has to be
    return _digest(bodies, object_id, rest) == (record.body_bytes, record.body_sha256)


def _digest(bodies: Bodies, object_id: ObjectId, rest: Callable[[], None] = lambda: None) -> tuple[int, bytes]:
    read, hashed, buffer = 0, sha256(), memoryview(bytearray(_READ_BYTES))
    with bodies.open(object_id) as body:
        while count := body.readinto(buffer) or 0:
            hashed.update(buffer[:count])
            read += count
            rest()
    return read, hashed.digest()


def gaps(session: Session) -> Iterator[str]:
    """Say for each host what of its images is lost, and what people can do."""
    is_told, mine = LostObject.told.is_not(None), LostObject.host_id == Host.host_id
    is_open = LostObject.over_by.is_(None) & LostObject.settled.is_(None)
    counted = select(Host, is_told, func.count()).join(LostObject, mine).where(is_open)
    for host, told, count in session.execute(counted.group_by(Host.host_id, is_told).order_by(Host.enrolled, is_told)):
        of_it = select(LostObject.object_id).where(LostObject.host_id == host.host_id, is_open, is_told.is_(told))
        named = ", ".join(session.scalars(of_it.order_by(LostObject.object_id).limit(_MOST_NAMED)))
        more = f" and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
        images, them = ("1 image, or it is", "it") if count == 1 else (f"{count} images, or they are", "them")
        lost = f"{host.asset}: the vault lost {images} damaged there: {named}{more}"
        yield f"{lost}; {_what_to_do(host, them, is_told=told)}"


def _what_to_do(host: Host, them: str, *, is_told: bool) -> str:
    if not host.active:
        return f"this host is {host.standing}: send {them} to another one, or `leadglass-server losses settle`"
    if is_told:
        return f"the host knows: send {them} again"
    return (
        f"the host does not know yet: do not send {them} there until it does, for it would answer success and keep "
        "nothing"
    )


def _transfer_syntax(binding: bytes) -> str | None:
    try:
        return Binding.parse(binding).transfer_syntax
    except Malformed:
        return None  # the row was altered, and nothing is known to be the same
