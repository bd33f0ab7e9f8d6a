"""Finds records by what they say and by whom they are about, in the order of time; each question is a record itself.

The index only leads to pieces of the log (`pieces.py`), or to what may be about a patient or a study (`about.py`):
what is answered is read from each record's own public part, and held against the question.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import Select, and_, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, sessionmaker

from control_plane.audit_log.about import Candidates, Sought, images_of, sought
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.objects import Remembered
from control_plane.audit_log.pieces import EVENT, LONGEST_US, OUTCOME
from control_plane.audit_log.shown import Showing
from control_plane.db.models import AuditName, AuditPiece, AuditRow, Object
from control_plane.db.transactions import snapshot
from control_plane.erasure.private_parts import PrivateParts, State
from control_plane.tlog import rows as heads
from control_plane.vault.index_service import Attribute, Token
from control_plane.vault.receive import NOT_EVALUATED
from shared import canonical, clock
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.question import Question
from shared.audit.record import AuditRecord, StoredRecord
from shared.canonical import Json
from shared.errors import Malformed

MOST = 1000
_AT_ONCE = 500
_Rows = Select[int | None, int | None, int | None, bytes]
Column = InstrumentedAttribute[int] | InstrumentedAttribute[int | None]
_PLACE = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})")
_BLIND = {"patient": Attribute.PATIENT_ID, "study": Attribute.STUDY_INSTANCE_UID}


@dataclass(frozen=True)
class Place:
    """Behind which record a page begins: its time in microseconds of 1970, and its entry.

    The log is asked as it was before the question, when it had `size` entries, whatever is entered between two pages.
    """

    happened: int
    entry: int
    size: int

    def text(self) -> str:
        return f"{self.happened}.{self.entry}.{self.size}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Raises Malformed."""
        found = _PLACE.fullmatch(text)
        if found is None:
            raise Malformed("place in the log", "expected what an earlier answer ended with")
        return cls(int(found[1]), int(found[2]), int(found[3]))

    @classmethod
    def first(cls, size: int) -> "Place":
        return cls(-(2**62), 0, size)


@dataclass(frozen=True)
class FoundRecord:
    """A record as it is held. `private` says whether what is sealed beside it can be opened here."""

    entry: int
    source: str
    seq: int
    record: AuditRecord
    stored: StoredRecord
    row: dict[str, Json]
    private: State

    def json(self) -> dict[str, Json]:
        return {**self.row, "entry": self.entry, "private": self.private.value}


@dataclass(frozen=True)
class Page:
    """`rest` is where the next page begins, None where this was the last."""

    records: tuple[FoundRecord, ...]
    rest: Place | None

    def json(self) -> dict[str, Json]:
        return {
            "records": [found.json() for found in self.records],
            "rest": None if self.rest is None else self.rest.text(),
        }


@dataclass(frozen=True)
class Touched:
    """What is known of a patient's images beside the records about them."""

    page: Page
    objects: int
    not_evaluated: int  # images whose attributes could not be read: whose they are, nobody knows

    def json(self) -> dict[str, Json]:
        return {**self.page.json(), "objects": self.objects, "not_evaluated": self.not_evaluated}


class AuditFinding:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, private: PrivateParts) -> None:
        self._database, self._journal, self._private = database, journal, private
        self._known = Remembered()

    def find(self, person: str, question: Question, after: Place | None = None, limit: int = MOST) -> Page:
        """Return what answers `question`, oldest first, once the question is recorded. Raises DatabaseUnavailable."""
        after = self._asked(person, question, "find", after)
        with snapshot(self._database) as session:
            return self.page(session, question, after, limit)

    def who_touched(self, person: str, patient: str, after: Place | None = None, limit: int = MOST) -> Touched:
        """Return every record about a patient's images, or about the patient, oldest first; that is recorded too.

        A record that was altered where one may have been about them is shown as that.
        """
        question = Question(patient=patient)
        after = self._asked(person, question, "who touched a patient's images", after)
        with snapshot(self._database) as session:
            page = self.page(session, question, after, limit)
            token = self._token("patient", patient)
            images = 0 if token is None else _count(session, images_of(token))
            unread = select(Object.object_id).where(Object.index_state == NOT_EVALUATED)
            return Touched(page, images, _count(session, unread))

    def page(self, session: Session, question: Question, after: Place, limit: int = MOST) -> Page:
        """Return one page of an answer; that it was asked is recorded by whoever calls this."""
        return self._page(session, question, self._sought(session, question, after), after, limit)

    def _page(self, session: Session, question: Question, whom: Sought | None, after: Place, limit: int) -> Page:
        by = whom.candidates(session, (after.happened, after.entry)) if whom else _by_piece(session, question, after)
        showing = Showing(session)
        found = _first(by, _Asked(question, whom, showing), limit + 1)
        entries = [entry for _, entry in found[:limit]]
        rows = {row.entry: row for row in session.scalars(select(AuditRow).where(AuditRow.entry.in_(entries)))}
        read = tuple(self._read(session, showing, rows[entry]) for entry in entries)
        return Page(read, Place(*found[limit - 1], after.size) if len(found) > limit else None)

    def all(self, session: Session, question: Question, after: Place) -> Iterator[FoundRecord]:
        """Yield what answers a question, oldest first; that it was asked is recorded by whoever calls this."""
        rest: Place | None = after
        whom = self._sought(session, question, after)
        while rest is not None:
            page = self._page(session, question, whom, rest, MOST)
            # This is for others to keep: no record of somebody else, because it stands where one of theirs did.
            yield from (one for one in page.records if whom is None or whom.is_about(one.entry, one.record))
            rest = page.rest

    def _asked(self, person: str, question: Question, how: str, after: Place | None) -> Place:
        with snapshot(self._database) as session:
            size, _, _ = heads.head(session)
        self.note(person, question, how)
        return after or Place.first(size)

    def note(self, person: str, question: Question, how: str) -> None:
        """Record that a question was asked, with what it asked for; a patient or study is in the sealed part alone."""
        asked = question.json()
        private = {name: asked.pop(name) for name in _BLIND if name in asked}
        conditions = (*(f"{name}: {value}" for name, value in asked.items()), *private)
        what = (Subject("log", how), *(Subject("condition", one[:200]) for one in conditions))
        who = (Participant("person", person, True),)
        self._journal.record(
            Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, who, what, private=private or None)
        )

    def _sought(self, session: Session, question: Question, after: Place) -> Sought | None:
        """Return what may be about whom a question names; None where it names no patient and no study."""
        tokens = [self._token(condition, value) for condition, value in _blind(question)]
        return sought(session, tokens, question, after.size, self._known) if tokens else None

    def _token(self, condition: str, value: str) -> Token | None:
        return self._private.index.token(_BLIND[condition], value)

    def _read(self, session: Session, showing: Showing, row: AuditRow) -> FoundRecord:
        stored = StoredRecord(row.public, row.sealed)
        state = self._private.state(session, stored)
        record = AuditRecord.parse(row.public)
        return FoundRecord(row.entry or 0, row.source, row.seq, record, stored, showing.record(row, record), state)


def _held_against(query: _Rows, question: Question, after: Place) -> _Rows:
    for column, asked_for in (
        (AuditRow.event, question.event),
        (AuditRow.action, question.action),
        (AuditRow.outcome, question.outcome),
    ):
        query = query if asked_for is None else query.where(column == asked_for)
    if question.since is not None:
        query = query.where(AuditRow.happened >= clock.microseconds(question.since))
    if question.until is not None:
        query = query.where(AuditRow.happened < clock.microseconds(question.until))
    place = tuple_(AuditRow.happened, AuditRow.entry)
    return query.where(place > (after.happened, after.entry), AuditRow.entry < after.size)


def _by_piece(session: Session, question: Question, after: Place) -> Candidates:
    """Yield the records of all pieces in which a record may be that is asked for."""
    query = _held_against(_in_pieces(question, after), question, after)
    with session.execute(query.execution_options(yield_per=_AT_ONCE)) as found:
        yield from found


def _in_pieces(question: Question, after: Place) -> _Rows:
    wanted = list(question.names())
    if question.event is not None:
        wanted.append((EVENT, question.event))
    if question.outcome:
        wanted.append((OUTCOME, str(int(question.outcome))))
    names = [aliased(AuditName) for _ in wanted]
    # One index has all of it in order, so that nothing is sorted.
    place: tuple[Column, Column] = (AuditPiece.since, AuditPiece.first)
    if names:
        place = names[0].happened, names[0].entry
    query = select(place[0], AuditRow.happened, AuditRow.entry, AuditRow.public)
    query = query.select_from(names[0] if names else AuditPiece)
    for name, (kind, said) in zip(names, wanted, strict=True):
        if name is not names[0]:
            query = query.join(name, and_(name.entry == place[1], name.happened == place[0]))
        query = query.where(name.kind == kind, name.name == said)
    if names:
        query = query.join(AuditPiece, AuditPiece.first == place[1])
    query = query.join(AuditRow, AuditRow.entry.between(AuditPiece.first, AuditPiece.last))
    earliest = after.happened if question.since is None else max(after.happened, clock.microseconds(question.since))
    query = query.where(place[0] >= earliest - LONGEST_US)
    if question.until is not None:
        query = query.where(place[0] < clock.microseconds(question.until))
    return query.order_by(*place)


def _first(candidates: Candidates, asked: "_Asked", most: int) -> list[tuple[int, int]]:
    """Return time and entry of the first records that answer, in order; each once, whatever led to it."""
    said = [canonical.encode(name)[1:-1] for _, name in asked.question.names()]
    found = list[tuple[int, int]]()
    with closing(candidates):
        for since, happened, entry, public in candidates:
            if len(found) >= most and (since or 0) > found[-1][0]:
                break
            place, is_said = (happened or 0, entry or 0), all(name in public for name in said)
            at = bisect_left(found, place)
            if found[at : at + 1] != [place] and is_said and asked.is_answered(place[1], public):
                found.insert(at, place)
                del found[most:]
    return found


@dataclass(frozen=True)
class _Asked:
    """A question, whom it is about where it names somebody, and what tells an altered record."""

    question: Question
    whom: Sought | None
    showing: Showing

    def is_answered(self, entry: int, public: bytes) -> bool:
        try:
            record = AuditRecord.parse(public)
        except Malformed:
            return False
        return self.question.matches(record) and (self.whom is None or self._is_about(self.whom, entry, public, record))

    def _is_about(self, whom: Sought, entry: int, public: bytes, record: AuditRecord) -> bool:
        # What was entered here may have been about them, so another one in its place is shown, as altered.
        return whom.is_about(entry, record) or not self.showing.is_entered(entry, public)


def _blind(question: Question) -> list[tuple[str, str]]:
    asked = (("patient", question.patient), ("study", question.study))
    return [(name, value) for name, value in asked if value is not None]


def _count(session: Session, rows: Select[str]) -> int:
    return session.scalar(select(func.count()).select_from(rows.subquery())) or 0
