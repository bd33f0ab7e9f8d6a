"""Comparisons as rows, and the record of each: counts in the open, UIDs in the sealed private part only."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from control_plane.audit_log.journal import CentreJournal
from control_plane.coverage import plan
from control_plane.coverage.tally import Result, State
from control_plane.db.models import CoverageRow
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.identity import CONTROL_PLANE

_MAX_WHY_CHARS = 500


def subject_of(day: date, ae_title: str) -> Subject:
    """Return what records about this modality's day name."""
    return Subject("coverage", f"{day.isoformat()} {ae_title}")


def comparison_of(day: date, ae_title: str, number: int) -> Subject:
    """Return what the records of this one comparison name, and no others."""
    return Subject("comparison", f"{day.isoformat()} {ae_title} {number}")


def keep(session: Session, journal: CentreJournal, result: Result, private: dict[str, Json]) -> None:
    """Add a comparison and its records to a transaction of `in_one_commit`: both or neither.

    A gap is recorded once for each set of instances that it consists of, and again when that set changes. That the
    archive cannot be asked is recorded once a day, and again when the reason changes; of attempts in a row that fail so
    the last alone is kept.
    """
    same_day = (CoverageRow.day == result.day.isoformat(), CoverageRow.ae_title == result.ae_title)
    newest = session.scalars(select(CoverageRow).where(*same_day).order_by(CoverageRow.number.desc()).limit(1)).first()
    row = _row(result, newest.number + 1 if newest else 1)
    # The first is kept: it tells since when the modality's days are compared.
    if newest and newest.number > 1 and _is_failure(newest) and _is_failure(row):
        session.delete(newest)
    recorded = session.scalars(
        select(CoverageRow.difference)
        .where(*same_day, (CoverageRow.unprotected > 0) | (CoverageRow.not_in_archive > 0) | _was_complete())
        .order_by(CoverageRow.number.desc())
        .limit(1)
    ).first()
    session.add(row)
    if newest and _is_same_failure(newest, row):
        return
    for happening in _happenings(result, row.number, private, is_known_gap=recorded == result.difference):
        journal.append(session, happening)


def of_days(session: Session, first: date, last: date) -> list[CoverageRow]:
    """Return the newest comparison of every modality's day from `first` to `last`, the latest day first."""
    return list(session.scalars(_newest(CoverageRow.day.between(first.isoformat(), last.isoformat()))))


def missed(session: Session, now: datetime) -> tuple[tuple[date, str], ...]:
    """Return the modalities' days that were due by `now` and not even tried, from the day each was first compared on.

    Since when policy names a modality's station is not known here.
    """
    first = select(CoverageRow.ae_title, func.min(CoverageRow.compared)).where(was_compared())
    since = {title: compared.date() for title, compared in session.execute(first.group_by(CoverageRow.ae_title))}
    looked_at = (now - plan.LOOK_BACK).date().isoformat()
    last = select(CoverageRow.day, CoverageRow.ae_title, func.max(CoverageRow.compared)).where(
        CoverageRow.day >= looked_at, was_compared()
    )
    rows = session.execute(last.group_by(CoverageRow.day, CoverageRow.ae_title))
    return plan.missed(now, since, {(date.fromisoformat(day), title): compared for day, title, compared in rows})


def still_open(session: Session, before: date, most: int, *, since: date = date.min) -> list[CoverageRow]:
    """Return the newest comparisons of earlier days, at most `most`, that show a gap or not everything."""
    days = CoverageRow.day.between(since.isoformat(), (before - timedelta(days=1)).isoformat())
    is_open = (CoverageRow.unprotected > 0) | (CoverageRow.not_in_archive > 0) | ~_was_complete()
    return list(session.scalars(_newest(days).where(is_open).limit(most)))


def _newest(days: ColumnElement[bool]) -> Select[CoverageRow]:
    last = (
        select(CoverageRow.day, CoverageRow.ae_title, func.max(CoverageRow.number).label("number"))
        .where(days, was_compared())
        .group_by(CoverageRow.day, CoverageRow.ae_title)
        .subquery()
    )
    is_last = (
        (CoverageRow.day == last.c.day)
        & (CoverageRow.ae_title == last.c.ae_title)
        & (CoverageRow.number == last.c.number)
    )
    return select(CoverageRow).join(last, is_last).order_by(CoverageRow.day.desc(), CoverageRow.ae_title)


@dataclass(frozen=True)
class Shown:
    """A comparison for people: counts and no names.

    `unprotected_then` and `not_in_archive_then` are the most that earlier ones found, from the last complete one on:
    none since shows it closed. Both had been found by `then`. A complete comparison says everything by itself.
    """

    day: str
    modality: str
    archive: str
    state: str
    why: str
    compared: str
    known: int
    protected: int
    unprotected: int
    captured: int
    not_in_archive: int
    not_evaluated: int
    by_modality_only: bool
    then: str | None
    unprotected_then: int
    not_in_archive_then: int

    def json(self) -> dict[str, Json]:
        return asdict(self)


def shown(session: Session, row: CoverageRow) -> Shown:
    """Return a comparison for people. One that did not go through never hides what those before it found."""
    earlier = [] if row.state == State.COMPLETE else _not_closed_since(session, row)
    unprotected = max((one.unprotected for one in earlier), default=0)
    not_in_archive = max((one.not_in_archive for one in earlier), default=0)
    found = [
        one.compared
        for one in earlier
        if 0 < one.unprotected == unprotected or 0 < one.not_in_archive == not_in_archive
    ]
    return Shown(
        day=row.day,
        modality=row.ae_title,
        archive=row.archive,
        state=row.state,
        why=row.why,
        compared=clocks.text(row.compared),
        known=row.known,
        protected=row.protected,
        unprotected=row.unprotected,
        captured=row.captured,
        not_in_archive=row.not_in_archive,
        not_evaluated=row.not_evaluated,
        by_modality_only=row.by_modality_only,
        then=clocks.text(found[0]) if found else None,
        unprotected_then=unprotected,
        not_in_archive_then=not_in_archive,
    )


def was_compared() -> ColumnElement[bool]:
    """Return what tells an attempt to compare from a modality that had no station: that says nothing about a gap."""
    return CoverageRow.state != State.NOTHING.value


def _was_complete() -> ColumnElement[bool]:
    return CoverageRow.state == State.COMPLETE.value


def _not_closed_since(session: Session, row: CoverageRow) -> list[CoverageRow]:
    """Return what found something out before `row`, the newest first: the last complete one and the partial ones since.

    A partial one that finds less than another before it need not have looked at the rest.
    """
    before = (CoverageRow.day == row.day, CoverageRow.ae_title == row.ae_title, CoverageRow.number < row.number)
    last_complete = session.scalar(select(func.max(CoverageRow.number)).where(*before, _was_complete())) or 0
    found_out = CoverageRow.state.in_([State.COMPLETE.value, State.PARTIAL.value])
    since = select(CoverageRow).where(*before, CoverageRow.number >= last_complete, found_out)
    return list(session.scalars(since.order_by(CoverageRow.number.desc())))


def _row(result: Result, number: int) -> CoverageRow:
    return CoverageRow(
        day=result.day.isoformat(),
        ae_title=result.ae_title,
        number=number,
        archive=result.archive,
        compared=result.compared,
        state=result.state.value,
        why=result.why[:_MAX_WHY_CHARS],
        known=result.known,
        protected=result.protected,
        unprotected=result.unprotected,
        captured=result.captured,
        not_in_archive=result.not_in_archive,
        not_evaluated=result.not_evaluated,
        by_modality_only=result.by_modality_only,
        difference=result.difference,
    )


def _is_failure(row: CoverageRow) -> bool:
    return row.state == State.NOT_EVALUATED


def _is_same_failure(before: CoverageRow, after: CoverageRow) -> bool:
    return (
        _is_failure(before)
        and _is_failure(after)
        and (before.archive, before.why) == (after.archive, after.why)
        and before.compared.date() == after.compared.date()
    )


def _happenings(result: Result, number: int, private: dict[str, Json], *, is_known_gap: bool) -> Iterator[Happening]:
    is_new_gap = result.has_gap and not is_known_gap
    counts = (
        f"{result.known} known to the archive: {result.protected} protected, {result.unprotected} unprotected; "
        f"{result.captured} captured: {result.not_in_archive} not in the archive, "
        f"{result.not_evaluated} not evaluated; {result.state.value}"
    )
    why = f"{counts}: {result.why}" if result.why else counts
    who = (Participant("service", CONTROL_PLANE, True), Participant("ae", result.archive, False))
    what = (
        subject_of(result.day, result.ae_title),
        comparison_of(result.day, result.ae_title, number),
        Subject("modality", result.ae_title),
        Subject("day", result.day.isoformat()),
    )
    if is_new_gap:
        yield Happening(Event.COVERAGE_GAP, Action.EXECUTE, Outcome.MINOR_FAILURE, who, what, why, private)
    if result.state is not State.COMPLETE:
        yield Happening(Event.COVERAGE_FAILED, Action.EXECUTE, Outcome.MINOR_FAILURE, who, what, why)
    elif not is_new_gap:
        yield Happening(Event.COVERAGE_COMPARED, Action.EXECUTE, Outcome.SUCCESS, who, what, why)
