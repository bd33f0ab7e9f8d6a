"""One file on its way in: read in pieces, captured, and held against what it was when that began."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

from edge_agent.capture.pipeline import CapturePipeline, ImageHeader
from edge_agent.export_folder import extent, part10
from edge_agent.export_folder.extent import Extent
from edge_agent.export_folder.part10 import Head, HeadCut
from edge_agent.export_folder.tree import File, FileGone, FileUnreadable, Tree, stamp_of
from shared.errors import Refused
from shared.identity import ObjectId

_FIRST_BYTES = 4096
_PIECE_BYTES = 1 << 20
T = TypeVar("T")


class ChangedWhileRead(Refused):
    def __init__(self) -> None:
        super().__init__("the file changed while it was read; it is tried again")


class Stopping(Refused):
    def __init__(self) -> None:
        super().__init__("the agent is stopping")


@dataclass(frozen=True)
class Captured:
    object_id: ObjectId
    file_sha256: bytes
    dataset_bytes: int


class FileReader:
    """Reads files of any size through one buffer. `stopping` is asked between two pieces."""

    def __init__(self, stopping: Callable[[], bool] = lambda: False) -> None:
        self._buffer = memoryview(bytearray(_PIECE_BYTES))
        self._stopping = stopping

    def through(self, descriptor: int, take: Callable[[memoryview, int], None]) -> bytes:
        """Give every piece and its offset to `take`, and return the SHA-256 of them all.

        Raises FileUnreadable, Stopping, and what `take` raises.
        """
        digest, position = sha256(), 0
        while True:
            if self._stopping():
                raise Stopping
            count = _readable(lambda: os.preadv(descriptor, [self._buffer], position))  # noqa: B023  called at once
            if not count:
                return digest.digest()
            digest.update(self._buffer[:count])
            take(self._buffer[:count], position)
            position += count

    def digest(self, tree: Tree, file: File) -> bytes:
        """Return the SHA-256 of a file that still is as `file` says.

        Raises ChangedWhileRead, FileGone, FileUnreadable, Stopping.
        """
        with tree.open(file.path) as descriptor:
            digest = self.through(descriptor, lambda _piece, _position: None)
            _verify_same(tree, file, descriptor)
        return digest


def read_head(descriptor: int, size_bytes: int) -> tuple[Head, Extent]:
    """Return the head of a file, and whether its data set is all there. Raises HeadCut, NotDicom, FileUnreadable."""

    def read_at(position: int, count: int) -> bytes:
        return _readable(lambda: os.pread(descriptor, count, position))

    data = read_at(0, _FIRST_BYTES)
    try:
        head = part10.parse(data, whole=len(data) == size_bytes)
    except HeadCut:
        if len(data) == size_bytes:
            raise
        data = read_at(0, part10.MAX_HEAD_BYTES)
        head = part10.parse(data, whole=len(data) == size_bytes)
    return head, extent.judge(read_at, head.dataset_start, size_bytes, head.transfer_syntax)


def capture(
    tree: Tree, file: File, descriptor: int, head: Head, *, ae_title: str, pipeline: CapturePipeline, reader: FileReader
) -> Captured:
    """Capture the data set of an open file. Whatever is raised, nothing of it was kept.

    Raises ChangedWhileRead, FileUnreadable, Stopping, and what `CapturePipeline.begin` and `Capture.finish` raise.
    """
    header = ImageHeader(ae_title, head.sop_instance_uid, head.transfer_syntax, head.sop_class_uid)
    with pipeline.begin(header) as image:

        def take(piece: memoryview, position: int) -> None:
            dataset = piece[max(head.dataset_start - position, 0) :]
            if len(dataset):
                image.update(dataset)

        digest = reader.through(descriptor, take)
        _verify_same(tree, file, descriptor)
        return Captured(image.finish(digest), digest, image.dataset_bytes)


def _verify_same(tree: Tree, file: File, descriptor: int) -> None:
    """Raise ChangedWhileRead unless the open file, and what its name means, are what they were."""
    if not stamp_of(status(descriptor)).same_content(file.stamp):
        raise ChangedWhileRead
    try:
        named = tree.stamp(file.path)
    except FileGone:
        # Renamed or deleted by its modality; what was read is whole all the same.
        return
    if not named.same_content(file.stamp):
        raise ChangedWhileRead


def status(descriptor: int) -> os.stat_result:
    """Raises FileUnreadable."""
    return _readable(lambda: os.fstat(descriptor))


def _readable(call: Callable[[], T]) -> T:
    try:
        return call()
    except OSError as exc:
        raise FileUnreadable(os.strerror(exc.errno or 0)) from exc
