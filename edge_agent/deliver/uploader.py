"""Delivers the spool, oldest first. An object leaves it only when the vault's verified receipt is durably held.

What was brought from another host goes the same way, while the centre has somebody's word for it. Until then it stays,
and holds up nothing else.
"""

import io
import random
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from functools import partial
from sqlite3 import Connection
from typing import Any, Protocol

from edge_agent.audit.journal import Journal
from edge_agent.backoff import ask_again_s, delay_s
from edge_agent.courtesy import Yields, at_once
from edge_agent.database import Database
from edge_agent.deliver.receipts import Receipts
from edge_agent.https import Answer, DoorRefused, HttpsDoor, accepted, problem
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from edge_agent.spool.catalogue import Row, Spooled, State
from edge_agent.spool.decisions import ANSWERED_FOR
from edge_agent.spool.errors import SpoolUnavailable
from edge_agent.spool.segment import unavailable
from edge_agent.spool.spool import Spool
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fleet.receipt import MEMBER, NOT_HELD, Receipt, path_of, verify_receipt
from shared.identity import HostId, ObjectId
from shared.policy.document import PolicyDocument
from shared.sealing import object_file
from shared.sealing.record import record_digest

_LOOK_AGAIN_S = 60.0  # for what can be read again, or was let wait again by a person
_UNREADABLE_S, _UNREADABLE_MOST_S = 60.0, 3600.0
_ASKED_AT_ONCE = 64


class Delivery(Enum):
    DELIVERED = "delivered"
    NOTHING = "nothing waits"
    REFUSED = "put aside"
    NOT_ALLOWED = "of another host, and not allowed now"


FORBIDDEN, _NOT_FOUND = 403, 404
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


@dataclass(frozen=True)
class _Rest:
    until_s: float = 0.0
    refusals: int = 0  # in a row


@dataclass(frozen=True)
class _HeldUp:
    until_s: float
    pause_s: float


class NoReceiptKey(Unavailable):
    def __init__(self) -> None:
        super().__init__("no policy is in force, so no receipt can be verified")


class DeliveryUploader:
    """A part of the agent: sends whenever something waits, and holds back when the vault does not answer.

    `is_owed` says whether this host still owes an object to an archive, so that it stays although the vault has it;
    `reads` whether the centre named something among what it reads; `lost` gives, once, what it says it lost and of
    which no receipt is here; `forget_old` lets go of what is remembered of images that were delivered long ago.
    """

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
        is_owed: Callable[[ObjectId], bool] = lambda _object_id: False,
        policy: Callable[[], PolicyDocument | None],
        log: Log,
        bell: Bell,
        brought: Brought,
        reads: Callable[[str], bool] = lambda _member: False,
        lost: Callable[[], Iterable[ObjectId]] = tuple,
        forget_old: Callable[[], None] = lambda: None,
        yields: Yields = at_once,
        spread: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
        look_again_s: float = _LOOK_AGAIN_S,
    ) -> None:
        self._door, self._host_id, self._spool, self._journal = door, host_id, spool, journal
        self._database, self._receipts, self._policy = database, receipts, policy
        self._is_owed, self._reads, self._lost, self._yields = is_owed, reads, lost, yields
        self._log, self._spread, self._monotonic, self._look_again_s = log, spread, monotonic, look_again_s
        self._unreadable: dict[int, _HeldUp] = {}
        self._brought, self._forget_old = brought, forget_old
        self._rests: dict[HostId, _Rest] = {}  # until when nothing of a host is tried, by our own clock
        self._look_s = 0.0  # when to look again at what is only to be let go of, by our own clock
        self._passed, self._pass_again_s = 0, 0.0  # up to which number everything is left alone, and until when
        self._asked_last = ""  # the object whose receipt was in doubt and asked for last
        self._noted: str | None = None  # the last receipt that did not verify, so that it is recorded once
        self.bell = bell

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                if self._monotonic() >= self._look_s:
                    self.let_go_of_what_is_owed_no_more()
                    self.let_go_of_what_was_discarded()
                    self._forget_old()
                    # All that is owed is gone through: with an archive away for days not once for each image.
                    self._look_s = self._monotonic() + self._look_again_s
                self._yields(stop)
                if self.deliver_oldest() is Delivery.NOTHING and not self.ask_about_doubted():
                    self.bell.sleep(self._look_again_s)
                    self._look_s = 0.0
                failures = 0
            except (Unavailable, IntegrityFailure, DoorRefused) as exc:
                failures += 1
                self._log.event("delivery.waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
        self._door.close()

    def deliver_oldest(self) -> Delivery:
        """Send the oldest object that waits and is not left alone for a while.

        Raises Unavailable of some kind: it stays and is tried again. Raises ReceiptMismatch, WrongSigner,
        SignatureInvalid: what came back is no receipt of the vault, so the object stays too.
        """
        spooled = self._next()
        if spooled is None:
            return Delivery.NOTHING
        if self._is_delivered(spooled):
            return Delivery.DELIVERED
        try:
            stays = self._send(spooled)
        except NotAllowedNow as exc:
            refusals = self._rests.get(exc.host, _Rest()).refusals + 1
            until_s = self._monotonic() + ask_again_s(refusals, self._spread())
            self._rests[exc.host] = _Rest(until_s, refusals)
            self._brought.note(exc.host, NOT_ALLOWED)
            self._log.event("delivery.not-allowed", object=str(spooled.object_id), host=str(exc.host))
            return Delivery.NOT_ALLOWED
        except (DoorRefused, Malformed) as exc:
            refused = self._happening(Event.DELIVERY_REFUSED, Outcome.SERIOUS_FAILURE, spooled.object_id, why(exc))
            self._journal.record(refused)
            self._spool.put_aside(spooled, why(exc))
            self._log.event("delivery.refused", object=str(spooled.object_id), why=why(exc))
            return Delivery.REFUSED
        except SpoolUnavailable as exc:
            self._note_unreadable(spooled, why(exc))
            return Delivery.REFUSED
        except IntegrityFailure as exc:
            self._note_bad_receipt(spooled.object_id, why(exc))
            raise
        self._unreadable.pop(spooled.number, None)
        if (source := self._brought.source_of(spooled.object_id)) is not None:
            self._rests.pop(source, None)
        if not stays:
            self._let_go(spooled)
        self._log.event("delivery.delivered", object=str(spooled.object_id))
        return Delivery.DELIVERED

    def _is_delivered(self, spooled: Spooled) -> bool:
        """Let go of an object that the vault has: we stopped before its removal, or it came there by another way."""
        if not self._receipts.holds(spooled.object_id):
            return False
        with self._database.transaction() as connection:
            # Asked again, because whoever heard of a loss may have doubted it meanwhile.
            if not self._receipts.holds(spooled.object_id):
                return False
            stays = self._release(connection, spooled)
        if not stays:
            self._let_go(spooled)
        return True

    def let_go_of_what_is_owed_no_more(self) -> None:
        """Let go of objects that the vault has and that every archive has by now, or that a person gave up."""
        for row in self._spool.rows(State.OWED):
            object_id = row.spooled.object_id
            if self._is_owed(object_id):
                continue
            with self._database.transaction() as connection:
                if not self._receipts.holds(object_id):
                    continue
                self._spool.forget(connection, row.spooled)
            self._let_go(row.spooled)

    def ask_about_doubted(self) -> bool:
        """Ask the vault about some of the receipts that are in doubt; return whether any is not any more.

        What it does not hold any more is captured anew when it is sent again, and delivered again where it is still
        here. An answer that is no receipt of the vault ends no doubt, and holds up nobody: who was asked is asked again
        when all others were. Raises Unavailable of some kind, DoorRefused.
        """
        for object_id in self._lost():
            self._door.get(path_of(object_id))  # nothing is taken back; by the question the centre knows that we know
        doubted = self._receipts.doubted(_ASKED_AT_ONCE, self._asked_last) if self._reads(MEMBER) else []
        in_doubt = 0
        for object_id, record_sha256 in doubted:
            self._asked_last = str(object_id)
            answer = self._door.get(path_of(object_id))
            # Its own word and not the status alone, which says so too of a path that nobody serves.
            if answer.status == _NOT_FOUND and problem(answer).get("error") == NOT_HELD:
                self._void(object_id)
                continue
            try:
                receipt, signed = self._verified(answer, object_id, record_sha256)
            except IntegrityFailure as exc:
                if not in_doubt:
                    self._note_bad_receipt(object_id, why(exc))
                in_doubt += 1
                continue
            self._receipts.keep(receipt, signed)
        if is_less := in_doubt < len(doubted):
            self._receipts.announce()
        return is_less

    def _void(self, object_id: ObjectId) -> None:
        """Note that the vault lost what it had answered for."""
        reason = "the vault does not hold it any more"
        with self._database.transaction() as connection:
            row = self._spool.catalogue.find(object_id)
            self._receipts.forget(object_id)
            self._journal.record(self._happening(Event.DELIVERY_REFUSED, Outcome.SERIOUS_FAILURE, object_id, reason))
            if row is not None and (row.state is State.OWED or _was_discarded_by_receipt(row)):
                self._spool.deliver_again(connection, row.spooled)
        self._log.event("delivery.lost-there", object=str(object_id))

    def let_go_of_what_was_discarded(self) -> None:
        """Let go of objects that a person called worthless; one that cannot be deleted holds up nobody.

        One that was worthless because the vault has it stays while that is in doubt.
        """
        for row in self._spool.rows(State.DISCARDED):
            try:
                self._spool.give_up(row.spooled, partial(self._is_worthless, row))
            except SpoolUnavailable as exc:
                self._log.event("delivery.discard-waits", object=str(row.spooled.object_id), why=why(exc))

    def _is_worthless(self, row: Row) -> bool:
        return not _was_discarded_by_receipt(row) or self._receipts.holds(row.spooled.object_id)

    def _next(self) -> Spooled | None:
        """Return the oldest object that is not left alone for a while."""
        now_s = self._monotonic()
        if now_s >= self._pass_again_s:
            self._passed = 0
        while (spooled := self._spool.oldest(self._passed)) is not None:
            until_s = self._left_alone_until_s(spooled)
            if now_s >= until_s:
                return spooled
            # Thousands may wait here for somebody's word: they are not gone through again for each image of our own.
            ends_s = min(until_s, now_s + _LOOK_AGAIN_S)
            self._pass_again_s = min(ends_s, self._pass_again_s) if self._passed else ends_s
            self._passed = spooled.number
        return None

    def _left_alone_until_s(self, spooled: Spooled) -> float:
        """Return until when an object is not tried: it could not be read, or the centre takes nothing of its host."""
        held_up = self._unreadable.get(spooled.number)
        source = self._brought.source_of(spooled.object_id)
        return max(
            held_up.until_s if held_up is not None else 0.0,
            self._rests[source].until_s if source in self._rests else 0.0,
        )

    def _let_go(self, spooled: Spooled) -> None:
        """Give up the room of an object that the catalogue has forgotten, and forget who captured it."""
        self._spool.let_go(spooled)
        if self._brought.source_of(spooled.object_id) is not None:
            self._brought.delivered(spooled.object_id)

    def _release(self, connection: Connection, spooled: Spooled) -> bool:
        """Note that the vault has an object; return whether it stays all the same, for an archive."""
        stays = self._is_owed(spooled.object_id)
        if stays:
            self._spool.keep_owed(connection, spooled)
        else:
            self._spool.forget(connection, spooled)
        return stays

    def _send(self, spooled: Spooled) -> bool:
        """Send an object and keep its receipt; return whether it stays in the spool."""
        if self._policy() is None:
            raise NoReceiptKey
        with closing(_Readable(self._spool, spooled)) as source:
            digest = record_digest(object_file.parse(source).record)
            size_bytes = source.seek(0, 2)
            source.seek(0)
            answer = self._door.put_file(path_of(spooled.object_id), source, size_bytes)
        if answer.status == FORBIDDEN and (source_host := self._brought.source_of(spooled.object_id)) is not None:
            raise NotAllowedNow(source_host)
        receipt, signed = self._verified(answer, spooled.object_id, digest)
        with self._database.transaction() as connection:
            self._receipts.keep(receipt, signed)
            what = Subject("record", digest.hex())
            self._journal.record(self._happening(Event.IMAGE_DELIVERED, Outcome.SUCCESS, spooled.object_id, "", what))
            stays = self._release(connection, spooled)
        self._receipts.announce()
        return stays

    def _verified(self, answer: Answer, object_id: ObjectId, record_sha256: bytes) -> tuple[Receipt, bytes]:
        """Return the vault's receipt, as it says and as it came. Raises like `deliver_oldest`, and DoorRefused."""
        policy = self._policy()
        if policy is None:
            raise NoReceiptKey
        signed = accepted(self._door.name, answer).body
        try:
            return verify_receipt(signed, policy.receipt_key, object_id, record_sha256), signed
        except Malformed as exc:
            raise UnreadableReceipt(exc.why) from exc

    def _note_unreadable(self, spooled: Spooled, reason: str) -> None:
        """Leave an object alone that the disk does not give: it must not hold up the others, and stays."""
        before = self._unreadable.get(spooled.number)
        pause_s = _UNREADABLE_S if before is None else min(2 * before.pause_s, _UNREADABLE_MOST_S)
        if before is None:
            with self._database.transaction() as connection:
                damaged = self._happening(Event.OBJECT_DAMAGED, Outcome.SERIOUS_FAILURE, spooled.object_id, reason)
                self._journal.record(damaged)
                self._spool.note_unreadable(connection, spooled, reason)
        self._unreadable[spooled.number] = _HeldUp(self._monotonic() + pause_s, pause_s)
        self._log.event("delivery.unreadable", object=str(spooled.object_id), why=reason)

    def _note_bad_receipt(self, object_id: ObjectId, reason: str) -> None:
        note = f"{object_id} {reason}"
        if note != self._noted:
            refused = self._happening(Event.DELIVERY_REFUSED, Outcome.MAJOR_FAILURE, object_id, reason)
            self._journal.record(refused)
            self._noted = note

    def _happening(self, event: Event, outcome: Outcome, object_id: ObjectId, reason: str, *what: Subject) -> Happening:
        who = (Participant("host", str(self._host_id), True),)
        return Happening(event, Action.EXECUTE, outcome, who, (Subject("object", str(object_id)), *what), reason)


def _was_discarded_by_receipt(row: Row) -> bool:
    return row.state is State.DISCARDED and row.why == ANSWERED_FOR


class UnreadableReceipt(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"what the vault answered is not a receipt: {why}")
        self.why = why


class _Readable(io.RawIOBase):
    """An object of the spool. That the disk fails is told from a network that fails: both raise OSError."""

    def __init__(self, spool: Spool, spooled: Spooled) -> None:
        super().__init__()
        self._source = spool.open(spooled)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return self._source.read(size)
        except OSError as exc:
            raise unavailable(exc) from exc

    def readinto(self, buffer: Any, /) -> int:
        try:
            return self._source.readinto(buffer)
        except OSError as exc:
            raise unavailable(exc) from exc

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return self._source.seek(offset, whence)
        except OSError as exc:
            raise unavailable(exc) from exc

    def close(self) -> None:
        self._source.close()
        super().close()
