"""The evidence keys of hosts whose objects were brought here, for whoever looks at what lies in the spool."""

from edge_agent.database import ReadingDatabase
from edge_agent.moving.judge import Signers, SignerUnknown, StrangeCertificate, certified
from edge_agent.spool.whole import Keys
from shared.enrolment.chain import Trust
from shared.errors import Malformed
from shared.sealing.object_file import ObjectParts
from shared.signing import EvidencePublicKey


def keys_of_brought(database: ReadingDatabase, trust: Trust) -> Keys:
    """Know the keys that our authority certified for hosts whose objects were brought here, and no other.

    Raises DatabaseUnavailable, DatabaseDamaged.
    """
    rows = database.read("SELECT certificate FROM moved_host") if database.has("moved_host") else []
    signers = [found for (pem,) in rows if (found := _certified(pem, trust)) is not None]

    def key(parts: ObjectParts) -> EvidencePublicKey | None:
        for each in signers:
            try:
                return each.key(parts.binding.host_id)
            except SignerUnknown:
                continue
        return None

    return key


def _certified(pem: bytes, trust: Trust) -> Signers | None:
    """Return None for a row that was changed: what it was for is then not judged, and that is said."""
    try:
        return certified(pem, trust)
    except (Malformed, StrangeCertificate):
        return None
