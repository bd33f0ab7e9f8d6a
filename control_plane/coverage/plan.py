"""Decides which days are compared now: once a night yesterday and the day before, and earlier ones that are open.

A day is open with a gap, where it was not compared whole, and where it was missed. Images arrive late, and what was
unprotected may have been sent again through us.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

NIGHT = time(hour=3)  # UTC; by then a night shift's images of the evening have arrived nearly everywhere
LOOK_BACK = timedelta(days=14)
_DAYS_BACK = (1, 2)
_NEVER = datetime.min.replace(tzinfo=UTC)


def due(
    now: datetime,
    ae_titles: Sequence[str],
    compared: Mapping[tuple[date, str], datetime],
    failed: Mapping[tuple[date, str], datetime],
    open_days: Collection[date],
) -> tuple[date, ...]:
    """Return the days to compare at `now`, newest first; of `open_days` those of two weeks.

    `compared` says when a modality's day was last compared, at least in part; `failed` when the archive last could not
    be asked about it at all. Such a day stays due, and rests as long again as the night had lasted when it failed.
    """
    tonight = _night_of(now.date(), now)
    if now < tonight:
        return ()
    recent = {now.date() - timedelta(days=back) for back in _DAYS_BACK}
    earlier = {day for day in open_days if now.date() - LOOK_BACK <= day < min(recent)}
    return tuple(
        day
        for day in sorted(recent | earlier, reverse=True)
        if any(_is_due(now, tonight, compared.get((day, title)), failed.get((day, title))) for title in ae_titles)
    )


def _is_due(now: datetime, tonight: datetime, compared: datetime | None, failed: datetime | None) -> bool:
    if compared is not None and compared >= tonight:
        return False
    return failed is None or failed < tonight or now - failed >= failed - tonight


def missed(
    now: datetime, watched_since: Mapping[str, date], tried: Mapping[tuple[date, str], datetime]
) -> tuple[tuple[date, str], ...]:
    """Return the modalities' days of two weeks that were due by `now` and not tried since; the latest day first.

    `watched_since` is the first day that each modality owes an answer for, `tried` when a day was last asked about.
    What was asked before the day's night does not count: images of that day had still to come.
    """
    days = [now.date() - timedelta(days=back) for back in range(1, LOOK_BACK.days + 1)]
    due_since = {day: _night_of(day + timedelta(days=1), now) for day in days}
    return tuple(
        (day, title)
        for day in days
        for title, since in sorted(watched_since.items())
        if since <= day and due_since[day] <= now and tried.get((day, title), _NEVER) < due_since[day]
    )


def _night_of(day: date, now: datetime) -> datetime:
    return datetime.combine(day, NIGHT, now.tzinfo)
