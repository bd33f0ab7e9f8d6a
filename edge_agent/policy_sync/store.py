"""The accepted policies: versions, exact bytes, and what is in force. The final word, whatever TUF's cache says.

Two things are kept apart. Of each layer the highest version that was ever accepted, which only rises. And which
versions this host acts by, a set with one of each layer: where a roll-out is taken back it goes back, by a new set.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from edge_agent.database import Database
from edge_agent.log import Log, why
from edge_agent.policy_sync.layers import Document, combine, parse_document
from shared import canonical
from shared.clock import Clock, text
from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId
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
CREATE TABLE IF NOT EXISTS policy_set (
    number INTEGER PRIMARY KEY, versions TEXT NOT NULL, root INTEGER NOT NULL, snapshot INTEGER NOT NULL,
    why TEXT, begun INTEGER NOT NULL
) STRICT;
"""
_UNKNOWN = (0, 0)
_IN_FORCE = "SELECT versions FROM policy_set WHERE why IS NULL ORDER BY number DESC LIMIT 1"
_CHOSEN = "SELECT number, versions, root, snapshot, why, begun FROM policy_set ORDER BY number DESC LIMIT 1"
_DOCUMENT = "SELECT sha256, document FROM accepted_policy WHERE layer = ? AND version = ?"
_HIGHEST = "SELECT version, sha256 FROM accepted_policy WHERE layer = ? ORDER BY version DESC LIMIT 1"

Read = Callable[[str, Sequence[object]], list[Any]]


class StoredPolicyAltered(IntegrityFailure):
    def __init__(self, what: str) -> None:
        super().__init__(f"the stored bytes of accepted policy {what} are not those that were accepted")
        self.what = what


@dataclass(frozen=True)
class PolicySet:
    """Which version of each layer a host is to act by; a layer that says nothing yet is not in it."""

    number: int
    versions: Mapping[str, int]
    order: tuple[int, int]  # versions of root and snapshot by which it was chosen; (0, 0): not known
    why: str  # why it is not in force here; empty: it did not fail
    begun: int  # how many trials of it were begun and not ended


@dataclass(frozen=True)
class InForce:
    """What all layers of a host come to, and which version of each it is; a layer of which none is has no entry."""

    policy: PolicyDocument
    versions: Mapping[str, int]


class PolicyStore:
    """One host's accepted versions of all its `layers`. What is in force is read from memory, by any thread.

    It is the newest set that did not fail its self-check here.
    """

    def __init__(self, database: Database, layers: Sequence[str], host_id: HostId, clock: Clock, log: Log) -> None:
        """`layers` has the organisation's first. Raises DatabaseUnavailable, DatabaseDamaged."""
        self._database, self._host_id, self._clock = database, host_id, clock
        self.layers = tuple(layers)
        self._lock, self._listeners = threading.Lock(), list[Callable[[], None]]()
        self._in_force: InForce | None = None
        database.create(_SCHEMA)
        self._take_over()
        try:
            self._in_force = read_in_force(database.read, layers, host_id)
        except (StoredPolicyAltered, Refused) as exc:
            # Nothing is in force then, so nothing is captured unsealed; the versions held still refuse a rollback.
            log.event("policy.stored-altered", why=why(exc))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after each switch to another policy."""
        self._listeners.append(listener)

    def in_force(self) -> PolicyDocument | None:
        """Return what all layers in force come to on this host, None before the first.

        It stays in force past any expiry.
        """
        now = self._in_force
        return now.policy if now is not None else None

    def in_force_versions(self) -> Mapping[str, int]:
        """Return which version of each layer is in force; a layer of which none is has no entry."""
        now = self._in_force
        return now.versions if now is not None else {}

    def audit_key(self) -> SealingPublicKey | None:
        policy = self.in_force()
        return policy.key_for(KeyPurpose.AUDIT) if policy is not None else None

    def spool_quota_bytes(self) -> int:
        """Return how many bytes the spool may hold, 0: what the disk takes."""
        policy = self.in_force()
        return 0 if policy is None else policy.spool_quota_bytes

    def held(self) -> Mapping[str, AcceptedPolicy]:
        """Return the highest version ever accepted here of each layer that has one."""
        with self._database.transaction() as connection:
            rows = {layer: connection.execute(_HIGHEST, (layer,)).fetchone() for layer in self.layers}
        return {layer: AcceptedPolicy(layer, *row) for layer, row in rows.items() if row}

    def accepted(self, layer: str, version: int) -> AcceptedPolicy | None:
        """Return this very version as it was accepted here, None: it never was."""
        rows = self._database.read(_DOCUMENT, (layer, version))
        return AcceptedPolicy(layer, version, rows[0][0]) if rows else None

    def keep(self, accepted: AcceptedPolicy, document: bytes) -> None:
        """Remember an accepted version for good, or mend its bytes. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO accepted_policy VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET document = excluded.document",
                (accepted.layer, accepted.version, accepted.sha256, document, text(self._clock.now())),
            )

    def chosen(self) -> PolicySet | None:
        """Return the newest set, whether or not it is in force, None: there is none yet."""
        for number, versions, root, snapshot, reason, begun in self._database.read(_CHOSEN):
            return PolicySet(number, _versions(versions), (root, snapshot), reason or "", begun)
        return None

    def begin_trial(self, versions: Mapping[str, int], order: tuple[int, int], why: str) -> int:
        """Choose a set that is tried now and count it as failed until that has ended, because of `why`.

        Part of a transaction of the caller's, in which its documents were kept. Returns the set's number.
        """
        return self._add(versions, order, why, 1)

    def begin_again(self, number: int, why: str) -> None:
        """Count a set as failed once more, until its trial has ended."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE policy_set SET why = ?, begun = begun + 1 WHERE number = ?", (why, number))

    def fail(self, number: int, why: str) -> None:
        """Remember that a set cannot be in force here. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE policy_set SET why = ?, begun = 0 WHERE number = ?", (why, number))

    def passed(self, number: int) -> None:
        """Take back that a set failed. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE policy_set SET why = NULL, begun = 0 WHERE number = ?", (number,))

    def effective(self, versions: Mapping[str, int]) -> PolicyDocument:
        """Return what kept versions come to on this host. Raises StoredPolicyAltered, Malformed, WrongLayer."""
        return _effective(self._database.read, self.layers, self._host_id, versions)

    def switch(self, policy: PolicyDocument, versions: Mapping[str, int]) -> None:
        """Put in force what `versions`, which were kept, come to on this host."""
        with self._lock:
            self._in_force = InForce(policy, dict(versions))
        for listener in self._listeners:
            listener()

    def _add(self, versions: Mapping[str, int], order: tuple[int, int], why: str | None, begun: int) -> int:
        with self._database.transaction() as connection:
            row = connection.execute(
                "INSERT INTO policy_set (versions, root, snapshot, why, begun) VALUES (?, ?, ?, ?, ?) RETURNING number",
                (canonical.encode(dict(versions)).decode(), *order, why, begun),
            ).fetchone()
        return int(row[0])

    def _take_over(self) -> None:
        """Take over what an agent kept that knew one layer and no sets: its failures stood beside the versions."""
        with self._database.transaction() as connection:
            if self.chosen() is None:
                former = _former(self._database.read, self.layers[0])
                for version in _went_on(former):
                    self._add({self.layers[0]: version}, _UNKNOWN, None, 0)
                for version, reason, begun in former[:1]:
                    if reason is not None:
                        self._add({self.layers[0]: version}, _UNKNOWN, reason, begun)
            connection.execute("DROP TABLE IF EXISTS failed_policy")


def read_in_force(read: Read, layers: Sequence[str], host_id: HostId) -> InForce | None:
    """Return what an agent that is started on these tables has in force, None: nothing.

    Raises StoredPolicyAltered, Malformed, WrongLayer, and what `read` raises.
    """
    if _has(read, "policy_set"):
        sets = [_versions(row) for (row,) in read(_IN_FORCE, ())]
    elif _has(read, "accepted_policy"):
        sets = [{layers[0]: version} for version in _went_on(_former(read, layers[0]))]
    else:
        sets = []
    return InForce(_effective(read, layers, host_id, sets[0]), sets[0]) if sets else None


def read_held(read: Read, layers: Sequence[str]) -> Mapping[str, int]:
    """Return the highest version ever accepted of each layer that has one. Raises what `read` raises."""
    if not _has(read, "accepted_policy"):
        return {}
    return {layer: version for layer in layers for version, _ in read(_HIGHEST, (layer,))}


def _former(read: Read, layer: str) -> list[tuple[int, str | None, int]]:
    """Return the accepted versions of `layer`, the highest first, each with why it failed and its trials."""
    if not _has(read, "failed_policy"):
        return [(version, None, 0) for version, _ in read(_HIGHEST, (layer,))]
    return read(
        "SELECT version, why, begun FROM accepted_policy LEFT JOIN failed_policy USING (layer, version) "
        "WHERE layer = ? ORDER BY version DESC",
        (layer,),
    )


def _went_on(former: Sequence[tuple[int, str | None, int]]) -> list[int]:
    """Return the highest version that did not fail, if there is one."""
    return [version for version, reason, _ in former if reason is None][:1]


def _effective(read: Read, layers: Sequence[str], host_id: HostId, versions: Mapping[str, int]) -> PolicyDocument:
    documents = [_document(read, layer, versions[layer]) for layer in layers if layer in versions]
    if len(documents) != len(versions) or not documents:
        raise StoredPolicyAltered("set")
    return combine(documents, host_id).policy


def _document(read: Read, layer: str, version: int) -> Document:
    for digest, document in read(_DOCUMENT, (layer, version)):
        if sha256(document).digest() == digest:
            return parse_document(layer, document)
    raise StoredPolicyAltered(f"{layer} {version}")


def _versions(stored: str) -> dict[str, int]:
    """Return the versions of a stored set, none where its bytes are damaged."""
    try:
        value = canonical.parse(stored.encode(), "policy set")
    except Refused:
        return {}
    if not isinstance(value, dict):
        return {}
    return {layer: version for layer, version in value.items() if isinstance(version, int)}


def _has(read: Read, table: str) -> bool:
    return bool(read("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)))
