"""Where associations and the reporter meet: takes requests in, and gives each report to one who delivers it.

A report is delivered at least once: it is closed only when the modality has answered it.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from edge_agent.audit.journal import Journal
from edge_agent.commitment import requests
from edge_agent.commitment.reports import Report
from edge_agent.commitment.requests import TooManyReferences
from edge_agent.commitment.store import CommitmentStore, OpenRequest, TooManyOpen
from edge_agent.database import Database
from edge_agent.log import OUR_ERRORS, Log, why
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.dicom.dimse import Status
from shared.errors import Refused
from shared.identity import HostId

# PS3.7 annex C: success, and the two warnings with which a modality takes a report and finds fault with it.
_TAKEN = {Status.SUCCESS, Status.ATTRIBUTE_LIST_ERROR, Status.ATTRIBUTE_OUT_OF_RANGE}


class CommitmentDesk:
    """`wake` is called when there may be something to report. It must not block."""

    def __init__(
        self,
        store: CommitmentStore,
        journal: Journal,
        database: Database,
        *,
        host_id: HostId,
        clock: Clock,
        log: Log,
        wake: Callable[[], None],
    ) -> None:
        self._store, self._journal, self._database = store, journal, database
        self._host_id, self._clock, self._log, self._wake = host_id, clock, log, wake
        self._lock = threading.Lock()
        self._began = clock.now()
        self._captured: dict[str, datetime] = {}
        self._attending: Counter[str] = Counter()
        self._ready: dict[str, str] = {}  # request id to AE title, of what is decided and not being delivered
        self._taken: set[str] = set()
        self._complained: set[str] = set()

    # ---- for associations

    def request(self, ae_title: str, data_set: bytes, transfer_syntax: str) -> Status:
        """Take in a request; once this returns SUCCESS it survives a power cut."""
        try:
            request = requests.parse(data_set, transfer_syntax)
            with self._database.transaction():
                request_id = self._store.add(ae_title, request, self._clock.now())
                if request_id is not None:
                    reason = f"{len(request.references)} instances"
                    self._record(Event.COMMITMENT_REQUESTED, ae_title, request_id, reason, request.transaction_uid)
        except Refused as exc:
            self._log.event("commitment.refused", why=why(exc))
            self._record(Event.COMMITMENT_REFUSED, ae_title, "", why(exc))
            full = isinstance(exc, TooManyReferences | TooManyOpen)
            return Status.RESOURCE_LIMITATION if full else Status.INVALID_ARGUMENT
        except OUR_ERRORS as exc:
            self._log.event("commitment.refused", why=why(exc))
            return Status.PROCESSING_FAILURE
        self._log.event("commitment.requested", request=request_id, instances=len(request.references))
        self._wake()
        return Status.SUCCESS

    def attend(self, ae_title: str) -> None:
        """Note an association on which reports can be delivered."""
        with self._lock:
            self._attending[ae_title] += 1
        self._wake()

    def depart(self, ae_title: str) -> None:
        with self._lock:
            self._attending[ae_title] -= 1
        self._wake()

    def captured(self, ae_title: str) -> None:
        """Note that an image of this modality has just come."""
        self._captured[ae_title] = self._clock.now()

    def take(self, ae_title: str, passed_over: Collection[str] = ()) -> Report | None:
        """Return a report to deliver; `answered` or `put_back` has to follow. Raises DatabaseUnavailable.

        `passed_over` is ids of requests whose reports are left to others.
        """
        with self._lock:
            mine = (name for name, whose in self._ready.items() if whose == ae_title and name not in passed_over)
            request_id = next(mine, None)
            if request_id is None:
                return None
            del self._ready[request_id]
            self._taken.add(request_id)
        report: Report | None = None
        try:
            report = self._store.report(request_id)
        finally:
            if report is None:
                self.put_back(request_id)
        return report

    def answered(self, ae_title: str, report: Report, status: int) -> bool:
        """Close a report that the modality took; return whether it did. Raises DatabaseUnavailable."""
        try:
            if status not in _TAKEN:
                self._complain(ae_title, report, status)
                return False
            with self._database.transaction():
                if self._store.close(report.request_id):
                    reason = f"{len(report.committed)} committed, {len(report.failed)} not"
                    self._record(Event.COMMITMENT_REPORTED, ae_title, report.request_id, reason)
            self._log.event(
                "commitment.reported",
                request=report.request_id,
                committed=len(report.committed),
                failed=len(report.failed),
            )
        finally:
            self.put_back(report.request_id)
        return True

    def put_back(self, request_id: str) -> None:
        """Give up delivering a report; the next look offers it again unless it was closed."""
        with self._lock:
            self._taken.discard(request_id)
        self._wake()

    # ---- for the reporter

    def offer(self, decided: Iterable[OpenRequest]) -> None:
        """Say of which requests everything is decided; those being delivered stay with who delivers them."""
        with self._lock:
            self._ready = {each.id: each.ae_title for each in decided if each.id not in self._taken}

    def ready(self) -> set[str]:
        """Return the AE titles for which a report waits that nobody delivers."""
        with self._lock:
            return set(self._ready.values())

    def is_attended(self, ae_title: str) -> bool:
        with self._lock:
            return self._attending[ae_title] > 0

    def last_capture(self, ae_title: str) -> datetime:
        return self._captured.get(ae_title, self._began)

    def _complain(self, ae_title: str, report: Report, status: int) -> None:
        reason = f"the modality answered the report with status {status:04X}"
        self._log.event("commitment.report-refused", request=report.request_id, why=reason)
        if report.request_id not in self._complained:
            self._complained.add(report.request_id)
            self._record(Event.COMMITMENT_REFUSED, ae_title, report.request_id, reason)

    def _record(self, event: Event, ae_title: str, request_id: str, reason: str, transaction_uid: str = "") -> None:
        failed = event is Event.COMMITMENT_REFUSED
        self._journal.record(
            Happening(
                event,
                Action.EXECUTE,
                Outcome.MINOR_FAILURE if failed else Outcome.SUCCESS,
                (Participant("ae", ae_title, True), Participant("host", str(self._host_id), False)),
                (Subject("commitment", request_id),) if request_id else (),
                reason,
                {"transaction": transaction_uid} if transaction_uid else None,
            )
        )
