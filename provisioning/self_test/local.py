"""What the agent's folder says, read beside the running agent and never written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from edge_agent.config import AgentFolder, HostConfig
from edge_agent.database import ReadingDatabase
from edge_agent.policy_sync.store import InForce, read_in_force
from shared.audit.record import AuditRecord
from shared.identity import ObjectId
from shared.policy.accept import AcceptedPolicy
from shared.sealing.binding import hash_sop_instance

_HIGHEST = "SELECT version, sha256 FROM accepted_policy WHERE layer = ? ORDER BY version DESC LIMIT 1"
_CAPTURED = "SELECT public, leaf FROM record WHERE subject = ? AND event = 'capture.image-captured'"


@dataclass(frozen=True)
class Logged:
    """The leaf of the journal's record of a capture, and the digest of the signed capture record that it names."""

    leaf: bytes
    record_sha256: bytes


class LocalAgent:
    """Every method raises DatabaseUnavailable, DatabaseDamaged."""

    def __init__(self, database: ReadingDatabase, config: HostConfig) -> None:
        self._database, self._config = database, config

    def in_force(self) -> InForce | None:
        """Return what the agent acts by. Raises StoredPolicyAltered, Malformed."""
        return read_in_force(self._database.read, self._config.layers, self._config.host_id)

    def held(self) -> Mapping[str, AcceptedPolicy]:
        """Return the highest version that was ever accepted of each layer."""
        if not self._database.has("accepted_policy"):
            return {}
        rows = {layer: self._database.read(_HIGHEST, (layer,)) for layer in self._config.layers}
        return {layer: AcceptedPolicy(layer, *found[0]) for layer, found in rows.items() if found}

    def object_of(self, sop_instance_uid: str, dataset_sha256: bytes) -> ObjectId | None:
        """Return which object an image became."""
        if not self._database.has("instance"):
            return None
        uid_hash = hash_sop_instance(self._config.sop_hash_key, sop_instance_uid)
        query = "SELECT object FROM instance WHERE uid_hash = ? AND dataset_sha256 = ?"
        rows = self._database.read(query, (uid_hash, dataset_sha256))
        return ObjectId.parse(rows[0][0]) if rows else None

    def receipt_of(self, object_id: ObjectId) -> bytes | None:
        """Return the vault's signed receipt of an object."""
        rows = self._database.read("SELECT signed FROM receipt WHERE object = ?", (str(object_id),))
        return rows[0][0] if rows else None

    def captured(self, object_id: ObjectId) -> Logged | None:
        """Return what the journal says of a capture. Raises Malformed."""
        for public, leaf in self._database.read(_CAPTURED, (str(object_id),)):
            (digest,) = (one.name for one in AuditRecord.parse(public).what if one.kind == "record")
            return Logged(leaf, bytes.fromhex(digest))
        return None


@contextmanager
def opened(folder: AgentFolder, config: HostConfig) -> Iterator[LocalAgent]:
    """Raises DatabaseUnavailable, DatabaseDamaged."""
    database = ReadingDatabase(folder.database)
    try:
        yield LocalAgent(database, config)
    finally:
        database.close()
