"""What a route needs of an image in the spool, proved as the vault proves it, with the data key of the second wrap."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Protocol

from edge_agent.forward import box
from edge_agent.forward.box import Contents
from edge_agent.forward.key import ForwardingKey
from shared.errors import Unavailable
from shared.identity import ObjectId
from shared.routes.image import Image, NotForThisRoute, ObjectAbsent
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.object_file import BodyWindow, ObjectParts
from shared.sealing.open import StoredObject, open_body, verify_parts
from shared.sealing.record import CaptureRecord
from shared.signing import EvidencePublicKey


class Sealed(Protocol):
    """The spool as forwarding needs it."""

    def open(self, object_id: ObjectId) -> BufferedIOBase | None:
        """Return the sealed object file, or None where there is none. Raises OSError, or an Unavailable of its own."""


class SpoolUnreadable(Unavailable):
    def __init__(self, object_id: ObjectId, why: str) -> None:
        super().__init__(f"object {object_id} cannot be read from the spool: {why}")
        self.object_id, self.why = object_id, why


@dataclass(frozen=True)
class _Opened:
    source: BufferedIOBase
    parts: ObjectParts
    binding: Binding
    record: CaptureRecord
    contents: Contents

    def data_set(self) -> Iterator[memoryview]:
        window = BodyWindow(self.source, self.parts)
        return open_body(self.binding.encode(), self.record, window, self.contents.data_key)


class SpoolImages:
    """`host_key` is what this host's capture records are signed with."""

    def __init__(
        self, spool: Sealed, boxes: Callable[[ObjectId], bytes], key: ForwardingKey, host_key: EvidencePublicKey
    ) -> None:
        self._spool, self._boxes, self._key, self._host_key = spool, boxes, key, host_key

    def describe(self, object_id: ObjectId, route: str) -> Image:
        """Return what the host signed about an image, and what its C-STORE said. The body is not looked at.

        Raises ObjectAbsent, SpoolUnreadable, NoBox, NotRoutable, NotForThisRoute, ForwardingKeyUnusable, and for what
        does not hold what `verify_parts` and `open_box` raise.
        """
        with self._opened(object_id) as opened:
            if route not in opened.record.routes:
                raise NotForThisRoute(object_id, route)
            contents = opened.contents
        return Image(object_id, contents.sop_class_uid, contents.sop_instance_uid, opened.binding.transfer_syntax)

    def open(self, image: Image, _route: str, _archive: str) -> Iterator[memoryview]:
        """Return the data set once it was proved whole; it is proved again while it is read for sending.

        Raises what `describe` does, ObjectAltered, NotAuthentic.
        """
        with self._opened(image.object_id) as opened:
            for _ in opened.data_set():
                pass
        return self._again(image.object_id)

    def _again(self, object_id: ObjectId) -> Iterator[memoryview]:
        with self._opened(object_id) as opened:
            yield from opened.data_set()

    @contextlib.contextmanager
    def _opened(self, object_id: ObjectId) -> Iterator[_Opened]:
        try:
            source = self._spool.open(object_id)
            if source is None:
                raise ObjectAbsent(object_id)
            with source:
                parts = object_file.parse(source)
                stored = StoredObject(object_id, parts.binding.encode(), parts.wrap, parts.record)
                binding, record = verify_parts(stored, self._host_key)
                contents = box.open_box(self._boxes(object_id), stored.binding, self._key.private())
                yield _Opened(source, parts, binding, record, contents)
        except OSError as exc:
            raise SpoolUnreadable(object_id, exc.strerror or "it failed") from exc
