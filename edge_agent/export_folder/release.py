"""Lets go of a file once the vault answers for its image: keeps, moves or deletes it, as policy says.

A file is moved or deleted only if it still is, byte for byte, what was captured: its digest is taken again. What was
written into it since is another image, and nobody answers for that one yet. That it is about to go is made durable
before the digest is taken, so that nothing that may wait for others lies between this and its end. (Between the last
look and the deletion lie microseconds in which a writer who has it open could still come; no file system offers to
close them.) A file whose data set ends too early stays: its writer may only be slow, and what it has still to write
would end in a file without a name.
"""

from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeAlias

from edge_agent.audit.journal import Journal
from edge_agent.database import Database
from edge_agent.export_folder.extent import Extent
from edge_agent.export_folder.intake import ChangedWhileRead, FileReader, read_head
from edge_agent.export_folder.ledger import Entry, Ledger, State
from edge_agent.export_folder.tree import CannotRelease, File, NotThatFile, Tree
from edge_agent.log import OUR_ERRORS, Log, why
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.errors import Malformed
from shared.identity import HostId, ObjectId
from shared.policy.document import AfterReceipt

_MAX_NAME_CHARS = 2048

Verify: TypeAlias = Callable[[FileReader, Tree, File, Entry], bool]
"""Returns whether a file still is what was captured."""
IsCut: TypeAlias = Callable[[Tree, File], bool]
"""Returns whether a file's data set ends too early."""


class ReceiptBook(Protocol):
    def holds(self, object_id: ObjectId, /) -> bool:
        """Whether the vault's verified receipt for the object is durable here."""


class Released(Enum):
    WAITS = "the vault has not answered for it"
    STAYS = "policy keeps it, or it can be neither moved nor deleted"
    GONE = "moved or deleted"
    CHANGED = "it is not what was captured"


class Releaser:
    """`verify` and `is_cut` are what a test replaces to see that they protect."""

    def __init__(
        self,
        *,
        host_id: HostId,
        ledger: Ledger,
        receipts: ReceiptBook,
        journal: Journal,
        database: Database,
        log: Log,
        reader: FileReader,
        verify: Verify,
        is_cut: IsCut,
    ) -> None:
        self._who = (Participant("host", str(host_id), True),)
        self._ledger, self._receipts, self._journal, self._database = ledger, receipts, journal, database
        self._log, self._reader, self._verify, self._is_cut = log, reader, verify, is_cut

    def release(self, tree: Tree, file: File, name: bytes, entry: Entry, after: AfterReceipt) -> Released:
        """Raises FileGone, FileUnreadable, FolderMissing, Stopping, DatabaseUnavailable, DatabaseDamaged."""
        object_id = entry.object_id
        if object_id is None or not self._receipts.holds(object_id):
            return Released.WAITS
        if entry.state is not State.RECEIPTED:
            entry = self._ledger.change(name, entry, State.RECEIPTED, noted=entry.noted)
        if after is AfterReceipt.KEEP:
            return Released.STAYS
        if self._is_cut(tree, file):
            self._stays(file, name, entry, CannotRelease("its data set ends too early, so its writer may not be done"))
            return Released.STAYS
        entry = self._ledger.change(name, entry, State.RELEASING, noted=entry.noted)
        try:
            # Not before: that commit may wait for others, and meanwhile a writer come.
            is_same = self._verify(self._reader, tree, file, entry)
            # That took as long as the file is large, and the vault may have said meanwhile that it lost the image.
            if is_same and not self._receipts.holds(object_id):
                self._ledger.change(name, entry, State.CAPTURED, noted=entry.noted)
                return Released.WAITS
            if is_same:
                (tree.put_away if after is AfterReceipt.MOVE else tree.delete)(file)
        except CannotRelease as exc:
            self._stays(file, name, entry, exc)
            return Released.STAYS
        except NotThatFile:
            is_same = False
        except OUR_ERRORS:
            self._ledger.change(name, entry, State.RECEIPTED, noted=entry.noted)
            raise
        if not is_same:
            self._ledger.change(name, entry, State.RECEIPTED, noted=entry.noted)
            return Released.CHANGED
        action = "moved" if after is AfterReceipt.MOVE else "deleted"
        self._gone(name, object_id, f"{action} after the vault's receipt", private=named(file.path))
        return Released.GONE

    def finish(self, name: bytes, object_id: ObjectId) -> None:
        """Record the end of a file that was being let go when the agent stopped, and that is not there any more."""
        self._gone(name, object_id, "was being let go when the agent stopped, and is not there any more", private=None)

    def _gone(self, name: bytes, object_id: ObjectId, reason: str, *, private: dict[str, Json] | None) -> None:
        what = (Subject("object", str(object_id)),)
        with self._database.transaction():
            self._ledger.forget(name)
            self._journal.record(
                Happening(Event.FILE_RELEASED, Action.DELETE, Outcome.SUCCESS, self._who, what, reason, private)
            )
        self._log.event("export-folder.released", object=str(object_id))

    def _stays(self, file: File, name: bytes, entry: Entry, exc: CannotRelease) -> None:
        what = (Subject("object", str(entry.object_id)),)
        with self._database.transaction():
            self._ledger.change(name, entry, State.RECEIPTED, noted=True)
            if not entry.noted:
                outcome = Outcome.MINOR_FAILURE
                self._journal.record(
                    Happening(Event.FILE_RELEASED, Action.DELETE, outcome, self._who, what, why(exc), named(file.path))
                )
        if not entry.noted:
            self._log.event("export-folder.cannot-release", object=str(entry.object_id), why=why(exc))


def is_what_was_captured(reader: FileReader, tree: Tree, file: File, entry: Entry) -> bool:
    """Raises FileGone, FileUnreadable, Stopping."""
    try:
        if reader.digest(tree, file) != entry.file_sha256:
            return False
    except ChangedWhileRead:
        return False
    # The last look before the file goes; `changed_ns` shows also a write whose other times were set back.
    return tree.stamp(file.path) == file.stamp and entry.is_of(file.stamp)


def ends_too_early(tree: Tree, file: File) -> bool:
    """Raises FileGone, FileUnreadable."""
    try:
        with tree.open(file.path) as descriptor:
            _, extent = read_head(descriptor, file.stamp.size_bytes)
    except Malformed:  # it is not what was captured any more
        return False
    return extent is Extent.CUT


def named(path: bytes) -> dict[str, Json]:
    """Return the private part of an audit record about a file: its name, which may be a patient's."""
    return {"file": path.decode("utf-8", "backslashreplace")[-_MAX_NAME_CHARS:]}
