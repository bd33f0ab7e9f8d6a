"""Delivers the spool, oldest first. An object leaves it only when the vault's verified receipt is durably held.

What was brought from another host goes the same way, while the centre has somebody's word for it. Until then it stays,
and holds up nothing else.
"""

import random
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.capture.spool import Spool, Spooled
from edge_agent.database import Database
from edge_agent.deliver.receipts import Receipts
from edge_agent.https import DoorRefused, HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fleet.receipt import verify_receipt
from shared.identity import HostId, ObjectId
from shared.policy.document import PolicyDocument
from shared.sealing import object_file
from shared.sealing.record import record_digest


class Delivery(Enum):
    DELIVERED = "delivered"
    NOTHING = "nothing waits"
    REFUSED = "put aside"
    NOT_ALLOWED = "of another host, and not allowed now"


FORBIDDEN = 403
_ASK_AGAIN_S = 60.0
NOT_ALLOWED = "the centre has nobody's word that this host may deliver it (leadglass-server spool allow)"


class Brought(Protocol):
    """What of the spool was brought here from other hosts."""

    def source_of(self, object_id: ObjectId, /) -> HostId | None:
        """Return which other host captured an object, None where this one did. Touches no disk."""

    def delivered(self, object_id: ObjectId, /) -> None:
        """Note that the vault answers for an object, so nothing holds up what is here of its host."""

    def note(self, host: HostId, why: str, /) -> None:
        """Keep what holds up what is here of `host`."""


class NotAllowedNow(Refused):
    def __init__(self, host: HostId) -> None:
        super().__init__(f"the centre takes nothing of {host} from this host now")
        self.host = host


class NoReceiptKey(Unavailable):
    def __init__(self) -> None:
        super().__init__("no policy is in force, so no receipt can be verified")


class DeliveryUploader:
    """A part of the agent: sends whenever something waits, and holds back when the vault does not answer."""

    name = "delivery"

    def __init__(
        self,
        door: HttpsDoor,
        *,
        host_id: HostId,
        spool: Spool,
        journal: Journal,
        database: Database,
        receipts: Receipts,
        policy: Callable[[], PolicyDocument | None],
        log: Log,
        bell: Bell,
        brought: Brought,
        spread: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door, self._host_id, self._spool, self._journal = door, host_id, spool, journal
        self._database, self._receipts, self._policy = database, receipts, policy
        self._log, self._spread, self._monotonic = log, spread, monotonic
        self._brought = brought
        self._rests: dict[HostId, float] = {}  # until when nothing of a host is tried, by our own clock
        self._noted: str | None = None  # the last receipt that did not verify, so that it is recorded once
        self.bell = bell

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                if self.deliver_oldest() is Delivery.NOTHING:
                    self.bell.sleep(self._rest_s())
                failures = 0
            except (Unavailable, IntegrityFailure) as exc:
                failures += 1
                self._log.event("delivery.waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
        self._door.close()

    def deliver_oldest(self) -> Delivery:
        """Send the oldest object that waits, and is not of a host of which the centre took nothing just now.

        Raises Unavailable of some kind: it stays and is tried again. Raises ReceiptMismatch, WrongSigner,
        SignatureInvalid: what came back is no receipt of the vault, so the object stays too.
        """
        spooled = self._next()
        if spooled is None:
            return Delivery.NOTHING
        if self._receipts.holds(spooled.object_id):
            # Stopped between the receipt and the removal.
            self._let_go(spooled)
            return Delivery.DELIVERED
        try:
            self._send(spooled)
        except NotAllowedNow as exc:
            self._rests[exc.host] = self._monotonic() + _ASK_AGAIN_S
            self._brought.note(exc.host, NOT_ALLOWED)
            self._log.event("delivery.not-allowed", object=str(spooled.object_id), host=str(exc.host))
            return Delivery.NOT_ALLOWED
        except (DoorRefused, Malformed) as exc:
            self._journal.record(self._happening(Event.DELIVERY_REFUSED, Outcome.SERIOUS_FAILURE, spooled, why(exc)))
            self._spool.refuse(spooled)
            self._log.event("delivery.refused", object=str(spooled.object_id), why=why(exc))
            return Delivery.REFUSED
        except IntegrityFailure as exc:
            self._note_bad_receipt(spooled, why(exc))
            raise
        self._let_go(spooled)
        self._log.event("delivery.delivered", object=str(spooled.object_id))
        return Delivery.DELIVERED

    def _next(self) -> Spooled | None:
        oldest = self._spool.oldest()
        if oldest is None or not self._is_resting(oldest):
            return oldest
        return next((spooled for spooled in self._spool.everything() if not self._is_resting(spooled)), None)

    def _is_resting(self, spooled: Spooled) -> bool:
        source = self._brought.source_of(spooled.object_id)
        return source is not None and self._rests.get(source, 0.0) > self._monotonic()

    def _rest_s(self) -> float | None:
        """Return how long to sleep where nobody rings: until something may be asked again, if something rests."""
        ends = [end for end in self._rests.values() if end > self._monotonic()]
        return max(min(ends) - self._monotonic(), 0.0) if ends else None

    def _let_go(self, spooled: Spooled) -> None:
        self._spool.remove(spooled)
        if self._brought.source_of(spooled.object_id) is not None:
            self._brought.delivered(spooled.object_id)

    def _send(self, spooled: Spooled) -> None:
        policy = self._policy()
        if policy is None:
            raise NoReceiptKey
        with self._spool.open(spooled) as source:
            digest = record_digest(object_file.parse(source).record)
            size_bytes = source.seek(0, 2)
            source.seek(0)
            answer = self._door.put_file(f"/api/v1/objects/{spooled.object_id}", source, size_bytes)
        if answer.status == FORBIDDEN and (source_host := self._brought.source_of(spooled.object_id)) is not None:
            raise NotAllowedNow(source_host)
        signed = accepted(self._door.name, answer).body
        try:
            receipt = verify_receipt(signed, policy.receipt_key, spooled.object_id, digest)
        except Malformed as exc:
            raise UnreadableReceipt(exc.why) from exc
        with self._database.transaction():
            self._receipts.keep(receipt, signed)
            what = Subject("record", digest.hex())
            self._journal.record(self._happening(Event.IMAGE_DELIVERED, Outcome.SUCCESS, spooled, "", what))
        self._receipts.announce()

    def _note_bad_receipt(self, spooled: Spooled, reason: str) -> None:
        note = f"{spooled.object_id} {reason}"
        if note != self._noted:
            self._journal.record(self._happening(Event.DELIVERY_REFUSED, Outcome.MAJOR_FAILURE, spooled, reason))
            self._noted = note

    def _happening(self, event: Event, outcome: Outcome, spooled: Spooled, reason: str, *what: Subject) -> Happening:
        who = (Participant("host", str(self._host_id), True),)
        return Happening(
            event, Action.EXECUTE, outcome, who, (Subject("object", str(spooled.object_id)), *what), reason
        )


class UnreadableReceipt(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"what the vault answered is not a receipt: {why}")
        self.why = why
