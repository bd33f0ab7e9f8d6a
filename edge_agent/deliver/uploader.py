"""Delivers the spool, oldest first. An object leaves it only when the vault's verified receipt is durably held."""

import random
import threading
from collections.abc import Callable
from enum import Enum

from edge_agent.audit.journal import Journal
from edge_agent.backoff import delay_s
from edge_agent.capture.spool import Spool, Spooled
from edge_agent.database import Database
from edge_agent.deliver.receipts import Receipts
from edge_agent.https import DoorRefused, HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure, Malformed, Unavailable
from shared.fleet.receipt import verify_receipt
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.sealing import object_file
from shared.sealing.record import record_digest


class Delivery(Enum):
    DELIVERED = "delivered"
    NOTHING = "nothing waits"
    REFUSED = "put aside"


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
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._host_id, self._spool, self._journal = door, host_id, spool, journal
        self._database, self._receipts, self._policy = database, receipts, policy
        self._log, self._spread = log, spread
        self._noted: str | None = None  # the last receipt that did not verify, so that it is recorded once
        self.bell = bell

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                if self.deliver_oldest() is Delivery.NOTHING:
                    self.bell.sleep()
                failures = 0
            except (Unavailable, IntegrityFailure) as exc:
                failures += 1
                self._log.event("delivery.waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
        self._door.close()

    def deliver_oldest(self) -> Delivery:
        """Send the oldest object that waits.

        Raises Unavailable of some kind: it stays and is tried again. Raises ReceiptMismatch, WrongSigner,
        SignatureInvalid: what came back is no receipt of the vault, so the object stays too.
        """
        spooled = self._spool.oldest()
        if spooled is None:
            return Delivery.NOTHING
        if self._receipts.holds(spooled.object_id):
            # Stopped between the receipt and the removal.
            self._spool.remove(spooled)
            return Delivery.DELIVERED
        try:
            self._send(spooled)
        except (DoorRefused, Malformed) as exc:
            self._journal.record(self._happening(Event.DELIVERY_REFUSED, Outcome.SERIOUS_FAILURE, spooled, why(exc)))
            self._spool.refuse(spooled)
            self._log.event("delivery.refused", object=str(spooled.object_id), why=why(exc))
            return Delivery.REFUSED
        except IntegrityFailure as exc:
            self._note_bad_receipt(spooled, why(exc))
            raise
        self._spool.remove(spooled)
        self._log.event("delivery.delivered", object=str(spooled.object_id))
        return Delivery.DELIVERED

    def _send(self, spooled: Spooled) -> None:
        policy = self._policy()
        if policy is None:
            raise NoReceiptKey
        with self._spool.open(spooled) as source:
            digest = record_digest(object_file.parse(source).record)
            size_bytes = source.seek(0, 2)
            source.seek(0)
            answer = self._door.put_file(f"/api/v1/objects/{spooled.object_id}", source, size_bytes)
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
