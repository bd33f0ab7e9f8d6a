"""Takes an export in: what its host signed for and what proves itself, and names the rest.

Each object is proved while it is read into the spool, which keeps nothing of a stream that raised. An import that was
cut off is begun anew; what is here already, and sound, is left as it is.
"""

import errno
import hmac
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256

from edge_agent.audit.journal import Journal
from edge_agent.database import DatabaseDamaged
from edge_agent.moving.folder import CERTIFICATES, LIST, MANIFEST, GivenExport, part_folder
from edge_agent.moving.judge import (
    FileAltered,
    Passing,
    Signers,
    SignerUnknown,
    StrangeCertificate,
    certified,
    verify_object,
)
from edge_agent.moving.manifest import (
    MAX_LIST_BYTES,
    MAX_MANIFEST_BYTES,
    LeftObject,
    ListedBatch,
    ListedObject,
    Manifest,
    PartList,
    verify_manifest,
)
from edge_agent.moving.spools import Held, TakingSpool, Undelivered
from edge_agent.moving.store import MovedBatch, MovedStore
from edge_agent.spool.errors import SpoolUnavailable
from shared.audit.attempt import failure
from shared.audit.batch import Batch, ChainHead, verify_batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId, ObjectId
from shared.sealing import object_file
from shared.sealing.record import CaptureRecord, record_digest
from shared.signing import EvidencePublicKey, signing_key_id

_MAX_CERTIFICATES_BYTES = 1 << 18
VerifyManifest = Callable[[bytes, EvidencePublicKey], Manifest]


class OwnExport(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"this is an export of {host_id}, which is this host; what it holds is here already")
        self.host_id = host_id


class HeldOtherwise(IntegrityFailure):
    """One object id, two capture records. What is here stays."""

    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"object {object_id} is known here already, with another capture record")
        self.object_id = object_id


class NotAllTakenIn(Refused):
    """Everything else was. `refused` names each file with its reason; `left` never came along."""

    def __init__(self, refused: tuple[tuple[str, str], ...], left: tuple[LeftObject, ...]) -> None:
        told = [f"{name}: {why}" for name, why in refused]
        told += [
            f"object {one.object_id}: {one.why.value} on the old host already, so not in the export" for one in left
        ]
        super().__init__("not everything was taken in:\n  " + "\n  ".join(told))
        self.refused, self.left = refused, left


@dataclass
class Taken:
    """What became of objects that were brought. `held` was here already, or delivered from here: `answered_for`.

    Of those `taken`, so many were `mended`: what was here of them had been put aside, or could not be read.
    """

    taken: int = 0
    mended: int = 0
    held: int = 0
    batches: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    left: list[LeftObject] = field(default_factory=list)
    answered_for: list[ObjectId] = field(default_factory=list)

    def verify_whole(self) -> None:
        """Raises NotAllTakenIn."""
        if self.refused or self.left:
            raise NotAllTakenIn(tuple(self.refused), tuple(self.left))


@dataclass
class Imported(Taken):
    manifest: Manifest = field(kw_only=True)


class SpoolImporter:
    """Holding the folder's lock is the caller's. `verify_manifest` is what a test replaces to see that it protects.

    `answered_for` returns the digest of the capture record for which the vault has answered, None where it has not or
    that is in doubt. `doubt` has the vault asked whether it still holds objects: what is carried may be the only copy
    by now, and the vault tells of a loss who captured it, and who brought it only where the other's identity ended.
    """

    def __init__(
        self,
        *,
        host_id: HostId,
        trust: Trust,
        spool: TakingSpool,
        answered_for: Callable[[ObjectId], bytes | None],
        doubt: Callable[[Iterable[str]], object],
        journal: Journal,
        moved: MovedStore,
        verify_manifest: VerifyManifest = verify_manifest,
    ) -> None:
        self._host_id, self._trust, self._spool = host_id, trust, spool
        self._answered_for, self._doubt = answered_for, doubt
        self._journal, self._moved, self._verify_manifest = journal, moved, verify_manifest

    def take_in(self, given: GivenExport) -> Imported:
        """Take in what holds, and return what became of everything.

        Raises FileUnreadable, Malformed, StrangeCertificate, SignerUnknown, WrongSigner, SignatureInvalid, OwnExport:
        it is no export for this host, nothing was taken in, and that is recorded. Raises SpoolFull, QuotaReached,
        SpoolUnavailable, DatabaseUnavailable: what was taken in before stays; begin anew.
        """
        who = (Participant("host", str(self._host_id), True),)
        happening = Happening(Event.SPOOL_IMPORTED, Action.CREATE, Outcome.SUCCESS, who, (Subject("file", MANIFEST),))
        try:
            signers, manifest = self._opened(given)
        except Exception as exc:
            self._journal.record(failure(happening, happening.event, exc))
            raise
        what = (Subject("host", str(manifest.host_id)), Subject("export", str(manifest.export_id)))
        happening = replace(happening, what=what)
        imported = Imported(manifest=manifest)
        with self._recorded(happening, imported):
            for number, digest in enumerate(manifest.parts, 1):
                self._part(given, signers, part_folder(number), digest, imported)
        return imported

    def rescue(self, source: HostId, lying: Iterable[Undelivered], signers: Signers) -> Taken:
        """Take in what lies on the disk of `source`, whose keys are gone, so that it exports nothing any more.

        Each object proves itself by the signature of the host that captured it. That these are all, nobody signed for.
        Raises like `take_in`.
        """
        who = (Participant("host", str(self._host_id), True),)
        happening = Happening(
            Event.SPOOL_IMPORTED, Action.CREATE, Outcome.SUCCESS, who, (Subject("host", str(source)),)
        )
        taken = Taken()
        with self._recorded(happening, taken):
            for undelivered in lying:
                self._rescue_one(undelivered, signers, taken)
        return taken

    def _rescue_one(self, undelivered: Undelivered, signers: Signers, taken: Taken) -> None:
        object_id = undelivered.object_id
        with _naming(f"object {object_id}", taken):
            try:
                source = undelivered.open()
            except SpoolUnavailable as exc:
                raise Malformed(f"object {object_id}", f"that disk does not give it: {exc}") from exc
            with source:
                parts, record = verify_object(source, object_id, signers)
                held, digest = self._spool.held(object_id), record_digest(parts.record)
                if self._is_here(held, object_id, digest, taken):
                    taken.held += 1
                else:
                    self._put(held, digest, record, Passing(source, parts, record), signers, taken)

    def _opened(self, given: GivenExport) -> tuple[Signers, Manifest]:
        """Return whose signatures count and what the exporting host says, once that is proved."""
        signers = certified(given.read(CERTIFICATES, _MAX_CERTIFICATES_BYTES), self._trust)
        signed = given.read(MANIFEST, MAX_MANIFEST_BYTES)
        host = signers.host_of(signing_key_id(signed))
        if host is None:
            raise StrangeCertificate("none of them is for the key that signed the manifest")
        manifest = self._verify_manifest(signed, signers.key(host))
        if manifest.host_id != host:
            raise Malformed("spool export manifest", f"names {manifest.host_id} and is signed by {host}")
        if host == self._host_id:
            raise OwnExport(host)
        return signers, manifest

    def _part(self, given: GivenExport, signers: Signers, folder: str, digest: bytes, imported: Imported) -> None:
        name = f"{folder}/{LIST}"
        with _naming(name, imported):
            data = given.read(name, MAX_LIST_BYTES)
            _verify_digest(name, data, digest)
            part = PartList.parse(data)
            imported.left += part.left
            for listed in part.objects:
                with _naming(f"{folder}/{listed.name}", imported):
                    self._object(given, signers, folder, listed, imported)
            for batch in part.batches:
                with _naming(f"{folder}/{batch.name}", imported):
                    self._batch(given, signers, folder, batch, imported)

    def _object(
        self, given: GivenExport, signers: Signers, folder: str, listed: ListedObject, imported: Imported
    ) -> None:
        name, object_id = f"{folder}/{listed.name}", listed.object_id
        held = self._spool.held(object_id)
        if self._is_here(held, object_id, listed.record_sha256, imported):
            imported.held += 1
            return

        def verify(passing: Passing) -> None:
            if (passing.size_bytes, passing.sha256) != (listed.size_bytes, listed.sha256):
                raise FileAltered(name)

        with given.open(name) as source:
            parts, record = verify_object(source, object_id, signers)
            if record_digest(parts.record) != listed.record_sha256:
                raise FileAltered(name)
            passing = Passing(source, parts, record, verify)
            self._put(held, listed.record_sha256, record, passing, signers, imported)

    def _put(
        self, held: Held | None, digest: bytes, record: CaptureRecord, passing: Passing, signers: Signers, taken: Taken
    ) -> None:
        if held is None:
            self._take_in_new(record, signers, passing)
        else:
            self._verify_same(held, record, digest, signers)
            self._spool.take_in(record.object_id, passing)
            taken.mended += 1
        taken.taken += 1

    def _is_here(self, held: Held | None, object_id: ObjectId, digest: bytes, taken: Taken) -> bool:
        """Return whether there is nothing to be done for an object with this capture record. Raises HeldOtherwise."""
        answered_for = self._answered_for(object_id)
        if answered_for is not None and answered_for != digest:
            raise HeldOtherwise(object_id)
        if answered_for is not None:
            taken.answered_for.append(object_id)
            return True
        if held is None or not held.is_sound:
            return False
        try:
            with held.open() as source:
                return record_digest(object_file.parse(source).record) == digest
        except (Malformed, OSError, SpoolUnavailable):
            return False

    def _verify_same(self, held: Held, record: CaptureRecord, digest: bytes, signers: Signers) -> None:
        """Raises HeldOtherwise: what is held is another host's, or another record that its host did sign."""
        object_id = record.object_id
        if (self._moved.source_of(object_id) or self._host_id) != record.host_id:
            raise HeldOtherwise(object_id)
        try:
            with held.open() as source:
                parts, _ = verify_object(source, object_id, signers)
        except (Malformed, SignerUnknown, IntegrityFailure, OSError, SpoolUnavailable):
            return  # damaged, so it says nothing
        if record_digest(parts.record) != digest:
            raise HeldOtherwise(object_id)

    def _take_in_new(self, record: CaptureRecord, signers: Signers, passing: Passing) -> None:
        self._moved.expect(record.object_id, record.host_id, signers.pem(record.host_id))
        try:
            self._spool.take_in(record.object_id, passing)
        except BaseException:
            self._moved.forget(record.object_id)
            raise

    def _batch(
        self, given: GivenExport, signers: Signers, folder: str, listed: ListedBatch, imported: Imported
    ) -> None:
        name = f"{folder}/{listed.name}"
        data = given.read(name, listed.size_bytes)
        _verify_digest(name, data, listed.sha256)
        batch = Batch.parse(data)
        records = verify_batch(batch, str(listed.source), signers.key(listed.source))
        end = ChainHead(records[-1].seq, batch.records[-1].leaf)
        manifest = imported.manifest
        is_last = (listed.source, listed.last) == (manifest.host_id, manifest.head.seq)
        if (records[0].seq, end.seq) != (listed.first, listed.last) or (is_last and end != manifest.head):
            raise FileAltered(name)
        kept = MovedBatch(listed.source, listed.first, listed.last, data)
        self._moved.keep_batch(kept, signers.pem(listed.source))
        imported.batches += 1

    @contextmanager
    def _recorded(self, happening: Happening, taken: Taken) -> Iterator[None]:
        """Record that it begins, durably, and how it ends; after a kill the next start, or the next command, does."""
        begun = self._journal.begin(replace(happening, event=Event.SPOOL_IMPORT_BEGUN), ends=happening.event)
        try:
            yield
            self._record(begun, happening, taken)
        except BaseException as exc:
            self._journal.end(begun, failure(happening, happening.event, exc))
            raise

    def _record(self, begun: int, happening: Happening, imported: Taken) -> None:
        """Record each file that was refused by itself, and then what became of the whole.

        The vault is to be asked about what it had answered for.
        """
        for name, why in imported.refused:
            refused = replace(happening, what=(*happening.what, Subject("file", name)), reason=why)
            self._journal.record(replace(refused, outcome=Outcome.SERIOUS_FAILURE))
        said = f"{imported.taken} objects taken in, {imported.held} here already, {imported.batches} audit batches"
        if imported.mended:
            said += f"; {imported.mended} of the objects in place of what was damaged or put aside here"
        if imported.refused or imported.left:
            said += f"; {len(imported.refused)} files refused, {len(imported.left)} left on the old host"
            happening = replace(happening, outcome=Outcome.MINOR_FAILURE)
        self._doubt(map(str, imported.answered_for))
        self._journal.end(begun, replace(happening, reason=said))


@contextmanager
def _naming(name: str, imported: Taken) -> Iterator[None]:
    """Refuse one file by name and go on; what is wrong with this host's own disk is no fault of a file."""
    try:
        yield
    except DatabaseDamaged:
        raise
    except (Refused, IntegrityFailure) as exc:
        imported.refused.append((name, f"{type(exc).__name__}: {exc}"))
    except OSError as exc:
        imported.refused.append((name, f"it cannot be read: {os.strerror(exc.errno or errno.EIO)}"))


def _verify_digest(name: str, data: bytes, digest: bytes) -> None:
    if not hmac.compare_digest(sha256(data).digest(), digest):
        raise FileAltered(name)
