"""Writes what the vault does not have yet into a folder, and changes nothing here but the journal.

The order is: the journal's record that an export begins; objects; the record of the export; the journal's unsent
records, those two among them; and the manifest last. So both travel in the export they are about. The second says which
objects were written; where the rest then fails, a third says so, also where this process is killed: the next one in the
folder records what never ended.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from edge_agent.audit.journal import Journal
from edge_agent.database import DatabaseDamaged
from edge_agent.moving.folder import CERTIFICATES, NewExport
from edge_agent.moving.judge import Passing, Signers, verify_object
from edge_agent.moving.listing import Listing, SpoolTooLarge
from edge_agent.moving.manifest import ExportId, Left, LeftObject, Manifest, sign_manifest
from edge_agent.moving.spools import LeavingSpool, Undelivered
from edge_agent.moving.store import MovedBatch, MovedStore
from edge_agent.spool.errors import SpoolUnavailable
from shared.audit.attempt import failure
from shared.audit.batch import sign_batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId, ObjectId, RandomBytes
from shared.sealing.record import record_digest
from shared.signing import EvidenceSigner

# As the audit uploader sends them.
_BATCH_RECORDS, _BATCH_BYTES = 500, 4 << 20


@dataclass(frozen=True)
class Exported:
    """What was written. `left` lies on this host and is not in the export."""

    manifest: Manifest
    records: int
    left: tuple[LeftObject, ...]


class SpoolExporter:
    """Holding the folder's lock is the caller's."""

    def __init__(
        self,
        *,
        host_id: HostId,
        signer: EvidenceSigner,
        signers: Signers,
        spool: LeavingSpool,
        has_receipt: Callable[[ObjectId], bool],
        journal: Journal,
        moved: MovedStore,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._host_id, self._signer, self._signers = host_id, signer, signers
        self._spool, self._has_receipt, self._journal, self._moved = spool, has_receipt, journal, moved
        self._clock, self._random = clock, random_bytes

    def export(self, target: NewExport) -> Exported:
        """Write everything that is undelivered. Whatever is raised, nothing is left of the export then.

        Raises ExportUnwritable, SpoolTooLarge, SpoolUnavailable, DatabaseUnavailable, DatabaseDamaged.
        """
        export_id = ExportId.new(self._random)
        who = (Participant("host", str(self._host_id), True),)
        what = (Subject("export", str(export_id)),)
        happening = Happening(Event.SPOOL_EXPORTED, Action.READ, Outcome.SUCCESS, who, what)
        begun = self._begin(target, happening)
        try:
            exported = self._export(target, export_id, happening)
            self._journal.end(begun)
        except BaseException as exc:
            target.abandon()
            self._journal.end(begun, failure(happening, Event.SPOOL_EXPORTED, exc))
            raise
        return exported

    def _begin(self, target: NewExport, happening: Happening) -> int:
        try:
            return self._journal.begin(replace(happening, event=Event.SPOOL_EXPORT_BEGUN), ends=Event.SPOOL_EXPORTED)
        except BaseException:
            target.abandon()
            raise

    def _export(self, target: NewExport, export_id: ExportId, happening: Happening) -> Exported:
        target.write(CERTIFICATES, [self._signers.pem()])
        listing = Listing(target)
        for waiting in self._spool.undelivered():
            if not self._has_receipt(waiting.object_id):
                self._take(listing, waiting)
        said = f"{listing.objects} objects of {listing.object_bytes} bytes, {len(listing.left)} left behind"
        self._journal.record(replace(happening, reason=said))
        head = self._journal.head()
        for batches in (self._moved.batches(), self._own_batches()):
            for batch in batches:
                listing.add_batch(batch)
        listing.close()
        manifest = Manifest(
            export_id=export_id,
            host_id=self._host_id,
            exported=self._clock.now(),
            objects=listing.objects,
            object_bytes=listing.object_bytes,
            left=len(listing.left),
            head=head,
            parts=tuple(listing.digests),
        )
        target.finish(sign_manifest(manifest, self._signer))
        return Exported(manifest, listing.records, tuple(listing.left))

    def _take(self, listing: Listing, waiting: Undelivered) -> None:
        """Write one object; one that cannot be read whole, or is not what its host signed, is named and stays here."""
        try:
            with waiting.open() as source:
                parts, record = verify_object(source, waiting.object_id, self._signers)
                listing.add_object(waiting.object_id, record_digest(parts.record), Passing(source, parts, record))
        except (DatabaseDamaged, SpoolTooLarge):
            raise
        except (Refused, IntegrityFailure):
            listing.leave(LeftObject(waiting.object_id, Left.DAMAGED))
        except (OSError, SpoolUnavailable):
            listing.leave(LeftObject(waiting.object_id, Left.UNREADABLE))

    def _own_batches(self) -> Iterator[MovedBatch]:
        sent = self._journal.acknowledged()
        while unsent := self._journal.after(sent, most=_BATCH_RECORDS, most_bytes=_BATCH_BYTES):
            batch = sign_batch(str(self._host_id), unsent.prev, unsent.records, self._signer)
            first, sent = sent + 1, AuditRecord.parse(unsent.records[-1].public).seq
            yield MovedBatch(self._host_id, first, sent, batch.encode())
