"""The parts of an export as they fill: a folder and its list, closed at 1,000 entries."""

from hashlib import sha256

from edge_agent.moving.folder import LIST, NewExport, part_folder
from edge_agent.moving.judge import Passing
from edge_agent.moving.manifest import (
    MAX_ENTRIES,
    MAX_PARTS,
    LeftObject,
    ListedBatch,
    ListedObject,
    PartList,
    object_name,
)
from edge_agent.moving.store import MovedBatch
from shared.errors import Refused
from shared.identity import ObjectId


class SpoolTooLarge(Refused):
    def __init__(self) -> None:
        super().__init__(f"the spool has more than the {MAX_PARTS * MAX_ENTRIES} objects that one export can hold")


class Listing:
    """Every method raises ExportUnwritable and SpoolTooLarge. What was added counts once its file is durable."""

    def __init__(self, target: NewExport) -> None:
        self._target = target
        self._objects: list[ListedObject] = []
        self._left: list[LeftObject] = []
        self._batches: list[ListedBatch] = []
        self.digests: list[bytes] = []
        self.left: list[LeftObject] = []
        self.objects = self.object_bytes = self.records = 0

    def add_object(self, object_id: ObjectId, record_sha256: bytes, passing: Passing) -> None:
        """Write the object that passes. Raises what `passing` raises; then it is not in the export."""
        number = self.objects + 1
        self._target.write(self._place(object_name(number, object_id)), passing.pieces())
        self._objects.append(ListedObject(number, object_id, passing.size_bytes, passing.sha256, record_sha256))
        self.objects = number
        self.object_bytes += passing.size_bytes
        self._close_if_full()

    def leave(self, left: LeftObject) -> None:
        self._place("")
        self._left.append(left)
        self.left.append(left)
        self._close_if_full()

    def add_batch(self, batch: MovedBatch) -> None:
        digest = sha256(batch.batch).digest()
        listed = ListedBatch(batch.host, batch.first, batch.last, len(batch.batch), digest)
        self._target.write(self._place(listed.name), [batch.batch])
        self._batches.append(listed)
        self.records += batch.last - batch.first + 1
        self._close_if_full()

    def close(self) -> None:
        """Write the list of the part that is open, if one is."""
        part = PartList(tuple(self._objects), tuple(self._left), tuple(self._batches))
        if not len(part):
            return
        if len(self.digests) == MAX_PARTS:
            raise SpoolTooLarge
        encoded = part.encode()
        self._target.write(self._place(LIST), [encoded])
        self.digests.append(sha256(encoded).digest())
        self._objects, self._left, self._batches = [], [], []

    def _place(self, name: str) -> str:
        """Return where a file of the open part lies; the first one opens it."""
        folder = part_folder(len(self.digests) + 1)
        self._target.make_folder(folder)
        return f"{folder}/{name}"

    def _close_if_full(self) -> None:
        if len(self._objects) + len(self._left) + len(self._batches) >= MAX_ENTRIES:
            self.close()
