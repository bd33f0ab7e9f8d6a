"""Puts spool and journal in agreement after a stop at any moment, before anything new is taken.

Whatever lies whole in the spool is captured, whether or not its modality was told so; what does not is refused. Each
has one outcome in the journal when this has run. What was brought from another host has its outcome in that one's
journal, and counts here only once its import has registered it: the rest is left to the import, which is repeated.

A journal by which no agent ever started is none that took images: the database was lost, and with it who was told
what. Then everything whole is captured, also what this host owed to archives: the vault gets it, and they do not. So it
is until this has run to its end, because an agent records its start only then.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from edge_agent.audit.journal import Journal
from edge_agent.capture.claims import Claims, Repeated
from edge_agent.capture.registrar import Captured, Entries
from edge_agent.database import Database
from edge_agent.log import Log
from edge_agent.spool.catalogue import MAX_NUMBER, Spooled, State
from edge_agent.spool.entry import EntryHead, Note, verify_entry
from edge_agent.spool.errors import SpoolUnavailable
from edge_agent.spool.spool import Spool
from edge_agent.spool.whole import small_parts, verify_whole
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure, Malformed
from shared.identity import HostId, ObjectId
from shared.sealing import object_file
from shared.sealing.object_file import ObjectParts
from shared.sealing.record import CaptureRecord, record_digest
from shared.signing import EvidencePublicKey

_RECOVERED = "recovered after restart"
_FROM_OWED = "recovered without the database it was entered in; no archive gets it from this host"
_UNFINISHED = "unfinished when the agent stopped; nothing whole of it is here"
_UNKNOWN = Note("", "")


@dataclass(frozen=True)
class Recovery:
    """`has_receipt` says whether the vault has answered for an object, `is_brought` whether it is another host's."""

    database: Database
    spool: Spool
    entries: Entries
    claims: Claims
    journal: Journal
    host_id: HostId
    key: EvidencePublicKey
    has_receipt: Callable[[ObjectId], bool]
    is_brought: Callable[[ObjectId], bool]
    log: Log

    def run(self) -> Mapping[int, int]:
        """Return how many blocks of which segments could not be read; what lies there and was not entered waits.

        Raises SpoolUnavailable, DatabaseUnavailable, DatabaseDamaged.
        """
        is_new = not self.journal.count(Event.AGENT_STARTED)
        unread = self._register_segments(is_new=is_new)
        self._register_files(is_new=is_new)
        self._count_segments(unread)
        self._name_what_is_missing()
        self._refuse_the_rest(unread)
        return unread

    def _register_segments(self, *, is_new: bool) -> Mapping[int, int]:
        complete = self.spool.catalogue.complete_segments()
        unread = Counter[int]()
        for name in self.spool.segments.names():
            if name.number in complete:
                continue
            for place, head in self.spool.segments.entries(name):
                if head is None:
                    unread[name.number] += 1
                elif not self.spool.catalogue.knows(place, head.number):
                    spooled = Spooled(self._number(head), _nameless(head), head.object_bytes, place)
                    self._register_entry(spooled, head, is_new=is_new)
        for number, blocks in unread.items():
            self.log.event("spool.unreadable", segment=number, blocks=blocks)
            self._record(
                Event.OBJECT_DAMAGED,
                f"segment {number} has blocks that cannot be read: {blocks}; the next start tries again",
            )
        return unread

    def _number(self, head: EntryHead) -> int:
        """Return the number that an entry was given, another where that is taken or can be none: the head is rotten."""
        is_sound = head.number <= MAX_NUMBER and self.spool.catalogue.numbered(head.number) is None
        number = head.number if is_sound else self.spool.next_number()
        self.spool.number_from(number)
        return number

    def _register_entry(self, spooled: Spooled, head: EntryHead, *, is_new: bool) -> None:
        if _says_brought(head):
            self.log.event("spool.import-unfinished", number=head.number)
            return
        try:
            with self.spool.open(spooled) as source:
                parts = object_file.parse(source)
                verify_entry(head, small_parts(source, parts))
                record = verify_whole(source, parts, self.key)
            note = Note.parse(head.note)
            if (note.owed and not is_new) or self.spool.catalogue.find(record.object_id) is not None:
                # Owed, it would be registered had it been acknowledged, and cannot be forwarded without its box.
                return
        except (Malformed, IntegrityFailure, OSError) as exc:
            # Torn by a power cut, then nobody was told that it is safe; or gone bad since. It is kept either way.
            self.log.event("spool.damaged", number=head.number, why=type(exc).__name__)
            self._keep_aside(
                replace(spooled, object_id=self._name_of(spooled)),
                f"torn or damaged when the agent started: {type(exc).__name__}",
            )
            return
        self._register(replace(spooled, object_id=record.object_id), parts, record, note)

    def _register_files(self, *, is_new: bool) -> None:
        for spooled in self.spool.unregistered_files():
            note = self._note_beside(spooled)
            # A power cut may take a note and leave its file, so the note is not asked alone.
            counts = note is None or note.counts_unregistered or (is_new and not note.brought)
            counts = counts and not self.is_brought(spooled.object_id)
            has_left = self.spool.catalogue.find(spooled.object_id) is not None
            if has_left or self.has_receipt(spooled.object_id) or not counts:
                self.spool.revoke(spooled, note or _UNKNOWN)
                continue
            try:
                with self.spool.open(spooled) as source:
                    parts = object_file.parse(source)
                    record = verify_whole(source, parts, self.key)
            except (Malformed, IntegrityFailure, OSError) as exc:
                self.log.event("spool.damaged", number=spooled.number, why=type(exc).__name__)
                self._keep_aside(spooled, f"damaged when the agent started: {type(exc).__name__}")
                continue
            self._register(spooled, parts, record, note)

    def _note_beside(self, spooled: Spooled) -> Note | None:
        try:
            return Note.parse(self.spool.note_path(spooled).read_bytes())
        except (OSError, Malformed):
            return None  # its AE title is then not known, which the record shows

    def _register(self, spooled: Spooled, parts: ObjectParts, record: CaptureRecord, note: Note | None) -> None:
        claim = self.claims.claim(parts.binding.sop_instance_hash, record.dataset_sha256, record.object_id)
        if isinstance(claim, Repeated):
            self.log.event("spool.resent-meanwhile", object=str(record.object_id), kept=str(claim.object_id))
            self.spool.revoke(spooled, note or _UNKNOWN)
            return
        sender = (Participant("ae", note.ae_title, True),) if note is not None else ()
        what = (Subject("object", str(record.object_id)), Subject("record", record_digest(parts.record).hex()))
        happening = Happening(
            Event.IMAGE_CAPTURED,
            Action.CREATE,
            Outcome.SUCCESS,
            (*sender, Participant("host", str(self.host_id), not sender)),
            what,
            _FROM_OWED if note is not None and note.owed else _RECOVERED,
        )
        self.entries.enter([Captured(spooled, claim, note or _UNKNOWN, happening)])
        self.log.event("spool.recovered", object=str(record.object_id))

    def _name_of(self, spooled: Spooled) -> ObjectId:
        """Return the object's own id where its binding can still be read.

        The binding of a torn entry may be one that lay there before, and then it is of another object.
        """
        try:
            with self.spool.open(spooled) as source:
                object_id = object_file.parse_head(source)[0].object_id
        except (Malformed, OSError):
            return spooled.object_id
        is_of_another = self.spool.catalogue.find(object_id) or self.journal.has_outcome(str(object_id))
        return spooled.object_id if is_of_another else object_id

    def _keep_aside(self, spooled: Spooled, reason: str) -> None:
        """Keep for a person what may have been acknowledged and is not whole; it is never delivered as it is."""
        with self.database.transaction() as connection:
            self.spool.keep_aside(connection, spooled, reason)
            self._record(Event.OBJECT_DAMAGED, f"{reason}; whether it was acknowledged is not known", spooled.object_id)

    def _count_segments(self, unread: Collection[int]) -> None:
        live = self.spool.catalogue.live_in_segments()
        for name in self.spool.segments.names():
            self.spool.segments.found(name.number, live.get(name.number, 0), is_read=name.number not in unread)
        self.spool.forget_what_is_retired()
        self.spool.note_all_complete()
        self.spool.retire()

    def _name_what_is_missing(self) -> None:
        for row in self.spool.rows(State.WAITING):
            try:
                self.spool.open(row.spooled).close()
            except SpoolUnavailable as exc:
                self._record(Event.OBJECT_DAMAGED, f"missing at the start: {exc.why}", row.spooled.object_id)
                self.spool.put_aside(row.spooled, f"missing at the start: {exc.why}")
                self.log.event("spool.missing", object=str(row.spooled.object_id))

    def _refuse_the_rest(self, unread: Collection[int]) -> None:
        deleted, begun = set(self.spool.clear_incoming()), set(self.spool.attempts.left_over())
        without_outcome = sorted(object_id for object_id in deleted | begun if not self._has_outcome(object_id))
        # What was begun may lie whole where the disk does not give it now.
        in_doubt = [object_id for object_id in without_outcome if unread and object_id not in deleted]
        for object_id in without_outcome:
            if object_id not in in_doubt:
                self._record(Event.IMAGE_REFUSED, _UNFINISHED, object_id)
                self.log.event("spool.unfinished-deleted", object=str(object_id))
        self.spool.attempts.forget(but=in_doubt)

    def _has_outcome(self, object_id: ObjectId) -> bool:
        if self.is_brought(object_id) or self.spool.catalogue.find(object_id) is not None:
            return True
        return self.journal.has_outcome(str(object_id))

    def _record(self, event: Event, reason: str, *objects: ObjectId) -> None:
        who, what = (Participant("host", str(self.host_id), True),), tuple(Subject("object", str(o)) for o in objects)
        outcome = Outcome.MINOR_FAILURE if event is Event.IMAGE_REFUSED else Outcome.SERIOUS_FAILURE
        self.journal.record(Happening(event, Action.DELETE, outcome, who, what, reason))


def _says_brought(head: EntryHead) -> bool:
    """Return what the note says, also where the entry was torn: then it names nobody, and its binding may be gone."""
    try:
        return Note.parse(head.note).brought
    except Malformed:
        return False


def _nameless(head: EntryHead) -> ObjectId:
    """Return a name for an object whose own cannot be read any more."""
    return ObjectId(sha256(head.encode()).digest()[:16])
