"""The port behind which bodies lie. A body is opaque here: whoever reads one proves it."""

from types import TracebackType
from typing import Protocol, Self

from shared.errors import IntegrityFailure, Unavailable
from shared.identity import ObjectId
from shared.sealing.chunked import Readable


class BodyMissing(IntegrityFailure):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the object store has no body of object {object_id}")
        self.object_id = object_id


class BodyConflict(IntegrityFailure):
    """Two bodies of one object. The one that is held stays."""

    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the object store holds another body of object {object_id}")
        self.object_id = object_id


class StoreUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the object store cannot do this now: {why}")
        self.why = why


class BodyUnreadable(StoreUnavailable):
    """The disk answers, and does not give all of this body."""


class Body(Protocol):
    """One body, open for reading; closed at the end of its `with` block."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...


class Bodies(Protocol):
    def open(self, object_id: ObjectId) -> Body:
        """Raises BodyMissing, BodyUnreadable, StoreUnavailable; reading from it raises the last two."""


class ObjectStore(Bodies, Protocol):
    def put(self, object_id: ObjectId, body: Readable) -> None:
        """Keep `body` so that, once this returns, it survives a power cut.

        If this raises, the body is kept whole or not at all, never in part. The same bytes may be put again, also by
        two at once; other bytes never replace what is held.

        Raises BodyConflict, StoreUnavailable.
        """

    def replace(self, object_id: ObjectId, body: Readable) -> None:
        """Keep `body`, as `put` does, in the place of one that is proved not to be what it has to be.

        That one stays under another name. At every moment one of them is the object's. Raises StoreUnavailable.
        """
