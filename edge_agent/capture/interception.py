"""Records attempts to send by whom policy does not let, and keeps their number over restarts."""

import threading
import time
from collections.abc import Callable

from edge_agent.audit.journal import Journal
from edge_agent.capture.attempts import REFUSED, AttemptTable, Kind, Reason, Told
from edge_agent.database import Database
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.identity import HostId

_SCHEMA = """
CREATE TABLE IF NOT EXISTS senders_refused (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO senders_refused VALUES (1, 0);
"""


class Interception:
    """`monotonic` gives seconds of a clock that only rises."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        host_id: HostId,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._journal, self._host_id, self._monotonic = database, journal, host_id, monotonic
        self._lock, self._table, self._uncounted = threading.Lock(), AttemptTable(), 0
        self._firsts: dict[Kind, tuple[str, str]] = {}  # why, and which certificate, until the first of a kind is told
        database.create(_SCHEMA)

    def note(self, address: str, reason: Reason, *, calling: str = "", why: str = "", certificate: str = "") -> None:
        """Count one attempt. `why` is what the record of the first of its kind says beyond its reason.

        Raises DatabaseUnavailable, DatabaseDamaged: it is counted all the same, and told with the next.
        """
        with self._lock:
            told = self._table.note(Kind(calling, address, reason), self._monotonic())
            self._uncounted += reason is not Reason.TOO_MANY  # policy lets that one send
            if told is not None:
                self._firsts[told.kind] = (why or reason.value, certificate)
        if told is not None:
            self._record([told])

    def tell(self) -> None:
        """Record the numbers whose time has come, and keep the count, which no kill takes back then.

        Raises DatabaseUnavailable, DatabaseDamaged: they are told later.
        """
        with self._lock:
            told, uncounted = self._table.due(self._monotonic()), self._uncounted
        if told or uncounted:
            self._record(told)

    def tell_all(self) -> None:
        """Record everything that was not told yet. Raises DatabaseUnavailable, DatabaseDamaged."""
        with self._lock:
            told = self._table.rest()
            uncounted = self._uncounted
        if told or uncounted:
            self._record(told)

    def count(self) -> int:
        """Return the number of attempts since enrolment."""
        with self._database.transaction() as connection:
            (counted,) = connection.execute("SELECT n FROM senders_refused").fetchone()
        with self._lock:
            return int(counted) + self._uncounted

    def _record(self, told: list[Told]) -> None:
        with self._lock:
            uncounted, self._uncounted = self._uncounted, 0
        recorded = False
        try:
            with self._database.transaction() as connection:
                for each in told:
                    self._journal.record(self._happening(each))
                connection.execute("UPDATE senders_refused SET n = n + ?", (uncounted,))
            recorded = True
        finally:
            with self._lock:
                if not recorded:
                    self._uncounted += uncounted
                for each in told:
                    if not recorded:
                        self._table.give_back(each, self._monotonic())
                    elif each.first:
                        self._firsts.pop(each.kind, None)

    def _happening(self, told: Told) -> Happening:
        kind = told.kind
        why, certificate = self._firsts.get(kind, ("", "")) if told.first else ("", "")
        who = (Participant("ae", kind.calling_ae_title, True),) if kind.calling_ae_title else ()
        what: tuple[Subject, ...] = (Subject("address", kind.address),) if kind.address else ()
        what += (Subject("certificate", certificate),) if certificate else ()
        event = Event.INTERCEPTION_ATTEMPTED
        if kind.reason is Reason.TOO_MANY or (told.first and kind.reason in REFUSED):
            event = Event.ASSOCIATION_REFUSED
        reason = why if told.first else f"{told.count} more: {kind.reason.value}"
        us = Participant("host", str(self._host_id), False)
        return Happening(event, Action.EXECUTE, Outcome.MINOR_FAILURE, (*who, us), what, reason)
