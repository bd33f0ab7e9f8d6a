"""What a route needs of an image: which kind it is before anything is opened, and then the data set itself."""

from collections.abc import Iterator

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.db.models import Object
from control_plane.db.transactions import snapshot
from control_plane.vault.index_service import IndexService
from control_plane.vault.opening import ObjectUnknown, VaultOpener
from shared.errors import IntegrityFailure
from shared.identity import CONTROL_PLANE, ObjectId
from shared.routes.image import Image, NotForThisRoute, NotRoutable
from shared.sealing.index import SealedIndex
from shared.sealing.open import StoredObject, verify_parts


class NotAsDescribed(IntegrityFailure):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"object {object_id} changed between being described and being opened")
        self.object_id = object_id


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
