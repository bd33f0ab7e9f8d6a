"""Destroys the key of a patient, a person or an object in the log, which erases every private part about them.

Two persons do it. What is public of a record, every hash and every proof stay. With the key goes what of the blind
index would find the subject. It is done again by itself where a restored database brings the key back.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.backup import register
from control_plane.backup.register import Copy, Destruction
from control_plane.db.engine import leave_nothing_behind
from control_plane.db.models import AuditToken, BlindIndex, DestroyedRow, SubjectKey
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.erasure.erased_file import ErasedFile
from control_plane.erasure.private_parts import SUBJECT, PrivateParts
from control_plane.erasure.resealing import Resealing
from control_plane.people.two_persons import Request
from control_plane.vault.index_service import Attribute, Token
from shared.clock import Clock
from shared.errors import Malformed, Refused
from shared.identity import CONTROL_PLANE

ERASE = "erase-subject"
ERASABLE = {"patient": Attribute.PATIENT_ID, "person": Attribute.PERSON, "object": Attribute.OBJECT}
_OF_IMAGES = (Attribute.STUDY_INSTANCE_UID, Attribute.SERIES_INSTANCE_UID, Attribute.SOP_INSTANCE_UID)
FINDS_THE_PATIENT = (
    Attribute.PATIENT_ID, Attribute.PATIENT_ID_OF_ISSUER, Attribute.PATIENT_NAME, Attribute.ACCESSION_NUMBER
)  # fmt: skip
_AT_ONCE = 500


class SubjectUnknown(Refused):
    def __init__(self) -> None:
        super().__init__("the log has no key of such a subject; it may have been erased already")


@dataclass(frozen=True)
class Erasable:
    """The key of a subject, by its random id, and the copies that hold it: erasing here does not reach them."""

    key_id: str
    copies: tuple[Copy, ...]


class Erasing:
    """`afterwards` writes down outside of the database what was erased, so that no backup undoes it."""

    action, kind = ERASE, SUBJECT

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: CentreJournal,
        private: PrivateParts,
        erased: ErasedFile,
        clock: Clock,
    ) -> None:
        self._database, self._journal, self._private = database, journal, private
        self._erased, self._clock = erased, clock
        self._resealing = Resealing(journal, private)

    def erasable(self, kind: str, value: str) -> Erasable:
        """Return the key of a subject, made where nothing was sealed to it yet: its blind index goes with it.

        Raises Malformed: nothing of `value` is indexed.
        """
        token = self._private.index.token(ERASABLE[kind], value)
        if token is None:
            raise Malformed(kind, "nothing of it is indexed")
        now = self._clock.now()
        # A long way to go, after an upgrade, is gone in many commits, so that no record has to wait for all of it.
        self._resealing.step()

        def work(session: Session) -> Erasable:
            while self._resealing.some(session):
                pass
            key = self._private.key_of(session, token, now)
            since = min(one.since for one in (key, *self._related(session, key)))
            return Erasable(key.key_id, tuple(one for one in register.copies(session) if one.begun >= since))

        return in_one_commit(self._database, work)

    def verify(self, session: Session, subject: str) -> None:
        """Raises SubjectUnknown."""
        _key(session, subject)

    def perform(self, session: Session, request: Request, approver: str) -> None:
        """Raises SubjectUnknown."""
        while self._resealing.some(session):
            pass
        self._destroy(session, _key(session, request.subject), approver)

    def afterwards(self, subject: str) -> None:  # noqa: ARG002 (all of them are looked at)
        self._write_down()
        leave_nothing_behind(self._database)

    def again(self) -> int:
        """Destroy once more what was erased and is here again; return how many keys that were.

        Raises ErasedFileUnusable, Malformed, DatabaseUnavailable.
        """
        self._write_down()
        erased = self._erased.read()

        def work(session: Session) -> int:
            revived = [key for key in session.scalars(select(SubjectKey)) if key.key_id in erased]
            for key in revived:
                if key in session:
                    self._destroy(session, key, CONTROL_PLANE)
            return len(revived)

        return in_one_commit(self._database, work)

    def _write_down(self) -> None:
        with snapshot(self._database) as session:
            gone = session.scalars(select(DestroyedRow.name).where(DestroyedRow.kind == SUBJECT)).all()
        self._erased.add(gone)

    def _destroy(self, session: Session, key: SubjectKey, person: str) -> None:
        now, keys = self._clock.now(), (key, *self._related(session, key))
        for one in keys:
            gone = Destruction(SUBJECT, one.key_id, one.since, person)
            register.destroyed(session, self._journal, gone, now)
        tokens = {(one.attribute, one.token) for one in keys}
        tokens |= {(one.attribute.value, one.value) for one in self._tokens(session, key)}
        for attribute, token in tokens:
            session.execute(delete(AuditToken).where(AuditToken.attribute == attribute, AuditToken.token == token))
        if key.attribute == Attribute.PATIENT_ID.value:
            for some in _objects(session, key):
                finds = BlindIndex.attribute.in_([one.value for one in FINDS_THE_PATIENT])
                session.execute(delete(BlindIndex).where(BlindIndex.object_id.in_(some), finds))
        for one in keys:
            session.delete(one)
        session.flush()

    def _related(self, session: Session, key: SubjectKey) -> list[SubjectKey]:
        """Return the keys of what is a patient's: their studies, series and images."""
        found = (session.get(SubjectKey, (one.attribute.value, one.value)) for one in self._tokens(session, key))
        return list({one.key_id: one for one in found if one is not None}.values())

    def _tokens(self, session: Session, key: SubjectKey) -> Iterator[Token]:
        if key.attribute != Attribute.PATIENT_ID.value:
            return
        for some in _objects(session, key):
            theirs = select(BlindIndex.attribute, BlindIndex.token).where(
                BlindIndex.object_id.in_(some), BlindIndex.attribute.in_([one.value for one in _OF_IMAGES])
            )
            for attribute, value in session.execute(theirs.distinct()).all():
                yield Token(Attribute(attribute), value)
            for name in some:
                if (token := self._private.index.token(Attribute.OBJECT, name)) is not None:
                    yield token


def _key(session: Session, key_id: str) -> SubjectKey:
    key = session.scalars(select(SubjectKey).where(SubjectKey.key_id == key_id)).first()
    if key is None:
        raise SubjectUnknown
    return key


def _objects(session: Session, key: SubjectKey) -> Iterator[list[str]]:
    """Yield a patient's objects, some at a time."""
    theirs = select(BlindIndex.object_id).where(BlindIndex.attribute == key.attribute, BlindIndex.token == key.token)
    names = list(session.scalars(theirs.order_by(BlindIndex.object_id)))
    for at in range(0, len(names), _AT_ONCE):
        yield names[at : at + _AT_ONCE]
