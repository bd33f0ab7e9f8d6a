"""The accepted policies: versions, exact bytes, and what is in force. The final word, whatever TUF's cache says.

Two things are kept apart. Of each layer the highest version that was ever accepted, which only rises. And which
versions this host acts by, a set with one of each layer: where a roll-out is taken back it goes back, by a new set.
"""

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from edge_agent.database import Database
from edge_agent.log import Log, why
from edge_agent.policy_sync.choice import Choice
from edge_agent.policy_sync.layers import Document, combine, parse_document
from shared import canonical
from shared.clock import Clock, text
from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId
from shared.policy.accept import AcceptedPolicy
from shared.policy.document import KeyPurpose, PolicyDocument
from shared.sealing.hpke import SealingPublicKey

MOST_TRIALS = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS accepted_policy (
    layer TEXT NOT NULL, version INTEGER NOT NULL, sha256 BLOB NOT NULL, document BLOB NOT NULL, accepted TEXT NOT NULL,
    PRIMARY KEY (layer, version)
) STRICT;
CREATE TRIGGER IF NOT EXISTS accepted_policy_stays BEFORE DELETE ON accepted_policy
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE IF NOT EXISTS policy_set (
    number INTEGER PRIMARY KEY, versions TEXT NOT NULL, key TEXT NOT NULL, root INTEGER NOT NULL,
    snapshot INTEGER NOT NULL, why TEXT, begun INTEGER NOT NULL
) STRICT;
"""
_ALL_SETS = "SELECT versions FROM policy_set ORDER BY number"
_IN_FORCE = "SELECT versions FROM policy_set WHERE why IS NULL ORDER BY number DESC LIMIT 1"
_CHOSEN = "SELECT number, versions, key, root, snapshot, why, begun FROM policy_set ORDER BY number DESC LIMIT 1"
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
    choice: Choice  # the latest that said so
    why: str  # why it is not in force here; empty: it did not fail
    begun: int  # how many trials of it were begun and not ended

    @property
    def is_being_tried(self) -> bool:
        """Return whether a trial was begun, has not ended, and was not one too many."""
        return 0 < self.begun <= MOST_TRIALS


@dataclass(frozen=True)
class InForce:
    """What all layers of a host come to, and which version of each it is; a layer of which none is has no entry."""

    policy: PolicyDocument
    versions: Mapping[str, int]


@dataclass(frozen=True)
class _Trial:
    """How the trial of a set of versions went. `why` is None where it passed."""

    versions: Mapping[str, int]
    why: str | None
    begun: int


class StoredPolicy:
    """What an agent that is started on these tables has in force; nothing is written. Read from memory, by any thread.

    It is the newest set that did not fail its self-check here.
    """

    def __init__(self, database: Database, layers: Sequence[str], host_id: HostId, log: Log) -> None:
        """`layers` has the organisation's first. Raises DatabaseUnavailable, DatabaseDamaged."""
        self._database, self._host_id, self._log = database, host_id, log
        self.layers = tuple(layers)
        self._in_force = self._read_in_force()

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

    def _read_in_force(self) -> InForce | None:
        try:
            return read_in_force(self._database.read, self.layers, self._host_id)
        except (StoredPolicyAltered, Refused) as exc:
            # Nothing is in force then, so nothing is captured unsealed; the versions held still refuse a rollback.
            self._log.event("policy.stored-altered", why=why(exc))
            return None


class PolicyStore(StoredPolicy):
    """One host's accepted versions of all its layers, for the one agent that runs in its folder."""

    def __init__(self, database: Database, layers: Sequence[str], host_id: HostId, clock: Clock, log: Log) -> None:
        """`layers` has the organisation's first. Raises DatabaseUnavailable, DatabaseDamaged."""
        self._clock = clock
        self._lock, self._listeners = threading.Lock(), list[Callable[[], None]]()
        database.create(_SCHEMA)
        _take_over(database, layers[0])
        super().__init__(database, layers, host_id, log)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after each switch to another policy."""
        self._listeners.append(listener)

    def held(self, layers: Sequence[str] = ()) -> Mapping[str, AcceptedPolicy]:
        """Return the highest version ever accepted here of each layer that has one; `layers` for others than now."""
        with self._database.transaction() as connection:
            rows = {layer: connection.execute(_HIGHEST, (layer,)).fetchone() for layer in layers or self.layers}
        return {layer: AcceptedPolicy(layer, *row) for layer, row in rows.items() if row}

    def accepted(self, layer: str, version: int) -> AcceptedPolicy | None:
        """Return this very version as it was accepted here, None: it never was."""
        rows = self._database.read(_DOCUMENT, (layer, version))
        return AcceptedPolicy(layer, version, rows[0][0]) if rows else None

    def has(self, accepted: AcceptedPolicy) -> bool:
        """Return whether this version is kept here, and its bytes are whole."""
        rows = self._database.read(_DOCUMENT, (accepted.layer, accepted.version))
        return any(accepted.sha256 == digest == sha256(document).digest() for digest, document in rows)

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
        for number, versions, key, root, snapshot, reason, begun in self._database.read(_CHOSEN):
            return PolicySet(number, _versions(versions), Choice(key, root, snapshot), reason or "", begun)
        return None

    def failed_here(self) -> Mapping[str, int]:
        """Return the versions that together failed their self-check here; none where nothing did, or one is tried."""
        chosen, in_force = self.chosen(), self.in_force_versions()
        if chosen is None or not chosen.why or chosen.is_being_tried:
            return {}
        differ = {layer: version for layer, version in chosen.versions.items() if in_force.get(layer) != version}
        return differ or chosen.versions

    def begin_trial(self, versions: Mapping[str, int], choice: Choice, why: str) -> int:
        """Choose a set that is tried now and count it as failed until that has ended, because of `why`.

        Part of a transaction of the caller's, in which its documents were kept. Returns the set's number.
        """
        with self._database.transaction() as connection:
            return _add(connection, _Trial(versions, why, 1), choice)

    def chosen_by(self, number: int, choice: Choice) -> None:
        """Remember that a later choice is the same set. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE policy_set SET key = ?, root = ?, snapshot = ? WHERE number = ?",
                (choice.key, choice.root, choice.snapshot, number),
            )

    def begin_again(self, number: int, why: str) -> None:
        """Count a set as failed once more, until its trial has ended."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE policy_set SET why = ?, begun = begun + 1 WHERE number = ?", (why, number))

    def fail(self, number: int, why: str) -> None:
        """Remember that a set cannot be in force here. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE policy_set SET why = ?, begun = 0 WHERE number = ?", (why, number))

    def give_up(self, number: int) -> None:
        """Count one trial more than there were: giving up was recorded. Part of a transaction of the caller's."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE policy_set SET begun = begun + 1 WHERE number = ?", (number,))

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

    def restore(self) -> None:
        """Where nothing is in force, put in force what an agent that is started now has."""
        if self._in_force is None and (stored := self._read_in_force()) is not None:
            self.switch(stored.policy, stored.versions)


def read_in_force(read: Read, layers: Sequence[str], host_id: HostId) -> InForce | None:
    """Return what an agent that is started on these tables has in force, None: nothing.

    A layer that is none of the host's any more is left out. Raises StoredPolicyAltered, Malformed, WrongLayer, and what
    `read` raises.
    """
    sets = [trial.versions for trial in reversed(_of_former(read, layers[0])) if trial.why is None]
    if not sets and _has(read, "policy_set"):
        sets = [_versions(row) for (row,) in read(_IN_FORCE, ())]
    if not sets:
        return None
    ours = {layer: sets[0][layer] for layer in layers if layer in sets[0]}
    return InForce(_effective(read, layers, host_id, ours), ours)


def read_held(read: Read, layers: Sequence[str]) -> Mapping[str, int]:
    """Return the highest version ever accepted of each layer that has one. Raises what `read` raises."""
    if not _has(read, "accepted_policy"):
        return {}
    return {layer: version for layer in layers for version, _ in read(_HIGHEST, (layer,))}


def _take_over(database: Database, layer: str) -> None:
    """Make sets of what an agent did here that knows one layer and no sets, also where it came back in between."""
    with database.transaction() as connection:
        for trial in _of_former(database.read, layer):
            _add(connection, trial, Choice())
        connection.execute("DROP TABLE IF EXISTS failed_policy")


def _add(connection: sqlite3.Connection, trial: _Trial, choice: Choice) -> int:
    row = connection.execute(
        "INSERT INTO policy_set (versions, key, root, snapshot, why, begun) VALUES (?, ?, ?, ?, ?, ?) RETURNING number",
        (
            canonical.encode(dict(trial.versions)).decode(),
            *(choice.key, choice.root, choice.snapshot),
            trial.why,
            trial.begun,
        ),
    ).fetchone()
    return int(row[0])


def _of_former(read: Read, layer: str) -> list[_Trial]:
    """Return what is to become sets of what an agent did that knew `layer` alone, the newest last.

    It acted by the highest version that did not fail, and said so of failures in a table of its own, which it makes at
    each start and which goes when its work is taken over. Versions of which there is a set need no other one: what is
    in force does not follow from what is accepted alone.
    """
    sets = [_versions(row) for (row,) in read(_ALL_SETS, ())] if _has(read, "policy_set") else []
    if not _has(read, "accepted_policy") or (sets and not _has(read, "failed_policy")):
        return []
    former = _former(read, layer)
    went_on = [_Trial({layer: version}, None, 0) for version, reason, _ in former if reason is None]
    failed = [_Trial({layer: version}, reason, begun) for version, reason, begun in former[:1] if reason is not None]
    known = {versions.get(layer) for versions in sets}
    parts = {name: version for name, version in (sets[-1] if sets else {}).items() if name != layer}
    return [
        replace(trial, versions={**trial.versions, **parts})
        for trial in (*went_on[:1], *failed)
        if trial.versions[layer] not in known
    ]


def _former(read: Read, layer: str) -> list[tuple[int, str | None, int]]:
    """Return the accepted versions of `layer`, the highest first, each with why it failed and its trials."""
    if not _has(read, "failed_policy"):
        return [(version, None, 0) for version, _ in read(_HIGHEST, (layer,))]
    return read(
        "SELECT version, why, begun FROM accepted_policy LEFT JOIN failed_policy USING (layer, version) "
        "WHERE layer = ? ORDER BY version DESC",
        (layer,),
    )


def _effective(read: Read, layers: Sequence[str], host_id: HostId, versions: Mapping[str, int]) -> PolicyDocument:
    documents = [_document(read, layer, versions[layer]) for layer in layers if layer in versions]
    if not documents:
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
