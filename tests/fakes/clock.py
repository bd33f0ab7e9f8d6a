"""A clock that stands still until a test moves it."""

from datetime import datetime, timedelta


class FakeClock:
    def __init__(self, instant: datetime) -> None:
        self._instant = instant

    def now(self) -> datetime:
        return self._instant

    def advance(self, by: timedelta) -> None:
        self._instant += by
