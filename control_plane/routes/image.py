"""What a route needs of an image: which kind it is before anything is opened, and then the data set itself."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.db.models import Object
from control_plane.db.transactions import snapshot
from control_plane.vault.index_service import IndexService
from control_plane.vault.opening import ObjectUnknown, VaultOpener
from shared.errors import IntegrityFailure, Refused
from shared.identity import CONTROL_PLANE, ObjectId
from shared.sealing.index import SealedIndex
from shared.sealing.open import StoredObject, verify_parts

# What a modality sent as a UID and has its length goes on as it came: the archive judges it, not we.
_UID = re.compile(r"[!-~]{1,64}")


class NotRoutable(Refused):
    """The vault has the image whole; C-STORE has to say what it is, and that is not known."""

    def __init__(self, object_id: ObjectId, why: str) -> None:
        super().__init__(f"object {object_id} cannot be sent on: {why}")
        self.object_id, self.why = object_id, why


class NotForThisRoute(IntegrityFailure):
    """A queue says so, and what the host signed at capture does not."""

    def __init__(self, object_id: ObjectId, route: str) -> None:
        super().__init__(f"object {object_id} is queued for route {route}, which its capture record does not name")
        self.object_id, self.route = object_id, route


class NotAsDescribed(IntegrityFailure):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"object {object_id} changed between being described and being opened")
        self.object_id = object_id


@dataclass(frozen=True)
class Image:
    object_id: ObjectId
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str

    @property
    def kind(self) -> tuple[str, str]:
        """What a presentation context is about."""
        return self.sop_class_uid, self.transfer_syntax


class ImageSource:
    def __init__(
        self, database: sessionmaker[Session], hosts: EvidenceKeys, index: IndexService, opener: VaultOpener
    ) -> None:
        self._database, self._hosts, self._index, self._opener = database, hosts, index, opener

    def describe(self, object_id: ObjectId, route: str) -> Image:
        """Return what the host signed about an image, once it names `route`. The body is not looked at.

        Raises ObjectUnknown, NotRoutable, NotForThisRoute, DatabaseUnavailable, and for what does not hold what
        `VaultOpener.open` raises.
        """
        with snapshot(self._database) as session:
            row = session.get(Object, str(object_id))
        if row is None:
            raise ObjectUnknown(object_id)
        stored = StoredObject(object_id, row.binding, b"", row.record)
        binding, record = verify_parts(stored, self._hosts.for_statement(row.host_id, row.record))
        if route not in record.routes:
            raise NotForThisRoute(object_id, route)
        entry = self._index.open(SealedIndex(row.sealed_index, record.index_commitment), binding)
        if not entry.evaluated:
            raise NotRoutable(object_id, "its attributes were not evaluated at capture")
        for uid in (entry.sop_class_uid, entry.sop_instance_uid):
            if not _UID.fullmatch(uid):
                raise NotRoutable(object_id, "its SOP Class or Instance UID is missing or no text")
        return Image(object_id, entry.sop_class_uid, entry.sop_instance_uid, binding.transfer_syntax)

    def open(self, image: Image, route: str, archive: str) -> Iterator[bytes]:
        """Return the data set once it was verified whole and its opening is recorded in the centre's name.

        The iterator raises where the second pass finds what the first did not, always before its last piece.
        Raises what `VaultOpener.open` does, and NotAsDescribed.
        """
        reason = f"route {route} to archive {archive}"
        opened = self._opener.open(image.object_id, CONTROL_PLANE, reason, "dataset", kind="service")
        if opened.transfer_syntax != image.transfer_syntax:
            raise NotAsDescribed(image.object_id)
        return opened.pieces
