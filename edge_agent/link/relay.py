"""Between the guard and the centre: policy's bundles go to the guard, its records into the audit journal.

A record is confirmed to the guard only after it is durable here, in one transaction with the place where to go on; so
an agent that is killed between the two gets it again and knows it. What of the records does not hold together is an
audit record of its own and ends nothing: where the guard's log was replaced it is read again from its beginning, and
what was relayed before is not relayed twice.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.database import Database
from edge_agent.link.bundles import Kept, KeptBundles
from edge_agent.link.chain import Link, Position, judge
from edge_agent.link.client import GuardRefused
from edge_agent.link.happening import chain_broken, happening
from edge_agent.link.protocol import MAX_RECORDS, Welcome
from edge_agent.link.relayed import Relayed
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from shared.audit.events import Happening
from shared.devices.record import GuardRecord
from shared.errors import Malformed, Refused, Unavailable
from shared.fleet.devices import GuardReport
from shared.identity import HostId
from shared.policy.document import ORGANISATION

_ASK_EVERY_S = 2.0
_REPORT_EVERY_S = 15.0  # and whenever there are records
_OFFER_AGAIN_S = 30.0
_LONGEST_WAIT_S = 10.0
# A guard that keeps giving the same wrong thing must not fill the journal.
_MOST_NOTED = 64


class Guard(Protocol):
    """What the relay asks of a guard; see `GuardClient`."""

    def hello(self) -> Welcome: ...
    def offer(self, head: bytes | None, layer: bytes | None) -> None: ...
    def report(self) -> GuardReport: ...
    def records(self, after: int, most: int) -> Sequence[bytes]: ...
    def confirm(self, upto: int) -> None: ...
    def close(self) -> None: ...


class GuardRelay:
    """A part of the agent. `on_change` is called when the guard's report may be another than before."""

    name = "guard-relay"

    def __init__(
        self,
        connect: Callable[[], Guard],
        *,
        host_id: HostId,
        journal: Journal,
        database: Database,
        bundles: KeptBundles,
        log: Log,
        bell: Bell,
        on_change: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._connect, self._host_id, self._journal, self._database = connect, host_id, journal, database
        self._bundles, self._log, self._on_change = bundles, log, on_change
        self._monotonic, self._spread = monotonic, spread
        self._relayed = Relayed(database)
        self._report: GuardReport | None = None
        self._asked_at = 0.0
        self._noted: set[tuple[str, bytes]] = set()
        self.bell = bell

    def report(self) -> GuardReport | None:
        """Return what the guard reported last, None where it does not answer now."""
        return self._report

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                guard = self._connect()
                try:
                    self.greet(guard)
                    failures = 0
                    self._serve(guard, stop)
                finally:
                    guard.close()
            except (Unavailable, Refused) as exc:
                failures += 1
                if failures == 1 or self._report is not None:
                    self._log.event("guard.away", why=why(exc))
                stop.wait(delay_s(failures, self._spread(), longest_s=_LONGEST_WAIT_S))
            finally:
                self._show(None)

    def greet(self, guard: Guard) -> None:
        """Make sure that this is the guard whose records were relayed, and confirm them.

        Raises GuardUnavailable, GuardRefused, DatabaseUnavailable.
        """
        welcome, held = guard.hello(), self._relayed.position()
        if welcome.records < held.number:
            self._read_again(f"it has {welcome.records} records, and record {held.number} was relayed before")
        elif welcome.confirmed < held.number:
            guard.confirm(held.number)

    def relay(self, guard: Guard) -> bool:
        """Take over the next records; return whether there may be more. Raises as `greet` does."""
        before = self._relayed.position()
        may_be_more = self._take(before, guard.records(before.number, MAX_RECORDS))
        after = self._relayed.position()
        if after.number > before.number:
            guard.confirm(after.number)
        return may_be_more

    def _serve(self, guard: Guard, stop: threading.Event) -> None:
        offered: Kept | None = None
        offer_at = 0.0
        while not stop.is_set():
            bundles = self._bundles.held()
            if bundles is not None and bundles != offered and self._monotonic() >= offer_at:
                offered = bundles if self._offer(guard, bundles) else None
                offer_at = 0.0 if offered else self._monotonic() + _OFFER_AGAIN_S
            is_new = False
            while self.relay(guard) and not stop.is_set():
                is_new = True
            if is_new or self._report is None or self._monotonic() - self._asked_at >= _REPORT_EVERY_S:
                self._asked_at = self._monotonic()
                self._show(guard.report())
            self.bell.sleep(_ASK_EVERY_S)

    def _offer(self, guard: Guard, bundles: Kept) -> bool:
        """Hand over every layer, one in each request; the head last, so that it finds them.

        Return whether each was taken. One that was not keeps no other back: a guard may know fewer layers.
        """
        parts = [(None, bundle) for layer, bundle in bundles.layers.items() if layer != ORGANISATION]
        are_taken = True
        for head, layer in [*parts, (bundles.head, bundles.layers.get(ORGANISATION))]:
            try:
                guard.offer(head, layer)
            except GuardRefused as exc:
                self._log.event("guard.offer-refused", why=why(exc))
                are_taken = False
        return are_taken

    def _take(self, position: Position, lines: Sequence[bytes]) -> bool:
        """Enter what of `lines` is new into the journal; return whether that brought us on."""
        before, happenings = position, list[Happening]()
        relayed: list[Position] = []
        with self._database.transaction():
            for line in lines:
                try:
                    record = GuardRecord.parse(line)
                except Malformed as exc:
                    happenings += self._note(f"what follows record {position.number} cannot be read: {exc.why}", line)
                    break
                here = Position(record.number, record.digest)
                is_known = here in relayed or self._relayed.holds(here.digest)
                judged = judge(position, record, is_known=is_known)
                if judged.why:
                    notes = self._note(judged.why, here.digest)
                    happenings += notes
                    if judged.link is Link.FORK and notes:
                        # Perhaps there is another story from its beginning; if not, this record comes again.
                        position = Position()
                        break
                if judged.link is not Link.REPEAT:
                    position = here
                if not is_known:
                    happenings.append(happening(self._host_id, record))
                    relayed.append(here)
            if happenings:
                self._journal.record_all(happenings)
            if happenings or position != before:
                self._relayed.move(position, relayed)
        return bool(happenings) or position != before

    def _read_again(self, reason: str) -> None:
        with self._database.transaction():
            self._journal.record(chain_broken(self._host_id, reason))
            self._relayed.move(Position())

    def _note(self, reason: str, digest: bytes) -> list[Happening]:
        if (reason, digest) in self._noted or len(self._noted) >= _MOST_NOTED:
            return []
        self._noted.add((reason, digest))
        return [chain_broken(self._host_id, reason)]

    def _show(self, report: GuardReport | None) -> None:
        if report != self._report:
            self._report = report
            self._on_change()
