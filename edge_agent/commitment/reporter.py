"""Judges open requests for storage commitment, and brings modalities the reports that nobody took otherwise.

Each modality is brought its own in a thread of its own: one that is slow, or hangs, delays neither the judging nor the
reports of another.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from edge_agent.backoff import delay_s
from edge_agent.boundary import contained
from edge_agent.capture.instances import Instance
from edge_agent.commitment import judge
from edge_agent.commitment.desk import CommitmentDesk
from edge_agent.commitment.judge import Held, Verdict
from edge_agent.commitment.reports import Report
from edge_agent.commitment.requests import Reference
from edge_agent.commitment.store import CommitmentStore, OpenRequest
from edge_agent.database import Database
from edge_agent.log import OUR_ERRORS, Log, why
from edge_agent.parts import Bell
from shared.clock import Clock
from shared.errors import IntegrityFailure, Unavailable
from shared.identity import ObjectId
from shared.policy.document import PolicyDocument
from shared.policy.routes import Peer
from shared.sealing.binding import hash_sop_instance

_AT_ONCE = 64  # instances judged in one transaction, so that captures do not wait for it
_JOIN_S = 12.0  # longer than it takes to give up a connection that is being made


class Captured(Protocol):
    def of(self, uid_hash: bytes) -> tuple[Instance, ...]: ...


class Evidence(Protocol):
    def holds(self, object_id: ObjectId) -> bool:
        """Return whether the vault's verified receipt for this object is durable here."""


class Bringer(Protocol):
    """One association of ours with a modality."""

    def bring(self, reports: Iterable[Report], answered: Callable[[Report, int], None], /) -> None:
        """Deliver reports, one after the other, and call `answered` with each and the status of its answer.

        Raises one of our errors: not all were delivered.
        """

    def break_off(self) -> None:
        """End it from another thread, also before it has begun; `bring` then raises."""


@dataclass(frozen=True)
class Pauses:
    attended_s: float = 10.0  # how long a report is left to an association that is open
    look_s: float = 1.0  # between two looks, however often the bell rings
    open_s: float = 60.0  # the longest while requests are open: their time may have come
    most_s: float = 300.0  # for which one association of ours begins reports; policy is asked for the next


class CommitmentReporter:
    """A part of the agent. `evidence` is what a test replaces to see that nothing is committed without a receipt.

    `is_kept` says whether host or vault still has an object. What neither has is like what was never captured: it will
    not be committed, and its modality has to hear that while it may still have it.
    """

    name = "commitment-reporter"

    def __init__(
        self,
        desk: CommitmentDesk,
        store: CommitmentStore,
        database: Database,
        *,
        sop_hash_key: bytes,
        captured: Captured,
        evidence: Evidence,
        is_kept: Callable[[ObjectId], bool],
        associate: Callable[[Peer], Bringer],
        policy: Callable[[], PolicyDocument | None],
        clock: Clock,
        log: Log,
        bell: Bell,
        pauses: Pauses = Pauses(),
        monotonic: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._desk, self._store, self._database, self._sop_hash_key = desk, store, database, sop_hash_key
        self._captured, self._evidence, self._is_kept = captured, evidence, is_kept
        self._associate, self._policy = associate, policy
        self._clock, self._log, self._pauses = clock, log, pauses
        self._monotonic, self._spread = monotonic, spread
        self._since_s: dict[str, float] = {}  # AE title: since when a report waits that nobody delivers
        self._failures: dict[str, int] = {}
        self._not_before_s: dict[str, float] = {}
        self._couriers: dict[str, _Courier] = {}  # by AE title: those on their way
        self.bell = bell

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                self.bell.sleep(self._step())
                stop.wait(self._pauses.look_s)
        finally:
            self._end_couriers()

    def judge(self) -> None:
        """Decide what can be decided, and offer what is decided whole. Raises DatabaseUnavailable, DatabaseDamaged."""
        self._desk.offer([request for request in self._store.open() if self._is_decided(request)])

    def bring(self) -> None:
        """Begin to deliver what waits for modalities whose address policy has, where no open association does."""
        policy, now_s = self._policy(), self._monotonic()
        self._welcome_back(now_s)
        ready = self._desk.ready()
        self._since_s = {ae_title: self._since_s.get(ae_title, now_s) for ae_title in ready}
        for ae_title in sorted(ready - self._couriers.keys()):
            modality = policy.modality(ae_title) if policy is not None else None
            left_to_it = self._desk.is_attended(ae_title) and now_s < self._since_s[ae_title] + self._pauses.attended_s
            is_early = now_s < self._not_before_s.get(ae_title, now_s)
            if modality is not None and modality.commitment is not None and not left_to_it and not is_early:
                courier = _Courier(ae_title, self._associate(modality.commitment), self._run_errand)
                courier.thread.start()
                self._couriers[ae_title] = courier

    def _step(self) -> float | None:
        """Return how long to sleep if nothing rings."""
        try:
            self.judge()
            self.bring()
            waiting = self._store.waiting()
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("commitment.waits", why=why(exc))
            return self._pauses.open_s
        if not waiting:
            return None
        now_s = self._monotonic()
        due = [since + self._pauses.attended_s for since in self._since_s.values()]
        due += [not_before for ae, not_before in self._not_before_s.items() if ae in self._since_s]
        return min([self._pauses.open_s, *(left for when in due if (left := when - now_s) > 0)])

    def _is_decided(self, request: OpenRequest) -> bool:
        is_final = judge.is_unknown_final(
            self._clock.now(), request.requested, self._desk.last_capture(request.ae_title)
        )
        while undecided := self._store.undecided(request.id, _AT_ONCE):
            with self._database.transaction():
                verdicts: dict[int, Verdict] = {}
                for position, reference in undecided:
                    verdict = judge.evaluate(reference, self._held(reference), unknown_is_final=is_final)
                    # Images are delivered in order: what comes after one that waits will most often wait too.
                    if verdict is Verdict.WAITS:
                        break
                    verdicts[position] = verdict
                self._store.decide(request.id, verdicts)
            if len(verdicts) < len(undecided):
                return False
        return True

    def _held(self, reference: Reference) -> list[Held]:
        instances = self._captured.of(hash_sop_instance(self._sop_hash_key, reference.sop_instance_uid))
        return [
            Held(each.sop_class_uid, self._evidence.holds(each.object_id), lost=not self._is_kept(each.object_id))
            for each in instances
        ]

    def _welcome_back(self, now_s: float) -> None:
        """Note how those fared that are back, and when to try again."""
        for ae_title, courier in list(self._couriers.items()):
            if not courier.is_back.is_set():
                continue
            del self._couriers[ae_title]
            if courier.went_well:
                self._failures.pop(ae_title, None)
                self._not_before_s.pop(ae_title, None)
                continue
            failures = self._failures[ae_title] = self._failures.get(ae_title, 0) + 1
            self._not_before_s[ae_title] = now_s + delay_s(failures, self._spread())

    def _end_couriers(self) -> None:
        couriers, self._couriers = list(self._couriers.values()), {}
        for courier in couriers:
            courier.stop()
        until_s = self._monotonic() + _JOIN_S
        for courier in couriers:
            courier.thread.join(max(until_s - self._monotonic(), 0))
            if courier.thread.is_alive():
                self._log.event("part.stuck", part=courier.thread.name)

    # ---- one thread for each modality that is brought something

    def _run_errand(self, courier: "_Courier") -> None:
        contained(self._log, courier.thread.name, lambda: self._deliver(courier))
        courier.is_back.set()
        self.bell.ring()

    def _deliver(self, courier: "_Courier") -> None:
        ae_title, until_s = courier.ae_title, self._monotonic() + self._pauses.most_s
        shown, refused = set[str](), set[str]()
        carried: Report | None = None

        def due() -> Iterator[Report]:
            nonlocal carried
            while not courier.ended.is_set() and self._monotonic() < until_s:
                # What it refused is offered again meanwhile; it comes with a later association.
                carried = self._desk.take(ae_title, shown)
                if carried is None:
                    return
                shown.add(carried.request_id)
                yield carried

        def answered(report: Report, status: int) -> None:
            nonlocal carried
            carried = None
            if not self._desk.answered(ae_title, report, status):
                refused.add(report.request_id)

        try:
            courier.association.bring(due(), answered)
            courier.went_well = not refused
        except OUR_ERRORS as exc:
            failures = self._failures.get(ae_title, 0) + 1
            self._log.event("commitment.report-waits", modality=ae_title, why=why(exc), failures=failures)
        finally:
            if carried is not None:
                self._desk.put_back(carried.request_id)


class _Courier:
    def __init__(self, ae_title: str, association: Bringer, run: "Callable[[_Courier], None]") -> None:
        self.ae_title, self.association = ae_title, association
        self.ended, self.is_back = threading.Event(), threading.Event()
        self.went_well = False
        self.thread = threading.Thread(target=run, args=(self,), name=f"commitment-report {ae_title}", daemon=True)

    def stop(self) -> None:
        self.ended.set()
        self.association.break_off()
