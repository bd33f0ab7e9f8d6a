"""The accepted policy: version, exact bytes, and what is in force. The final word, whatever TUF's cache says."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from edge_agent.database import Database
from edge_agent.log import Log, why
from shared.clock import Clock, text
from shared.errors import IntegrityFailure, Malformed
from shared.policy.accept import AcceptedPolicy
from shared.policy.document import KeyPurpose, PolicyDocument
from shared.sealing.hpke import SealingPublicKey

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accepted_policy (
    layer TEXT NOT NULL, version INTEGER NOT NULL, sha256 BLOB NOT NULL, document BLOB NOT NULL, accepted TEXT NOT NULL,
    PRIMARY KEY (layer, version)
) STRICT;
CREATE TRIGGER IF NOT EXISTS accepted_policy_stays BEFORE DELETE ON accepted_policy
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE IF NOT EXISTS failed_policy (
    layer TEXT NOT NULL, version INTEGER NOT NULL, why TEXT NOT NULL, begun INTEGER NOT NULL,
    PRIMARY KEY (layer, version)
) STRICT;
"""


class StoredPolicyAltered(IntegrityFailure):
    def __init__(self, version: int) -> None:
        super().__init__(f"the stored bytes of accepted policy {version} are not those that were accepted")
        self.version = version


@dataclass(frozen=True)
class FailedPolicy:
    """A version that is accepted and not in force, because this host could not act by it."""

    version: int
    why: str
    begun: int  # how many trials of it were begun and not ended


class PolicyStore:
    """One layer's accepted versions. What is in force is read from memory, by any thread.

    It is the highest version that did not fail its self-check here, and never a lower one than was in force before.
    """

    def __init__(self, database: Database, layer: str, clock: Clock, log: Log) -> None:
        self._database, self._layer, self._clock = database, layer, clock
        self._lock, self._listeners = threading.Lock(), list[Callable[[], None]]()
        self._in_force: PolicyDocument | None = None
        database.create(_SCHEMA)
        try:
            self._in_force = self._load()
        except (StoredPolicyAltered, Malformed) as exc:
            # Nothing is in force then, so nothing is captured unsealed; the version held still refuses a rollback.
            log.event("policy.stored-altered", why=why(exc))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after each switch to another policy."""
        self._listeners.append(listener)

    def in_force(self) -> PolicyDocument | None:
        """Return the policy in force, None before the first. It stays in force past any expiry."""
        return self._in_force

    def audit_key(self) -> SealingPublicKey | None:
        policy = self._in_force
        return policy.key_for(KeyPurpose.AUDIT) if policy is not None else None

    def spool_quota_bytes(self) -> int:
        """Return how many bytes the spool may hold, 0: what the disk takes."""
        policy = self._in_force
        return 0 if policy is None else policy.spool_quota_bytes

    def held(self) -> AcceptedPolicy | None:
        """Return the highest version ever accepted here."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT version, sha256 FROM accepted_policy WHERE layer = ? ORDER BY version DESC LIMIT 1",
                (self._layer,),
            ).fetchone()
        return AcceptedPolicy(self._layer, *row) if row else None

    def keep(self, accepted: AcceptedPolicy, document: bytes) -> None:
        """Remember an accepted version for good, or mend its bytes. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO accepted_policy VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET document = excluded.document",
                (accepted.layer, accepted.version, accepted.sha256, document, text(self._clock.now())),
            )

    def begin_trial(self, version: int, why: str) -> None:
        """Count as failed what is tried now, until it has ended, because of `why`."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO failed_policy VALUES (?, ?, ?, 1) "
                "ON CONFLICT DO UPDATE SET why = excluded.why, begun = begun + 1",
                (self._layer, version, why),
            )

    def fail(self, version: int, why: str) -> None:
        """Remember that an accepted version cannot be in force here. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO failed_policy VALUES (?, ?, ?, 0)", (self._layer, version, why))

    def passed(self, version: int) -> None:
        """Take back that a version failed. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM failed_policy WHERE layer = ? AND version = ?", (self._layer, version))

    def failed(self) -> FailedPolicy | None:
        """Return why the highest accepted version is not in force, None: it is, or there is none."""
        held = self.held()
        if held is None:
            return None
        query = "SELECT why, begun FROM failed_policy WHERE layer = ? AND version = ?"
        rows = self._database.read(query, (self._layer, held.version))
        return FailedPolicy(held.version, *rows[0]) if rows else None

    def document(self, version: int) -> PolicyDocument:
        """Return an accepted version. Raises StoredPolicyAltered, Malformed."""
        query = "SELECT version, sha256, document FROM accepted_policy WHERE layer = ? AND version = ?"
        ((version, digest, document),) = self._database.read(query, (self._layer, version))
        return _parsed(version, digest, document)

    def switch(self, policy: PolicyDocument) -> None:
        """Put `policy`, which was kept, in force."""
        with self._lock:
            self._in_force = policy
        for listener in self._listeners:
            listener()

    def _load(self) -> PolicyDocument | None:
        """Raises StoredPolicyAltered, Malformed."""
        rows = self._database.read(
            "SELECT version, sha256, document FROM accepted_policy WHERE layer = ? AND version NOT IN "
            "(SELECT version FROM failed_policy WHERE layer = ?) ORDER BY version DESC LIMIT 1",
            (self._layer, self._layer),
        )
        return _parsed(*rows[0]) if rows else None


def _parsed(version: int, digest: bytes, document: bytes) -> PolicyDocument:
    if sha256(document).digest() != digest:
        raise StoredPolicyAltered(version)
    return PolicyDocument.parse(document)
