"""Takes sealed objects in: verified whole, durable, and only then receipted.

Two steps in this order: the body into the object store; then object, wrap, blind indexes, receipt and audit record
into the database, in one commit, which those share that wait for it together. A cut between the two leaves a body that
no object names, which the next upload adopts.
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeAlias

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.refusals import Refusals
from control_plane.db.transactions import snapshot
from control_plane.moving.move import Move, Moves
from control_plane.vault import conflicts, rows
from control_plane.vault.index_service import Attribute, IndexService, Token
from control_plane.vault.key_ring import KeyRing, key_for
from control_plane.vault.losses import Losses, is_as_signed, is_lost
from control_plane.vault.object_store import BodyConflict, BodyMissing, BodyUnreadable, ObjectStore, StoreUnavailable
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fleet.receipt import Receipt, sign_receipt
from shared.identity import HostId, ObjectId
from shared.policy.document import KeyPurpose
from shared.sealing import object_file
from shared.sealing.chunked import decrypt_range
from shared.sealing.hpke import SealedBox
from shared.sealing.index import SealedIndex
from shared.sealing.object_file import BodyWindow, ObjectParts
from shared.sealing.open import ObjectAltered, StoredObject, open_verified, unwrap, verify_parts
from shared.sealing.record import CaptureRecord, record_digest
from shared.signing import EvidencePublicKey, EvidenceSigner

INDEXED, NOT_EVALUATED = "indexed", "not evaluated"
_READ_BYTES = 1 << 18
_File: TypeAlias = io.BufferedIOBase
_IN_MEMORY_BYTES = 1 << 20  # most images; a larger one waits in a file until it is proved


class ObjectConflict(IntegrityFailure):
    """One object id, two capture records. The object that is held stays."""

    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"object {object_id} is held already, with another capture record")
        self.object_id = object_id


class NotHeld(Refused):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the vault does not hold object {object_id}")
        self.object_id = object_id


class ObjectOfAnotherHost(Refused):
    """Nobody allowed the sender to deliver it, or not any more."""

    def __init__(self, object_id: ObjectId, *, sender: HostId, named: HostId) -> None:
        super().__init__(
            f"{sender} sent object {object_id}, which names {named} as its host, and no open move allows that"
        )
        self.object_id, self.sender, self.named = object_id, sender, named


class UploadBroken(Unavailable):
    def __init__(self, received_bytes: int) -> None:
        super().__init__(f"the connection broke after {received_bytes} bytes of the upload")
        self.received_bytes = received_bytes


class Upload(Protocol):
    """A request's body, which ends by itself."""

    def read(self, size: int, /) -> bytes: ...


class WaysOut(Protocol):
    """Where else an object goes: asked before it is kept, noted in the same commit, and told after that."""

    def owed(self, record: CaptureRecord) -> tuple[str, ...]: ...
    def add(self, session: Session, object_id: ObjectId, routes: tuple[str, ...]) -> None: ...
    def wake(self) -> None: ...


@dataclass(frozen=True)
class _Arrival:
    """An object that holds, before it is kept. `move` is what allowed another host to bring it, if one did."""

    stored: StoredObject
    move: Move | None
    record: CaptureRecord
    index: bytes
    index_state: str
    tokens: tuple[Token, ...]
    is_held: bool  # its row is here, with this capture record
    regained: tuple[ObjectId, ...]  # lost objects that are here again with it: its data set was proved


class VaultIntake:
    def __init__(
        self,
        database: sessionmaker[Session],
        store: ObjectStore,
        hosts: EvidenceKeys,
        keys: KeyRing,
        index: IndexService,
        journal: CentreJournal,
        receipts: EvidenceSigner,
        clock: Clock,
        incoming: Path,
        ways_out: WaysOut,
        moves: Moves,
        losses: Losses,
    ) -> None:
        self._database, self._store, self._hosts, self._keys = database, store, hosts, keys
        self._index, self._journal, self._receipts, self._clock = index, journal, receipts, clock
        self._incoming, self._ways_out, self._moves = incoming, ways_out, moves
        self._losses = losses
        self._refusals = Refusals(journal)

    def receive(self, object_id: ObjectId, host_id: HostId, stream: Upload, content_length: int) -> bytes:
        """Return the signed receipt of an object that `host_id`, as TLS proved it, uploads under `object_id`.

        It is the sender's own, or that of a host for which it may deliver now; the signature is always judged by the
        key of the host that captured it. Once this returns, the object survives a power cut. The same object may come
        again, also twice at once: its receipt is the same. A refused one leaves a record of the centre, and nothing
        else. What nobody allowed is refused by its head, and the rest is not kept for a moment; all that is tried in
        vain of one host leaves one record.

        Raises Malformed, HostUnknown, NotCertified, ObjectOfAnotherHost, MoveOver, WrongSigner, SignatureInvalid,
        ObjectAltered, KeyNotForThis, BoxNotAuthentic, NotAuthentic, IndexMismatch, ObjectConflict, BodyConflict,
        UploadBroken, StoreUnavailable, DatabaseUnavailable.
        """
        who, what = (Participant("host", str(host_id), True),), (Subject("object", str(object_id)),)
        happening = Happening(Event.OBJECT_STORED, Action.CREATE, Outcome.SUCCESS, who, what)
        try:
            with _waiting(self._incoming, content_length) as file:
                self._spool(object_id, host_id, stream, content_length, file)
                parts = object_file.parse(file)
                arrival = self._verified(object_id, host_id, parts, file)
                is_mended = self._put(arrival, parts, file)
            routes = self._ways_out.owed(arrival.record)
            new = self._receipted(arrival)
            receipt = self._journal.commits.run(
                lambda session: self._keep(session, arrival, new, happening, routes, is_mended=is_mended)
            )
        except ObjectOfAnotherHost as exc:
            self._refusals.record(failure(happening, Event.OBJECT_REFUSED, exc), host_id, exc.named, type(exc).__name__)
            raise
        except (Refused, IntegrityFailure) as exc:
            self._journal.record(failure(happening, Event.OBJECT_REFUSED, exc))
            raise
        self._refusals.over(host_id, arrival.record.host_id)
        if routes:
            self._ways_out.wake()
        return receipt

    def receipt_of(self, object_id: ObjectId, host_id: HostId) -> bytes:
        """Return the receipt of an object that is held, for a host that doubts it: our log went back, or we lost it.

        It says nothing of an image, and nobody guesses an id. Raises NotHeld, StoreUnavailable, DatabaseUnavailable.
        """
        with snapshot(self._database) as session:
            held, lost = rows.held(session, object_id), is_lost(session, object_id)
        if held is None:
            raise NotHeld(object_id)
        if not lost:
            try:
                with self._store.open(object_id):
                    return held.receipt
            except (BodyMissing, BodyUnreadable) as exc:
                self._losses.found(object_id, str(exc))
        elif self._is_whole_again(object_id, held.record):
            self._losses.ended((object_id,), object_id)
            return held.receipt
        self._losses.told(object_id, host_id)
        raise NotHeld(object_id)

    def _is_whole_again(self, object_id: ObjectId, signed: bytes) -> bool:
        try:
            return is_as_signed(self._store, object_id, signed)
        except (BodyMissing, BodyUnreadable):
            return False

    def _spool(self, object_id: ObjectId, host_id: HostId, stream: Upload, content_length: int, file: _File) -> None:
        """Write the upload to `file`; of another host's object no more than the head, unless it is allowed now.

        Raises Malformed, HostUnknown, NotCertified, ObjectOfAnotherHost, UploadBroken.
        """
        head_bytes = min(content_length, object_file.HEAD_MOST_BYTES)
        _copy(stream, content_length, file, 0, head_bytes)
        try:
            named = object_file.parse_head(file)[0].host_id
            if named != host_id:
                self._hosts.of_active_host(host_id)
                self._move(object_id, host_id, named)
        except (Refused, IntegrityFailure):
            # A sender that is cut off does not hear why, and would go on sending this and nothing else.
            _drop(stream, head_bytes, content_length)
            raise
        file.seek(0, io.SEEK_END)
        _copy(stream, content_length, file, head_bytes, content_length)
        if _piece(stream, 1, content_length):
            raise Malformed("upload", f"it goes on after the {content_length} bytes that were announced")
        file.flush()

    def _move(self, object_id: ObjectId, host_id: HostId, named: HostId) -> Move:
        """Return what allows the sender to bring what another host captured. Raises ObjectOfAnotherHost."""
        move = self._moves.permitting(named, host_id)
        if move is None:
            raise ObjectOfAnotherHost(object_id, sender=host_id, named=named)
        return move

    def _verified(self, object_id: ObjectId, host_id: HostId, parts: ObjectParts, file: _File) -> _Arrival:
        # Also where it was asked before: the upload may have taken long.
        with snapshot(self._database) as session:
            host_key, move = self._hosts.of_active_host_in(session, host_id), None
            held = rows.held(session, object_id)
        if parts.binding.host_id != host_id:
            move = self._move(object_id, host_id, parts.binding.host_id)
            # It may be off, lapsed or revoked by now; what it signed stays signed.
            host_key = self._hosts.for_statement(str(move.source), parts.record)
        arrival = self._proved(object_id, parts, file, host_key, move)
        _verify_same(held, arrival)
        return replace(arrival, is_held=held is not None, regained=self._regained(arrival, parts, file, host_key))

    def _regained(
        self, arrival: _Arrival, parts: ObjectParts, file: _File, host_key: EvidencePublicKey
    ) -> tuple[ObjectId, ...]:
        """Return the losses that an arrival ends. It is opened to its end first: a host says what it likes.

        Raises ObjectAltered, NotAuthentic.
        """
        index_states = (arrival.index_state, NOT_EVALUATED)
        if lost := self._losses.regained(parts.binding, arrival.record.dataset_sha256, index_states):
            key = key_for(self._keys, arrival.stored.wrap, KeyPurpose.DATA, arrival.record.grade)
            for _ in open_verified(arrival.stored, BodyWindow(file, parts), host_key, key):
                pass
        return lost

    def _put(self, arrival: _Arrival, parts: ObjectParts, file: _File) -> bool:
        """Keep the body, also in the place of one that is not what the host signed. Return whether there was one.

        Raises BodyConflict, StoreUnavailable.
        """
        object_id = arrival.stored.object_id
        try:
            self._store.put(object_id, BodyWindow(file, parts))
        except BodyConflict:
            # What is held has the same capture record, and this body was proved to be the one that it names.
            if not arrival.is_held:
                raise
            self._store.replace(object_id, BodyWindow(file, parts))
            return True
        return False

    def _proved(
        self,
        object_id: ObjectId,
        parts: ObjectParts,
        file: _File,
        host_key: EvidencePublicKey,
        move: Move | None,
    ) -> _Arrival:
        stored = StoredObject(object_id, parts.binding.encode(), parts.wrap, parts.record)
        binding, record = verify_parts(stored, host_key)
        _verify_body(object_id, record, BodyWindow(file, parts))
        self._verify_wrap(stored, record, file, parts.body_offset)
        entry = self._index.open(SealedIndex(parts.index, record.index_commitment), binding)
        if not entry.evaluated:
            return _Arrival(stored, move, record, parts.index, NOT_EVALUATED, (), is_held=False, regained=())
        tokens = self._index.tokens(entry)
        return _Arrival(stored, move, record, parts.index, INDEXED, tokens, is_held=False, regained=())

    def _verify_wrap(self, stored: StoredObject, record: CaptureRecord, file: _File, body: int) -> None:
        """A host lets go of an image once it has our receipt, so a data key that does not open it is refused now."""
        data_key = unwrap(stored, key_for(self._keys, stored.wrap, KeyPurpose.DATA, record.grade))

        def read_at(offset: int, size: int) -> bytes:
            file.seek(body + offset)
            return file.read(size)

        decrypt_range(read_at, record.body_bytes, data_key, stored.binding, 0, 0)

    def _receipted(self, arrival: _Arrival) -> rows.New:
        """Return what is to be kept, with its receipt: signed before others wait, given out once that is durable."""
        stored, digest, now = arrival.stored, record_digest(arrival.stored.record), self._clock.now()
        return rows.New(
            object_id=stored.object_id,
            host_id=arrival.record.host_id,
            binding=stored.binding,
            record=stored.record,
            record_sha256=digest,
            sealed_index=arrival.index,
            index_state=arrival.index_state,
            body_bytes=arrival.record.body_bytes,
            received=now,
            receipt=sign_receipt(Receipt(stored.object_id, digest, now), self._receipts),
            key_id=SealedBox.parse(stored.wrap).key_id,
            wrap=stored.wrap,
            tokens=arrival.tokens,
        )

    def _keep(
        self,
        session: Session,
        arrival: _Arrival,
        new: rows.New,
        happening: Happening,
        routes: tuple[str, ...],
        *,
        is_mended: bool,
    ) -> bytes:
        held = rows.held(session, new.object_id)
        _verify_same(held, arrival)
        if held is not None:
            if is_mended:
                self._losses.note(session, new.object_id, "the body was not what the host signed, which came again")
            mended = (new.object_id,) if is_mended else ()
            self._losses.end(session, dict.fromkeys((*arrival.regained, *mended)), new.object_id)
            return held.receipt
        rows.insert(session, new)
        if routes:
            self._ways_out.add(session, new.object_id, routes)
        happening = replace(happening, what=(*happening.what, Subject("record", new.record_sha256.hex())))
        if arrival.move is not None:
            self._moves.count(session, arrival.move, objects=1)
            happening = _brought(happening, arrival.move)
        self._journal.append(session, happening)
        self._losses.end(session, arrival.regained, new.object_id)
        conflict = _note_instance(session, arrival, new.received)
        if conflict is not None:
            self._journal.append(session, conflict)
        return new.receipt


def _brought(happening: Happening, move: Move) -> Happening:
    who = (*happening.who, Participant("host", str(move.source), False))
    return replace(happening, who=who, what=(*happening.what, move.subject))


def _note_instance(session: Session, arrival: _Arrival, now: datetime) -> Happening | None:
    """Return what is to be recorded where another data set is held under the same SOP Instance UID."""
    for token in arrival.tokens:
        if token.attribute is Attribute.SOP_INSTANCE_UID:
            digest = arrival.record.dataset_sha256
            return conflicts.note(session, arrival.stored.object_id, token.value, digest, now)
    return None


def _verify_same(held: rows.Held | None, arrival: _Arrival) -> None:
    if held is not None and held.record != arrival.stored.record:
        raise ObjectConflict(arrival.stored.object_id)


def _verify_body(object_id: ObjectId, record: CaptureRecord, body: BodyWindow) -> None:
    digest, size = sha256(), 0
    buffer = memoryview(bytearray(_READ_BYTES))
    while count := body.readinto(buffer):
        digest.update(buffer[:count])
        size += count
    if size != record.body_bytes:
        raise ObjectAltered(object_id, "the size of the sealed body")
    if digest.digest() != record.body_sha256:
        raise ObjectAltered(object_id, "the sealed body")


@contextmanager
def _waiting(folder: Path, size_bytes: int) -> Iterator[_File]:
    """Yield where an upload waits until it is proved, memory or a file without a name: a kill leaves nothing of it.

    Raises StoreUnavailable: any fault of the file.
    """
    try:
        with io.BytesIO() if size_bytes <= _IN_MEMORY_BYTES else tempfile.TemporaryFile(dir=folder) as file:
            yield file
    except OSError as exc:
        raise StoreUnavailable(exc.strerror or type(exc).__name__) from exc


def _copy(stream: Upload, content_length: int, file: _File, received: int, up_to: int) -> None:
    """Write what `stream` gives behind byte `received`, up to byte `up_to`. Raises Malformed, UploadBroken."""
    while received < up_to:
        piece = _piece(stream, min(up_to - received, _READ_BYTES), received)
        if not piece:
            raise Malformed("upload", f"it ended after {received} of {content_length} bytes")
        file.write(piece)
        received += len(piece)


def _drop(stream: Upload, received: int, content_length: int) -> None:
    """Read to the end of what was announced, and keep nothing of it. Raises UploadBroken."""
    while piece := _piece(stream, min(content_length - received, _READ_BYTES), received):
        received += len(piece)


def _piece(stream: Upload, size: int, received: int) -> bytes:
    try:
        return stream.read(size)
    except OSError as exc:
        raise UploadBroken(received) from exc
