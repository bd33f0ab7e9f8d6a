"""The policy that the centre itself acts on: held against its signatures, down to the first root, each time it changes.

What lies in the database is not believed: an archive's address from there is where images would go.
"""

from hashlib import sha256
from threading import Lock

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.transactions import snapshot
from control_plane.keys.store import POLICY_TRUST, KeyStore
from control_plane.policy import sql
from control_plane.policy.publisher import PolicyPublisher, PolicyRowMissing, RootReplaced
from control_plane.policy.verify import verify_layer, verify_roots, verify_targets
from shared import clock as clocks
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument

# Like a host, the centre goes on under a policy that has expired: images are delivered where people last said.
# The status names the expired role. What has not begun yet cannot have expired.
_WHENEVER = clocks.parse("1970-01-01T00:00:00Z")
_KEPT = 64


class VerifiedPolicy:
    def __init__(self, database: sessionmaker[Session], keys: KeyStore, publisher: PolicyPublisher) -> None:
        self._database, self._keys, self._publisher = database, keys, publisher
        self._lock = Lock()
        self._verified: dict[tuple[bytes, bytes], PolicyDocument] = {}

    def newest(self) -> PolicyDocument | None:
        """Return what is published now, None before the first publication.

        Raises DatabaseUnavailable, RootReplaced, PolicyRowMissing, Malformed, SignaturesMissing, LayerNotDelegated,
        MetadataMismatch and the like: what does not hold is not acted on.
        """
        head, layer = self._publisher.head(), self._publisher.layer(ORGANISATION)
        return None if head is None or layer is None else self._document(head, layer)

    def version(self, version: int) -> PolicyDocument:
        """Return an earlier version, under the signatures of today's targets role. Raises what `newest` does."""
        head = self._publisher.head()
        with snapshot(self._database) as session:
            row = sql.row(session, ORGANISATION, version)
        if head is None or row is None or row.policy is None:
            raise PolicyRowMissing(ORGANISATION, version)
        document = self._document(head, LayerBundle(ORGANISATION, row.metadata_bytes, row.policy))
        if document.version != version:
            raise PolicyRowMissing(ORGANISATION, version)
        return document

    def _document(self, head: HeadBundle, layer: LayerBundle) -> PolicyDocument:
        # By all the bytes that the answer depends on, so a changed row is looked at again.
        named = (_digest(*head.roots, b"", head.targets), _digest(layer.metadata, b"", layer.policy))
        with self._lock:
            if named not in self._verified:
                document = self._verify(head, layer)
                while len(self._verified) >= _KEPT:
                    del self._verified[next(iter(self._verified))]
                self._verified[named] = document
            return self._verified[named]

    def _verify(self, head: HeadBundle, layer: LayerBundle) -> PolicyDocument:
        if not head.roots or sha256(head.roots[0]).digest() != self._keys.secret(POLICY_TRUST):
            raise RootReplaced
        root = verify_roots(head.roots, _WHENEVER)
        return verify_layer(verify_targets(root, head.targets, _WHENEVER), layer)


def _digest(*parts: bytes) -> bytes:
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()
