"""An image on its way out: what C-STORE has to say of it before its data set."""

import re
from dataclasses import dataclass

from shared.errors import IntegrityFailure, Refused
from shared.identity import ObjectId

# What a modality sent as a UID and has its length goes on as it came: the archive judges it, not we.
_UID = re.compile(r"[!-~]{1,64}")


class NotRoutable(Refused):
    """The image is there whole; C-STORE has to say what it is, and that is not known."""

    def __init__(self, object_id: ObjectId, why: str) -> None:
        super().__init__(f"object {object_id} cannot be sent on: {why}")
        self.object_id, self.why = object_id, why


class NotForThisRoute(IntegrityFailure):
    """A queue says so, and what the host signed at capture does not."""

    def __init__(self, object_id: ObjectId, route: str) -> None:
        super().__init__(f"object {object_id} is queued for route {route}, which its capture record does not name")
        self.object_id, self.route = object_id, route


class ObjectAbsent(IntegrityFailure):
    """It is not where it was kept. A disk that was away may come back, so it is looked for again."""

    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"object {object_id} is queued for an archive and is not where it was kept")
        self.object_id = object_id


@dataclass(frozen=True)
class Image:
    object_id: ObjectId
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str

    def __post_init__(self) -> None:
        """Raises NotRoutable."""
        if not (is_sendable(self.sop_class_uid) and is_sendable(self.sop_instance_uid)):
            raise NotRoutable(self.object_id, "its SOP Class or Instance UID is missing or no text")

    @property
    def kind(self) -> tuple[str, str]:
        """What a presentation context is about."""
        return self.sop_class_uid, self.transfer_syntax


def is_sendable(uid: str) -> bool:
    return _UID.fullmatch(uid) is not None
