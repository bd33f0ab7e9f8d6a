"""Which instances this host has captured: by them a resend is known, and a commitment request is answered.

A SOP Instance UID is kept as its keyed hash only. An instance stays known after its object has left the spool, for as
long as the vault's receipt is kept.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from sqlite3 import Connection

from edge_agent.database import Database
from shared.identity import ObjectId

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instance (
    uid_hash BLOB NOT NULL, dataset_sha256 BLOB NOT NULL, object TEXT NOT NULL, sop_class TEXT NOT NULL,
    PRIMARY KEY (uid_hash, dataset_sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS instance_of_object ON instance (object);
"""


@dataclass(frozen=True)
class Instance:
    """One data set that was captured under a SOP Instance UID; `sop_class_uid` is what its C-STORE or file said."""

    object_id: ObjectId
    dataset_sha256: bytes
    sop_class_uid: str


class Instances:
    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)

    def transaction(self) -> AbstractContextManager[Connection]:
        return self._database.transaction()

    def of(self, uid_hash: bytes) -> tuple[Instance, ...]:
        """Return every data set captured under the UID with this keyed hash: none, one, or several that conflict.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        rows = self._database.read(
            "SELECT object, dataset_sha256, sop_class FROM instance WHERE uid_hash = ?", (uid_hash,)
        )
        return tuple(Instance(ObjectId.parse(name), digest, sop_class) for name, digest, sop_class in rows)

    def hashes_of(self, object_id: ObjectId) -> tuple[bytes, ...]:
        """Return the keyed hashes of the UIDs under which an object is known. Raises like `of`."""
        rows = self._database.read("SELECT uid_hash FROM instance WHERE object = ?", (str(object_id),))
        return tuple(uid_hash for (uid_hash,) in rows)

    def forget(self, connection: Connection, object_id: ObjectId) -> None:
        connection.execute("DELETE FROM instance WHERE object = ?", (str(object_id),))

    def add(self, connection: Connection, uid_hash: bytes, instance: Instance) -> None:
        """Note one more, within the caller's transaction; in place of one whose object was lost."""
        row = (uid_hash, instance.dataset_sha256, str(instance.object_id), instance.sop_class_uid)
        connection.execute("INSERT OR REPLACE INTO instance VALUES (?, ?, ?, ?)", row)
