"""Finds records by what they say and by whom they are about, in the order of time; each question is a record itself.

The index only leads to pieces of the log (`pieces.py`): what is answered is read from each record's own public part,
and held against the question. A patient is found by blind index, through the objects that have its token and through
what was asked for by it.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Select, and_, func, select, tuple_, union
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, sessionmaker

from control_plane.audit_log import objects
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.pieces import EVENT, LONGEST_US, OUTCOME
from control_plane.audit_log.shown import shown
from control_plane.db.models import AuditName, AuditPiece, AuditRow, AuditToken, BlindIndex, Object
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
_AT_ONCE, _ENTRIES_AT_ONCE = 500, 10_000
Column = InstrumentedAttribute[int] | InstrumentedAttribute[int | None]
Candidates = Select[int | None, int | None, int | None, bytes]
"""Since when the piece of a record is, then the record's time, entry and public part; pieces in the order of time."""
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

    def find(self, person: str, question: Question, after: Place | None = None, limit: int = MOST) -> Page:
        """Return what answers `question`, oldest first, once the question is recorded. Raises DatabaseUnavailable."""
        after = self._asked(person, question, "find", after)
        with snapshot(self._database) as session:
            return self.page(session, question, after, limit)

    def who_touched(self, person: str, patient: str, after: Place | None = None, limit: int = MOST) -> Touched:
        """Return every record about a patient's images, or about the patient, oldest first; that is recorded too."""
        question = Question(patient=patient)
        after = self._asked(person, question, "who touched a patient's images", after)
        with snapshot(self._database) as session:
            page = self.page(session, question, after, limit)
            token = self._token("patient", patient)
            images = 0 if token is None else _count(session, _objects(token))
            unread = select(Object.object_id).where(Object.index_state == NOT_EVALUATED)
            return Touched(page, images, _count(session, unread))

    def page(self, session: Session, question: Question, after: Place, limit: int = MOST) -> Page:
        """Return one page of an answer; that it was asked is recorded by whoever calls this."""
        return self._page(session, question, self._about(session, question, after), after, limit)

    def _page(self, session: Session, question: Question, about: list[int] | None, after: Place, limit: int) -> Page:
        found = _first(session, _queries(question, about, after), question, limit + 1)
        entries = [entry for _, entry in found[:limit]]
        rows = {row.entry: row for row in session.scalars(select(AuditRow).where(AuditRow.entry.in_(entries)))}
        read = tuple(self._read(session, rows[entry]) for entry in entries)
        return Page(read, Place(*found[limit - 1], after.size) if len(found) > limit else None)

    def all(self, session: Session, question: Question, after: Place) -> Iterator[FoundRecord]:
        """Yield what answers a question, oldest first; that it was asked is recorded by whoever calls this."""
        rest: Place | None = after
        about = self._about(session, question, after)
        while rest is not None:
            page = self._page(session, question, about, rest, MOST)
            yield from page.records
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

    def _about(self, session: Session, question: Question, after: Place) -> list[int] | None:
        """Return the entries of all that is about whom a question names; None where it names no patient and no study.

        None of them where a token has nothing to stand for.
        """
        asked = [self._token(condition, value) for condition, value in _blind(question)]
        if not asked:
            return None
        theirs = [set[int]() if token is None else _about(session, token, after) for token in asked]
        return sorted(set.intersection(*theirs))

    def _token(self, condition: str, value: str) -> Token | None:
        return self._private.index.token(_BLIND[condition], value)

    def _read(self, session: Session, row: AuditRow) -> FoundRecord:
        stored = StoredRecord(row.public, row.sealed)
        state = self._private.state(session, stored)
        return FoundRecord(
            row.entry or 0, row.source, row.seq, AuditRecord.parse(row.public), stored, shown(row), state
        )


def _queries(question: Question, about: list[int] | None, after: Place) -> Iterator[Candidates]:
    """Yield what returns the records that the index leads to, and what is `about` somebody where a question is."""
    if about is None:
        yield _held_against(_by_piece(question, after), question, after)
        return
    query = select(AuditRow.happened, AuditRow.happened, AuditRow.entry, AuditRow.public)
    query = _held_against(query.order_by(AuditRow.happened, AuditRow.entry), question, after)
    for at in range(0, len(about), _ENTRIES_AT_ONCE):
        yield query.where(AuditRow.entry.in_(about[at : at + _ENTRIES_AT_ONCE]))


def _held_against(query: Candidates, question: Question, after: Place) -> Candidates:
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


def _by_piece(question: Question, after: Place) -> Candidates:
    """Return the records of all pieces in which a record may be that is asked for."""
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


def _first(session: Session, queries: Iterator[Candidates], question: Question, most: int) -> list[tuple[int, int]]:
    """Return time and entry of the first records that answer, in order; each once, whatever led to it."""
    said = [canonical.encode(name)[1:-1] for _, name in question.names()]
    found = list[tuple[int, int]]()
    for query in queries:
        with session.execute(query.execution_options(yield_per=_AT_ONCE)) as candidates:
            for since, happened, entry, public in candidates:
                if len(found) >= most and (since or 0) > found[-1][0]:
                    break
                place, is_said = (happened or 0, entry or 0), all(name in public for name in said)
                at = bisect_left(found, place)
                if found[at : at + 1] != [place] and is_said and _answers(question, public):
                    found.insert(at, place)
                    del found[most:]
    return found


def _answers(question: Question, public: bytes) -> bool:
    try:
        return question.matches(AuditRecord.parse(public))
    except Malformed:
        return False


def _blind(question: Question) -> list[tuple[str, str]]:
    asked = (("patient", question.patient), ("study", question.study))
    return [(name, value) for name, value in asked if value is not None]


def _count(session: Session, rows: Select[str]) -> int:
    return session.scalar(select(func.count()).select_from(rows.subquery())) or 0


def _objects(token: Token) -> Select[str]:
    return select(BlindIndex.object_id).where(
        BlindIndex.attribute == token.attribute.value, BlindIndex.token == token.value
    )


def _about(session: Session, token: Token, after: Place) -> set[int]:
    """Return the entries of records that name an object with `token`, or were asked by it or by one of its images.

    Of those that name one, the records before `after` need not be among them.
    """
    images = set(session.scalars(_objects(token)))
    named = {
        one.entry
        for one in objects.led_to(session, images, since=after.happened)
        if not images.isdisjoint(one.names or ())
    }
    asked = select(AuditToken.entry).where(
        AuditToken.attribute == token.attribute.value, AuditToken.token == token.value
    )
    theirs, others = aliased(BlindIndex), aliased(BlindIndex)
    by_image = (
        select(AuditToken.entry)
        .select_from(theirs)
        .join(others, others.object_id == theirs.object_id)
        .join(AuditToken, and_(AuditToken.attribute == others.attribute, AuditToken.token == others.token))
        .where(theirs.attribute == token.attribute.value, theirs.token == token.value)
    )
    return named | set(session.scalars(union(asked, by_image)))
