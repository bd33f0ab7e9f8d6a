"""Decides which days are compared now: once a night yesterday and the day before, and earlier ones with a gap.

Images arrive late, and what was unprotected may have been sent again through us.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta

NIGHT = time(hour=3)  # UTC; by then a night shift's images of the evening have arrived nearly everywhere
LOOK_BACK = timedelta(days=14)
_DAYS_BACK = (1, 2)


def due(
    now: datetime, ae_titles: Sequence[str], compared: Mapping[tuple[date, str], datetime], open_days: Collection[date]
) -> tuple[date, ...]:
    """Return the days to compare at `now`, newest first; of `open_days`, which have a gap, those of two weeks.

    `compared` says when a modality's day was last compared, at least in part. A day on which the archive could not be
    asked at all stays due, and is asked for again each time.
    """
    tonight = datetime.combine(now.date(), NIGHT, now.tzinfo)
    if now < tonight:
        return ()
    recent = {now.date() - timedelta(days=back) for back in _DAYS_BACK}
    earlier = {day for day in open_days if now.date() - LOOK_BACK <= day < min(recent)}
    return tuple(
        day
        for day in sorted(recent | earlier, reverse=True)
        if any((day, title) not in compared or compared[day, title] < tonight for title in ae_titles)
    )
