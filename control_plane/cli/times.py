"""Times as people write them in options."""

import re
from datetime import datetime, timedelta

from shared import clock
from shared.errors import Malformed

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def instant(option: str, text: str, *, whole_day: bool = False) -> datetime:
    """Read a time, or a day; `whole_day` means the end of that day. Raises Malformed, naming the option."""
    is_day = _DAY.fullmatch(text) is not None
    try:
        read = clock.parse(f"{text}T00:00:00Z" if is_day else text)
    except Malformed as exc:
        raise Malformed(
            option, f"{text} is neither a day such as 2026-03-01 nor a time in UTC such as 2026-03-01T08:00:00Z"
        ) from exc
    return read + timedelta(days=1) if is_day and whole_day else read
