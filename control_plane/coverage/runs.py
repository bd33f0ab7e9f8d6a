"""Runs comparisons: each night for the two days before, and on demand; one at a time."""

import logging
from collections.abc import Callable
from datetime import date, datetime
from threading import Event as Flag
from threading import Lock, Thread
from time import monotonic as system_monotonic

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.coverage import plan, results
from control_plane.coverage.compare import Comparison
from control_plane.coverage.tally import Result, State
from control_plane.db.models import CoverageRow
from control_plane.db.transactions import in_one_commit, snapshot
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.policy.document import PolicyDocument

_LOG = logging.getLogger(__name__)
_MOST_S = 3600.0
_MOST_OPEN = 10_000
_NO_STATION = "the policy does not say by which station the archive knows its images"


class NoArchive(Refused):
    def __init__(self) -> None:
        super().__init__("no published policy names an archive under `coverage`, so there is nothing to compare with")


class DayNotOver(Refused):
    def __init__(self, day: date) -> None:
        super().__init__(f"{day.isoformat()} is in the future; nothing can be known of it")
        self.day = day


class ComparisonRunning(Unavailable):
    def __init__(self) -> None:
        super().__init__("a comparison is running; ask again when it is done")


class CoverageRuns:
    """`policy` returns the newest published policy. A run ends after `most_s` seconds, and when `stop` is called.

    `break_off` ends the association that is open, so that stopping does not wait for an archive.
    """

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: CentreJournal,
        comparison: Comparison,
        policy: Callable[[], PolicyDocument | None],
        clock: Clock,
        *,
        break_off: Callable[[], None],
        most_s: float = _MOST_S,
        monotonic: Callable[[], float] = system_monotonic,
    ) -> None:
        self._database, self._journal, self._comparison = database, journal, comparison
        self._policy, self._clock, self._break_off = policy, clock, break_off
        self._most_s, self._monotonic = most_s, monotonic
        self._one = Lock()
        self._stopped = Flag()

    @property
    def is_running(self) -> bool:
        return self._one.locked()

    def run(self, day: date) -> tuple[Result, ...]:
        """Compare `day` now; once this returns, results and records survive a power cut.

        Raises NoArchive, DayNotOver, ComparisonRunning, DatabaseUnavailable.
        """
        document = self._verified(day)
        self._begin()
        try:
            return self._run(day, document)
        finally:
            self._one.release()

    def start(self, day: date) -> None:
        """Begin to compare `day` and return; `is_running` says until when. Raises what `run` does."""
        document = self._verified(day)
        self._begin()
        try:
            Thread(target=self._in_background, args=(day, document), name="coverage", daemon=True).start()
        except RuntimeError:  # the system has no thread left
            self._one.release()
            raise

    def run_due(self) -> None:
        """Compare what is due, for the scheduler. What cannot be compared now is due again later, as `plan` says."""
        try:
            for day in self._due():
                self.run(day)
        except (Refused, Unavailable, IntegrityFailure) as exc:
            _LOG.warning("coverage.not-compared", extra={"why": str(exc)})

    def stop(self) -> None:
        """End a run that is going on and wait for it. What it found until then is kept, as partial."""
        self._stopped.set()
        self._break_off()
        with self._one:
            pass

    def _begin(self) -> None:
        if not self._one.acquire(blocking=False):
            raise ComparisonRunning
        # Only now: who looked before might begin behind a stop that found nothing to wait for.
        if self._stopped.is_set():
            self._one.release()
            raise ComparisonRunning

    def _in_background(self, day: date, document: PolicyDocument) -> None:
        try:
            self._run(day, document)
        except (Refused, Unavailable, IntegrityFailure) as exc:
            _LOG.warning("coverage.not-compared", extra={"why": str(exc)})
        except Exception:  # noqa: BLE001 (the boundary of a task: this comparison failed, and the rest goes on)
            _LOG.exception("coverage.failed")
        finally:
            self._one.release()

    def _run(self, day: date, document: PolicyDocument) -> tuple[Result, ...]:
        if document.coverage is None:
            raise NoArchive
        ends = self._monotonic() + self._most_s

        def is_over() -> bool:
            return self._stopped.is_set() or self._monotonic() >= ends

        found = self._comparison.compare(day, document, document.coverage, is_over)
        for result, private in found:
            self._keep(result, private)
        archive, now = document.coverage.peer.ae_title, self._clock.now()
        # Not kept: it would be newer than a gap, which only a comparison can show closed.
        nothing = [
            Result(day, modality.ae_title, archive, State.NOTHING, _NO_STATION, now)
            for modality in document.unstationed()
        ]
        return (*(result for result, _ in found), *nothing)

    def _keep(self, result: Result, private: dict[str, Json]) -> None:
        in_one_commit(self._database, lambda session: results.keep(session, self._journal, result, private))

    def _verified(self, day: date) -> PolicyDocument:
        document = self._policy()
        if document is None or document.coverage is None:
            raise NoArchive
        if day > self._clock.now().date():
            raise DayNotOver(day)
        return document

    def _due(self) -> tuple[date, ...]:
        document, now = self._policy(), self._clock.now()
        if document is None or document.coverage is None:
            return ()
        since = (now - plan.LOOK_BACK).date()
        rows = select(CoverageRow).where(CoverageRow.day >= since.isoformat(), results.was_compared())
        titles = [modality.ae_title for modality in document.modalities if modality.station is not None]
        compared: dict[tuple[date, str], datetime] = {}
        failed: dict[tuple[date, str], datetime] = {}
        with snapshot(self._database) as session:
            for row in session.scalars(rows.order_by(CoverageRow.number)):
                known = failed if row.state == State.NOT_EVALUATED else compared
                known[date.fromisoformat(row.day), row.ae_title] = row.compared
            still_open = results.still_open(session, now.date(), _MOST_OPEN, since=since)
            missed = [day for day, title in results.missed(session, now) if title in titles]
        open_days = {date.fromisoformat(row.day) for row in still_open} | set(missed)
        return plan.due(now, titles, compared, failed, open_days)
