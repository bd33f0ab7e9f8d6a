"""Finds what is about a patient or a study: places in the log, in the order of time, each of them still to be read.

A number leads to what may say an image of theirs (`objects.py`), and a token to what was asked by them or by one of
their images. Only times are looked up of all that, so a page reads the records that it shows, however many there are.
"""

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, and_, select, union
from sqlalchemy.orm import Session, aliased

from control_plane.audit_log.objects import Remembered, objects_of
from control_plane.db import driver
from control_plane.db.models import AuditToken, BlindIndex
from control_plane.vault.index_service import Token
from shared import clock
from shared.audit.question import Question
from shared.audit.record import ReadRecord

_PLACES_AT_ONCE, _RECORDS_AT_ONCE = 5000, 500
Candidates = Generator[tuple[int | None, int | None, int | None, bytes], None, None]
"""Since when the piece of a record is, then the record's time, entry and public part; pieces in the order of time."""


@dataclass(frozen=True)
class About:
    """Of one token: what may say one of its `images`, and what was `asked` by it or by one of these."""

    images: frozenset[str]
    led_to: frozenset[int]
    asked: frozenset[int]

    def is_said(self, entry: int, record: ReadRecord) -> bool:
        return entry in self.asked or not self.images.isdisjoint(objects_of(record))


class Sought:
    """What may be about all of those whom a question names, by time and entry; looked up once for all its pages."""

    def __init__(self, whom: Sequence[About], places: Sequence[tuple[int, int]]) -> None:
        self._whom, self._places = whom, places

    def is_about(self, entry: int, record: ReadRecord) -> bool:
        return all(about.is_said(entry, record) for about in self._whom)

    def candidates(self, session: Session, after: tuple[int, int]) -> Candidates:
        """Yield records behind a place, each as a piece of its own."""
        begin = bisect_right(self._places, after)
        for at in range(begin, len(self._places), _RECORDS_AT_ONCE):
            some = self._places[at : at + _RECORDS_AT_ONCE]
            question = f"SELECT entry, public FROM audit_records WHERE {_among(some)}"  # noqa: S608 (ours)
            public = dict(driver.rows(session, question, tuple(entry for _, entry in some)))
            for happened, entry in some:
                yield happened, happened, entry, driver.blob(public[entry])


def images_of(token: Token) -> Select[str]:
    return select(BlindIndex.object_id).where(
        BlindIndex.attribute == token.attribute.value, BlindIndex.token == token.value
    )


def sought(
    session: Session, tokens: Sequence[Token | None], question: Question, size: int, known: Remembered
) -> Sought:
    """Return what the first `size` entries may say of everybody that `tokens` stand for; nothing where one is None."""
    whom = [About(*[frozenset()] * 3) if token is None else _about(session, token, known) for token in tokens]
    entries = frozenset.intersection(*[about.led_to | about.asked for about in whom])
    return Sought(whom, sorted(_places(session, sorted(entries), question, size)))


def _about(session: Session, token: Token, known: Remembered) -> About:
    images = frozenset(session.scalars(images_of(token)))
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
    asked_by = frozenset(session.scalars(union(asked, by_image)))
    return About(images, known.entries(session, images), asked_by)


def _places(session: Session, entries: Sequence[int], question: Question, size: int) -> Iterator[tuple[int, int]]:
    """Yield time and entry of those of `entries` whose rows say what a question asks for."""
    held, values = "entry < ?", list[object]([size])
    for asked, value in _conditions(question):
        if value is not None:
            held, values = f"{held} AND {asked} ?", [*values, value]
    for at in range(0, len(entries), _PLACES_AT_ONCE):
        some = entries[at : at + _PLACES_AT_ONCE]
        found = f"SELECT happened, entry FROM audit_records WHERE {held} AND {_among(some)}"  # noqa: S608 (ours)
        for happened, entry in driver.rows(session, found, (*values, *some)):
            yield happened if isinstance(happened, int) else 0, entry


def _conditions(question: Question) -> tuple[tuple[str, object], ...]:
    return (
        ("event =", question.event),
        ("action =", question.action and question.action.value),
        ("outcome =", None if question.outcome is None else int(question.outcome)),
        ("happened >=", question.since and clock.microseconds(question.since)),
        ("happened <", question.until and clock.microseconds(question.until)),
    )


def _among(some: Sequence[object]) -> str:
    return f"entry IN ({', '.join('?' * len(some))})"
