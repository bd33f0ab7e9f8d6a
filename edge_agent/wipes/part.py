"""Fetches wipe tickets, and brings what `leadglass-wipe` says into the journal and to the centre until it is confirmed.

A host whose policy has no section `wipe` asks nothing. One with a ticket looks every few seconds whether something new
lies in root's folder, by one `stat`.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.database import Database
from edge_agent.https import DoorRefused, HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from edge_agent.usb_policy.trust import FileUnreadable
from edge_agent.wipes.inbox import TicketInbox
from edge_agent.wipes.outbox import Told, WipeOutbox
from edge_agent.wipes.store import WipeStore
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import readable
from shared.clock import Clock
from shared.errors import Malformed, Refused, Unavailable
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.sanitization.envelope import SignedTicket
from shared.sanitization.exchange import PATH, Asked, ListedWipes, notes_path, report_path
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.report import Ending, WipeReport
from shared.sanitization.ticket import TicketId
from shared.signing import claimed_payload

_NOT_FOUND = 404
_WITHOUT_POLICY_S = 60.0
_SPREAD = 0.25
_LOOK_S = 5.0
_LEAST_S = 1.0  # however often it is rung
_EVENTS = {
    NoteEvent.ACCEPTED: Event.WIPE_ACCEPTED,
    NoteEvent.REFUSED: Event.WIPE_REFUSED,
    NoteEvent.STARTED: Event.WIPE_STARTED,
    NoteEvent.RESUMED: Event.WIPE_RESUMED,
    NoteEvent.ENDED: Event.WIPE_ENDED,
}


class InboxUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"wipe tickets cannot be written down: {why}")
        self.why = why


class WipePart:
    """A part of the agent. Rung, it asks at once."""

    name = "wipes"

    def __init__(
        self,
        door: HttpsDoor,
        inbox: TicketInbox,
        outbox: WipeOutbox,
        store: WipeStore,
        *,
        host_id: HostId,
        policy: Callable[[], PolicyDocument | None],
        journal: Journal,
        database: Database,
        clock: Clock,
        log: Log,
        bell: Bell,
        spread: Callable[[], float] = random.random,
        look_s: float = _LOOK_S,
    ) -> None:
        self._door, self._inbox, self._outbox, self._store = door, inbox, outbox, store
        self._host_id, self._policy, self._journal, self._database = host_id, policy, journal, database
        self._clock, self._log, self._spread, self._look_s = clock, log, spread, look_s
        self.bell = bell
        self._seen = 0
        self._had_policy = False
        self._told_again: set[tuple[str, int]] = set()
        self._unknown_there: set[tuple[str, int]] = set()  # told again by the next run of the agent

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self.exchange()
                failures = 0
            except (Unavailable, Refused) as exc:
                failures += 1
                self._log.event("wipe.waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
                continue
            finally:
                # A host has a wipe once in its life: it keeps no connection for it.
                self._door.close()
            stop.wait(_LEAST_S)
            self._wait(stop)

    def exchange(self) -> None:
        """Tell what there is to tell, and fetch what waits.

        Raises DoorUnavailable, DoorRefused, DatabaseUnavailable, InboxUnavailable: what was not told is told next time.
        """
        self._seen = self._outbox.changed()
        self._tell()
        policy = self._policy()
        self._had_policy = policy is not None
        if (policy is None or policy.wipe is None) and self._is_inbox_empty():
            return
        answer = self._door.get(PATH)
        if answer.status == _NOT_FOUND:  # a centre of an earlier version
            return
        listed = ListedWipes.parse(accepted(self._door.name, answer).body)
        try:
            self._inbox.keep(listed.tickets, Asked(self._clock.now(), listed.hold))
        except OSError as exc:
            raise InboxUnavailable(exc.strerror or "it failed") from exc
        self._tell_again(listed)

    def _wait(self, stop: threading.Event) -> None:
        policy = self._policy()
        # One that came after we looked has not been acted by.
        every_s = policy.pull_every_s if policy is not None and self._had_policy else _WITHOUT_POLICY_S
        until_s = time.monotonic() + every_s * (1 - _SPREAD * self._spread())
        while not stop.is_set() and (left_s := until_s - time.monotonic()) > 0:
            if self.bell.sleep(left_s if self._is_inbox_empty() else min(left_s, self._look_s)):
                return
            if self._outbox.changed() != self._seen:
                return

    def _is_inbox_empty(self) -> bool:
        try:
            return self._inbox.is_empty()
        except OSError:
            return False

    def _tell(self) -> None:
        noted = self._store.noted()
        for told in self._outbox.files():
            version, is_confirmed = noted.get(told.name, (-1, False))
            if (version == told.version and is_confirmed) or (told.name, told.version) in self._unknown_there:
                continue
            try:
                data = self._outbox.read(told)
                if told.seq is not None and version != told.version:
                    self._note_down(told, data)
            except FileNotFoundError:
                continue
            except (FileUnreadable, Malformed) as exc:
                self._log.event("wipe.file-unreadable", file=told.name, why=why(exc))
                self._store.confirm(told)
                continue
            self._bring(told, data)

    def _tell_again(self, listed: ListedWipes) -> None:
        """Tell once more of what ended here and waits there all the same: the centre was restored, and has lost it."""
        waiting = {ticket_id for ticket_id in map(_named, listed.tickets) if ticket_id is not None}
        if not waiting:
            return
        files = [told for told in self._outbox.files() if told.ticket_id in waiting]
        ended = {told.ticket_id for told in files if told.seq is None and self._has_ended(told)}
        noted = self._store.noted()
        for told in files:
            known = (told.name, told.version)
            is_confirmed = noted.get(told.name) == (told.version, True)
            if told.ticket_id in ended and is_confirmed and known not in self._told_again:
                with suppress(FileNotFoundError, FileUnreadable):
                    self._bring(told, self._outbox.read(told))
                self._told_again.add(known)

    def _has_ended(self, told: Told) -> bool:
        try:
            report = WipeReport.parse(claimed_payload(self._outbox.read(told)))
        except (FileNotFoundError, FileUnreadable, Malformed):
            return False
        return report.ending is not Ending.REFUSED

    def _bring(self, told: Told, data: bytes) -> None:
        path = report_path(told.ticket_id) if told.seq is None else notes_path(told.ticket_id)
        answer = self._door.post(path, data, "application/octet-stream")
        if answer.status == _NOT_FOUND:
            # A centre of an earlier version, or one that was restored and has lost the order: perhaps not for good.
            self._log.event("wipe.unknown-there", file=told.name)
            self._unknown_there.add((told.name, told.version))
            return
        try:
            accepted(self._door.name, answer)
        except DoorRefused as exc:
            # It will not be taken however often it is sent. It stays where it lies, and a person can carry it.
            self._log.event("wipe.not-taken", file=told.name, why=why(exc))
        self._store.confirm(told)

    def _note_down(self, told: Told, data: bytes) -> None:
        """Raises Malformed."""
        note = WipeNote.parse(data)
        if (note.ticket_id, note.seq) != (told.ticket_id, told.seq):
            raise Malformed("wipe note", "it has the name of another")
        is_refused = note.event is NoteEvent.REFUSED
        detail = readable(note.detail, 300) if note.detail else ""
        what = (
            Subject("order", str(note.ticket_id)),
            Subject("digest", sha256(data).hexdigest()),
            *([Subject("fact", f"detail: {detail}")] if detail and not is_refused else []),
        )
        happening = Happening(
            _EVENTS[note.event], Action.EXECUTE, Outcome.MINOR_FAILURE if is_refused else Outcome.SUCCESS,
            (Participant("host", str(self._host_id), True),), what, detail if is_refused else "",
        )  # fmt: skip
        with self._database.transaction():
            self._journal.record(happening)
            self._store.note(told)


def _named(envelope: bytes) -> TicketId | None:
    try:
        return SignedTicket.parse(envelope).claimed.ticket_id
    except Malformed:
        return None
