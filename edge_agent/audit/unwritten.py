"""Records that could not be written, on a full disk say: counted until the journal itself can say so.

The count is in memory. Where the agent is killed before it could be written, the next start says that it was.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import MAX_WHAT
from shared.identity import HostId


@dataclass(frozen=True)
class Missed:
    """How many of which events, and when the first and the last of them was to be written."""

    events: Counter[Event]
    first: datetime
    last: datetime

    def then(self, later: "Missed | None") -> "Missed":
        return self if later is None else Missed(self.events + later.events, self.first, later.last)

    def told(self, source: HostId) -> Happening:
        first, last = clocks.text(self.first), clocks.text(self.last)
        return Happening(
            Event.RECORDS_UNWRITTEN,
            Action.CREATE,
            Outcome.SERIOUS_FAILURE,
            (Participant("host", str(source), True),),
            tuple(Subject("fact", f"{event.value}: {n}") for event, n in self.events.most_common(MAX_WHAT)),
            f"{self.events.total()} records could not be written between {first} and {last}",
        )


class Unwritten:
    """What is still to be told, for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._missed: Missed | None = None

    def is_any(self) -> bool:
        return self._missed is not None

    def add(self, happenings: Sequence[Happening], now: datetime) -> None:
        if not happenings:
            return
        with self._lock:
            added = Missed(Counter(happening.event for happening in happenings), now, now)
            self._missed = self._missed.then(added) if self._missed else added

    @contextmanager
    def telling(self, source: HostId) -> Iterator[Sequence[Happening]]:
        """Yield the record that tells of it, if there is any; where the block raises it is still to be told."""
        with self._lock:
            taken, self._missed = self._missed, None
        try:
            yield [taken.told(source)] if taken else []
        except BaseException:
            with self._lock:
                self._missed = taken.then(self._missed) if taken else self._missed
            raise
