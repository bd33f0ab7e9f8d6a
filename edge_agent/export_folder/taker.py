"""Takes one file that seems complete: known already, an image to capture, a DICOMDIR, or none of these."""

from dataclasses import dataclass, replace

from edge_agent.audit.journal import Journal
from edge_agent.capture.pipeline import CapturePipeline
from edge_agent.database import Database
from edge_agent.export_folder import intake
from edge_agent.export_folder.extent import Extent
from edge_agent.export_folder.intake import ChangedWhileRead, FileReader
from edge_agent.export_folder.ledger import Entry, Ledger, State
from edge_agent.export_folder.part10 import Head
from edge_agent.export_folder.release import named
from edge_agent.export_folder.tree import File, FileUnreadable, Tree, stamp_of
from edge_agent.log import Log, why
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.clock import Clock
from shared.errors import Malformed
from shared.identity import HostId, ObjectId


@dataclass(frozen=True)
class Taken:
    """`is_settled` is False for a file that is not complete; `object_id` is None where nothing waits for a receipt."""

    is_settled: bool
    object_id: ObjectId | None = None


_NOT_YET, _LEFT_ALONE = Taken(False), Taken(True)


class Taker:
    def __init__(
        self,
        tree: Tree,
        ae_title: str,
        *,
        host_id: HostId,
        pipeline: CapturePipeline,
        ledger: Ledger,
        journal: Journal,
        database: Database,
        clock: Clock,
        log: Log,
        reader: FileReader,
    ) -> None:
        self._tree, self._ae_title, self._host_id, self._pipeline = tree, ae_title, host_id, pipeline
        self._ledger, self._journal, self._database = ledger, journal, database
        self._clock, self._log, self._reader = clock, log, reader

    def take(self, file: File, name: bytes, *, out_of_patience: bool) -> Taken:
        """Take a file; what is out of patience is judged as it is now.

        Raises ChangedWhileRead, FileGone, FolderMissing, Stopping, and what keeps the pipeline from capturing at all.
        """
        known = self._ledger.find(name)
        if known is not None and known.is_of(file.stamp) and known.state in (State.REFUSED, State.DIRECTORY):
            return _LEFT_ALONE
        try:
            same = self._same_as_before(file, known)
            if same is not None:
                self._put(file, name, same)
                return Taken(True, same.object_id)
            return self._read(file, name, known, out_of_patience=out_of_patience)
        except FileUnreadable as exc:
            self._set_aside(file, name, known, State.UNREADABLE, exc)
        except Malformed as exc:
            if not out_of_patience:
                return _NOT_YET
            self._set_aside(file, name, known, State.REFUSED, exc)
        return _LEFT_ALONE

    def is_lost(self, entry: Entry) -> bool:
        """Return whether neither host nor vault has the image any more that a file was captured as."""
        claims, object_id = self._pipeline.claims, entry.object_id
        return object_id is not None and not (claims.is_open(object_id) or claims.is_kept(object_id))

    def _same_as_before(self, file: File, known: Entry | None) -> Entry | None:
        """Return the entry whose bytes these are, if there is one: the file's own, or that of its former name.

        One whose image is not whole, with host or vault, is none: the file may be the only good copy.
        """
        digest: bytes | None = None
        for entry in (known, self._ledger.twin(file.stamp)):
            if entry is not None and entry.file_sha256 is not None:
                digest = digest or self._reader.digest(self._tree, file)
                if digest == entry.file_sha256 and self._is_safe(entry):
                    if entry is known and entry.noted:
                        return entry
                    return replace(entry, state=State.CAPTURED, noted=False)
        return None

    def _is_safe(self, entry: Entry) -> bool:
        claims, object_id = self._pipeline.claims, entry.object_id
        return object_id is not None and (claims.is_open(object_id) or claims.is_safe(object_id))

    def _read(self, file: File, name: bytes, known: Entry | None, *, out_of_patience: bool) -> Taken:
        if known is not None and known.state is State.UNREADABLE:
            # Read it once for nothing: an attempt that breaks off would be recorded with every scan.
            self._reader.digest(self._tree, file)
        with self._tree.open(file.path) as descriptor:
            stamp = stamp_of(intake.status(descriptor))
            if not stamp.same_content(file.stamp):
                raise ChangedWhileRead
            head, extent = intake.read_head(descriptor, stamp.size_bytes)
            if head.is_directory:
                self._put(file, name, Entry(b"", State.DIRECTORY))
                self._log.event("export-folder.directory-left-alone", modality=self._ae_title)
                return _LEFT_ALONE
            if extent is Extent.CUT and not out_of_patience:
                return _NOT_YET
            return self._capture(file, name, descriptor, head, extent)

    def _capture(self, file: File, name: bytes, descriptor: int, head: Head, extent: Extent) -> Taken:
        captured = intake.capture(
            self._tree, file, descriptor, head, ae_title=self._ae_title, pipeline=self._pipeline, reader=self._reader
        )
        self._put(file, name, Entry(b"", State.CAPTURED, captured.object_id, captured.file_sha256))
        object_id, cut = str(captured.object_id), extent is Extent.CUT
        self._log.event("image.captured", object=object_id, dataset_bytes=captured.dataset_bytes, file_is_cut=cut)
        return Taken(True, captured.object_id)

    def _set_aside(self, file: File, name: bytes, known: Entry | None, state: State, exc: Exception) -> None:
        """Leave a file where it is, and record why: once for as long as it stays as it is."""
        with self._database.transaction():
            self._put(file, name, Entry(b"", state))
            if known is not None and known.state is state and known.is_of(file.stamp):
                return
            who = (Participant("ae", self._ae_title, True), Participant("host", str(self._host_id), False))
            outcome = Outcome.MINOR_FAILURE
            self._journal.record(
                Happening(Event.FILE_REFUSED, Action.READ, outcome, who, (), why(exc), named(file.path))
            )
        self._log.event("export-folder.file-refused", modality=self._ae_title, why=why(exc))

    def _put(self, file: File, name: bytes, entry: Entry) -> None:
        today = self._clock.now().toordinal()
        entry = replace(entry, stamp=file.stamp.encode(), seen_day=today)
        self._ledger.put(name, self._ae_title, file.stamp, entry)
