"""Publishes policies: checks what a person signed, signs snapshot and timestamp over it, keeps and announces it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from threading import RLock
from typing import NamedTuple, Protocol, TypeAlias

from sqlalchemy.orm import Session, sessionmaker
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.keys.store import POLICY_TRUST, RECEIPTS, KeyStore
from control_plane.policy import happenings, sql
from control_plane.policy.dangers import dangers
from control_plane.policy.exchange import LayerAddition, PolicyParts, Publication, RootChange
from control_plane.policy.layers_added import verify_layers_added
from control_plane.policy.online import OnlineKeys
from control_plane.policy.roles import (
    ONLINE_HOLDS_FOR,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    build_snapshot,
    build_timestamp,
    held_keys,
    is_signed_with,
    name_of,
    parse_role,
    sign_role,
    signed_by,
)
from control_plane.policy.root_change import WHENEVER, verify_root_change
from control_plane.policy.rows import (
    Current,
    NotEstablished,
    held_of,
    layer_row,
    load,
    mark_recorded,
    recorded_version,
    role_row,
)
from control_plane.policy.together import LayerDocument, parse_document
from control_plane.policy.verify import (
    CentreKeys,
    Held,
    LayerNotDelegated,
    NothingStable,
    Verifier,
    layer_version,
    verify_head,
    verify_online_key,
    verify_publication,
    verify_roots,
    verify_signers_agree,
    verify_targets,
)
from shared.audit.events import Happening
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import CONTROL_PLANE
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.policy.rollout import EVERYBODY, Rings

# Half the life of snapshot and timestamp: a centre that is down for a week strands no host.
_REFRESH_BEFORE = ONLINE_HOLDS_FOR / 2

_log = logging.getLogger(__name__)


class RootReplaced(IntegrityFailure):
    """A host enrolled now would obey whoever did this."""

    def __init__(self) -> None:
        super().__init__("the first policy root in the database is not the one this control plane was made with")


class AlreadyEstablished(Refused):
    def __init__(self) -> None:
        super().__init__("a policy root is established here already; it is never overwritten")


class RolloutOpen(Refused):
    """Hosts go by two versions of a layer; a third would leave nothing that all of them have."""

    def __init__(self, layer: str, version: int) -> None:
        super().__init__(
            f"version {version} of layer {layer} is being rolled out, and what is signed next has to follow what every "
            f"host has; let it finish, or take it back: leadglass-server policy rollout revert --layer {layer}"
        )
        self.layer, self.version = layer, version


class RingsMissing(Refused):
    def __init__(self, layer: str, version: int) -> None:
        super().__init__(
            f"version {version} of layer {layer} is signed to be rolled out; say in which rings "
            "(--canary HOST, --ring 10%), or have it signed without"
        )
        self.layer, self.version = layer, version


class SecondPersonNeeded(Refused):
    def __init__(self, layer: str, found: Sequence[str], others: Sequence[str], *, rings: bool = False) -> None:
        super().__init__(
            f"this change of layer {layer} may do harm, so a second person has to sign it ({', '.join(others)}): "
            f"{'; '.join(found)}. Write a draft with `leadglass-server policy propose FILE{' --rings' * rings} --out "
            "DRAFT`, and have them run `leadglass-server policy sign DRAFT`"
            + ("; then publish the draft with the same options of rings" if rings else "")
        )
        self.layer, self.found = layer, tuple(found)


class DangersUnseen(Refused):
    """Two people signed, and one of them may have been shown less than there is: what a draft follows is not signed."""

    def __init__(self, layer: str, found: Sequence[str]) -> None:
        super().__init__(
            f"this change of layer {layer} was not signed as one that may do harm in these ways: {'; '.join(found)}. "
            "What it follows has changed since, or whoever signed it was shown something else; propose it anew, and "
            "have them look again"
        )
        self.layer, self.found = layer, tuple(found)


class Journal(Protocol):
    def record(self, happening: Happening) -> None:
        """Keep the happening so that, once this returns, it survives a power cut."""


OnPublished: TypeAlias = Callable[[HeadBundle, tuple[LayerBundle, ...]], None]
AddedVerifier: TypeAlias = Callable[[LayerAddition, Held, datetime], Targets]
WholeVerifier: TypeAlias = Callable[[HeadBundle, tuple[LayerBundle, ...], datetime], None]


@dataclass(frozen=True)
class PublishedPolicy:
    """One version of one layer, as history tells it."""

    layer: str
    version: int
    published: datetime
    person: str
    sha256: bytes  # of the policy document


class Published(NamedTuple):
    """What is published, and how far each layer is that does not have its newest version at everybody."""

    head: HeadBundle | None
    layers: tuple[LayerBundle, ...]
    rollouts: Mapping[str, Rings]

    def layer(self, name: str) -> LayerBundle | None:
        return next((layer for layer in self.layers if layer.layer == name), None)

    def is_everywhere(self, layer: str) -> bool:
        """Return whether every host acts by the newest version of a layer."""
        return layer not in self.rollouts or self.rollouts[layer].percent == EVERYBODY

    def is_taken_back(self, layer: str) -> bool:
        return self.rollouts.get(layer) == Rings()

    def acted_by(self) -> dict[str, tuple[LayerDocument, ...]]:
        """Return, by layer, the policies by which hosts act, or did a moment ago: two until all have the newest one."""
        return {
            layer.layer: tuple(
                parse_document(layer.layer, data)
                for data in ((layer.policy,) if self.is_everywhere(layer.layer) else (layer.policy, layer.stable))
            )
            for layer in self.layers
        }


@dataclass(frozen=True)
class FirstRing:
    """Whom a publication reaches first; `note` keeps what else is known of the roll-out, in the same commit."""

    rings: Rings
    note: Callable[[Session, int], None]


class PolicyPublisher:
    """The one place through which policy metadata enters the database.

    What is published is whole or not there: all its rows are one commit. Several processes may share the database;
    of two that publish at once, the second one finds its version taken.
    """

    def __init__(
        self,
        database: sessionmaker[Session],
        keys: KeyStore,
        journal: Journal,
        clock: Clock,
        verify: Verifier = verify_publication,
        verify_whole: WholeVerifier = verify_head,
        verify_added: AddedVerifier = verify_layers_added,
    ) -> None:
        self._database, self._keys, self._journal, self._clock, self._verify = database, keys, journal, clock, verify
        self._verify_whole, self._verify_added, self._online = verify_whole, verify_added, OnlineKeys(keys)
        self._subscribers: list[OnPublished] = []
        self._cached: Current | None = None
        self._lock = RLock()

    def subscribe(self, on_published: OnPublished) -> None:
        """Have `on_published` called after every publication and refresh, and by `announce`."""
        self._subscribers.append(on_published)

    def establish(self, root: bytes, targets: bytes, person: str) -> None:
        """Keep the first root and targets, which no host sees before the first publication.

        Raises AlreadyEstablished, Malformed, SignaturesMissing, PolicyExpired, WrongOnlineKey, LayerNotDelegated,
        SignersDiffer.
        """
        now = self._clock.now()
        trusted = verify_roots([root], now)
        verify_online_key(trusted, self._online.ids())
        signed = verify_targets(trusted, targets, now)
        if signed.delegations is None or ORGANISATION not in (signed.delegations.roles or {}):
            raise LayerNotDelegated(ORGANISATION)
        verify_signers_agree(trusted, signed)
        if (trusted.version, signed.version) != (1, 1):
            raise Malformed("first policy metadata", "root and targets begin with version 1")

        def add(session: Session) -> None:
            if sql.newest_version(session, ROOT):
                raise AlreadyEstablished
            self._keys.keep(session, POLICY_TRUST, sha256(root).digest())
            session.add(role_row(ROOT, trusted, root, now, person))
            session.add(role_row(TARGETS, signed, targets, now, person))

        in_one_commit(self._database, add)

    def publish(self, offered: Publication, person: str, first: FirstRing | None = None) -> int:
        """Publish what `person` signed and return its version; once this returns, every host can fetch it.

        With `first`, only the hosts of that ring go by it. A refusal leaves everything as it was. Both are recorded.
        Raises NotEstablished, DatabaseUnavailable, RolloutOpen, RingsMissing, NothingStable, SecondPersonNeeded,
        DangersUnseen, what `first.note` raises, and what `verify_publication` does: PolicyVersionTaken where another
        person was faster.
        """
        try:
            version = in_one_commit(self._database, lambda session: self._add(session, offered, person, first))
        except (Refused, IntegrityFailure) as exc:
            what = f"{offered.layer} sha256 {sha256(offered.policy).hexdigest()}"
            self._journal.record(happenings.refused(what, person, exc))
            raise
        self.announce()
        return version

    def change_root(self, offered: RootChange, person: str) -> int:
        """Publish a new root that enough people signed, with all that is signed anew under it, and return its version.

        A refusal leaves everything as it was. Both are recorded. Raises NotEstablished, DatabaseUnavailable, and what
        `verify_root_change` raises.
        """
        try:
            version = in_one_commit(self._database, lambda session: self._add_root(session, offered, person))
        except (Refused, IntegrityFailure) as exc:
            self._journal.record(happenings.refused(f"root sha256 {sha256(offered.root).hexdigest()}", person, exc))
            raise
        self.announce()
        return version

    def add_layers(self, offered: LayerAddition, person: str) -> int:
        """Publish targets that delegate more layers, once enough people signed them, and return their version.

        A refusal leaves everything as it was. Both are recorded. Raises NotEstablished, DatabaseUnavailable, and what
        `verify_layers_added` raises: PolicyVersionTaken where another person was faster.
        """
        try:
            version = in_one_commit(self._database, lambda session: self._add_targets(session, offered, person))
        except (Refused, IntegrityFailure) as exc:
            what = f"targets sha256 {sha256(offered.targets).hexdigest()}"
            self._journal.record(happenings.refused(what, person, exc))
            raise
        self.announce()
        return version

    def choose(self, layer: str, person: str, decide: Callable[[Session], Rings | None]) -> None:
        """Sign which hosts the newest version of `layer` has reached, and tell them; None: everybody.

        Also under a root that has expired, which hosts then take nothing under: a root cannot be changed while a
        roll-out is open, so it has to be possible to end one.

        `decide` answers within the one commit that this is, so what it writes and what is signed are one. It may run
        again. Raises what it raises, NothingStable, DatabaseUnavailable: then nothing was changed.
        """
        in_one_commit(self._database, lambda session: self._choose(session, layer, person, decide))
        self.announce()

    def rollouts(self) -> Mapping[str, Rings]:
        """Return how far each layer is that does not have its newest version at everybody, or may still lose it."""
        current = self._current()
        return {} if current is None else current.rollouts

    def remark(self, layer: str, version: int) -> str:
        """Return what was to be said of a publication: that nobody else could look at what may do harm."""
        with snapshot(self._database) as session:
            row = sql.row(session, layer, version)
        return "" if row is None else row.remark

    def next_online_key(self) -> bytes:
        """Return the public half, in DER, of an online key that no root names yet; make it where there is none."""
        with snapshot(self._database) as session:
            roots = sql.roots(session)
        if not roots:
            raise NotEstablished
        return self._online.unused(verify_roots(roots, WHENEVER))

    def announce(self) -> None:
        """Record and push whatever is published; call it at every start, for a crash may have come before either.

        A push that fails is logged and no more: hosts pull over HTTPS.
        """
        with self._lock:
            self._record_published()
            current = self._current()
            if current is None:
                return
            for on_published in self._subscribers:
                try:
                    on_published(current.head, current.layers)
                except (Unavailable, Refused) as exc:
                    _log.warning("policy.push-failed", extra={"why": str(exc)})
                except Exception:  # noqa: BLE001 (a task of its own: the publication stands, whatever ails a push)
                    _log.exception("policy.push-failed")

    def parts(self) -> PolicyParts:
        """Return what a publisher writes the next policy on top of. Raises NotEstablished."""
        with snapshot(self._database) as session:
            held = held_of(session, self._current_in(session))
        keys = self._centre_keys()
        next_version = layer_version(held.layers, ORGANISATION) + 1
        return PolicyParts(
            held.roots,
            held.targets,
            held.layers,
            keys.sealing,
            keys.receipts,
            next_version,
            tuple(held.taken_back),
            tuple(held.rolled_out),
        )

    def head(self) -> HeadBundle | None:
        """Return what every host fetches first, None while nothing is published."""
        current = self._current()
        return None if current is None else current.head

    def layer(self, name: str) -> LayerBundle | None:
        return self.published().layer(name)

    def acted_by(self) -> dict[str, tuple[LayerDocument, ...]]:
        """Return what `Published.acted_by` does, by the centre's own database."""
        return self.published().acted_by()

    def published(self) -> Published:
        """Return what is published, all of it of one moment."""
        current = self._current()
        return Published(None, (), {}) if current is None else Published(current.head, current.layers, current.rollouts)

    def document(self) -> PolicyDocument | None:
        """Return what the organisation's policy says."""
        held = self.layer(ORGANISATION)
        return None if held is None else PolicyDocument.parse(held.policy)

    def newest_root(self) -> bytes:
        """Return the trust anchor that a host enrolled today begins with.

        Its rows are not under the root key, the digest of the first one is. Raises NotEstablished, RootReplaced, and
        what `verify_roots` raises where the root was changed since.
        """
        with snapshot(self._database) as session:
            roots = sql.roots(session)
        if not roots:
            raise NotEstablished
        if sha256(roots[0]).digest() != self._keys.secret(POLICY_TRUST):
            raise RootReplaced
        if len(roots) > 1:
            verify_roots(roots, self._clock.now())
        return roots[-1]

    def expiries(self) -> dict[str, datetime]:
        """Return until when each role that hosts check at present holds, by role name."""
        current = self._current()
        if current is None:
            return {}
        head = current.head
        return {
            ROOT: parse_role(Root, head.roots[-1]).signed.expires,
            TARGETS: parse_role(Targets, head.targets).signed.expires,
            SNAPSHOT: parse_role(Snapshot, head.snapshot).signed.expires,
            TIMESTAMP: parse_role(Timestamp, head.timestamp).signed.expires,
            **{held.layer: parse_role(Targets, held.metadata).signed.expires for held in current.layers},
        }

    def history(self) -> tuple[PublishedPolicy, ...]:
        """Return every policy that was ever published, oldest first."""
        with snapshot(self._database) as session:
            rows = sql.published_policies(session)
        return tuple(
            PublishedPolicy(row.role, row.version, row.published, row.person, sha256(row.policy or b"").digest())
            for row in rows
        )

    def refresh_due(self, now: datetime) -> bool:
        current = self._current()
        return current is not None and now >= current.expires - _REFRESH_BEFORE

    def refresh(self) -> None:
        """Sign snapshot and timestamp anew over what is published, and push them. Without a publication, nothing.

        Raises PolicyExpired, where root or targets need a person's signature and not ours; DatabaseUnavailable.
        """
        in_one_commit(self._database, self._sign_again)
        self.announce()

    def leap(self, since: datetime) -> None:
        """Sign anew with numbers that no centre can have used that went on from here at `since`: one a second.

        Raises what `refresh` does.
        """
        ahead = 1 + max(0, int((self._clock.now() - since).total_seconds()))
        in_one_commit(self._database, partial(self._sign_again, ahead=ahead))

    def _sign_again(self, session: Session, ahead: int = 0) -> None:
        current = self._current_in(session)
        if current is not None:
            held, now = held_of(session, current), self._clock.now()
            before = replace(
                current,
                snapshot_version=current.snapshot_version + ahead,
                timestamp_version=current.timestamp_version + ahead,
            )
            self._sign_online(session, before, held, now, CONTROL_PLANE, current.rollouts)

    def _add(self, session: Session, offered: Publication, person: str, first: FirstRing | None) -> int:
        now, current = self._clock.now(), self._current_in(session)
        held = held_of(session, current)
        document = self._verify(offered, held, self._centre_keys(), now)
        rollouts = dict(current.rollouts) if current is not None else {}
        if offered.layer in held.rolled_out:
            raise RolloutOpen(offered.layer, layer_version(held.layers, offered.layer))
        remark = _looked_at(offered, held)
        session.add(layer_row(offered.bundle, document.version, now, person, remark))
        rollouts.pop(offered.layer, None)
        if first is not None:
            if not offered.stable:
                raise NothingStable(offered.layer)
            rollouts[offered.layer] = first.rings
            first.note(session, document.version)
        elif offered.stable:
            raise RingsMissing(offered.layer, document.version)
        others = tuple(layer for layer in held.layers if layer.layer != offered.layer)
        following = replace(held, layers=(*others, offered.bundle))
        self._sign_online(session, current, following, now, person, rollouts)
        return document.version

    def _choose(self, session: Session, layer: str, person: str, decide: Callable[[Session], Rings | None]) -> None:
        current = self._current_in(session)
        rings = decide(session)
        if current is None:
            raise NothingStable(layer)
        others = {name: held for name, held in current.rollouts.items() if name != layer}
        rollouts = others if rings is None else {**others, layer: rings}
        now, held = self._clock.now(), held_of(session, current)
        self._sign_online(session, current, held, now, person, rollouts, judged_at=WHENEVER)

    def _add_root(self, session: Session, offered: RootChange, person: str) -> int:
        now, current = self._clock.now(), self._current_in(session)
        held = held_of(session, current)
        for name in held.rolled_out:
            raise RolloutOpen(name, layer_version(held.layers, name))
        root, targets, documents = verify_root_change(offered, held, self._centre_keys(), self._online.ids(), now)
        session.add(role_row(ROOT, root, offered.root, now, person))
        session.add(role_row(TARGETS, targets, offered.targets, now, person))
        for layer, document in zip(offered.layers, documents, strict=True):
            session.add(layer_row(layer, document.version, now, person))
        if current is not None:
            following = Held((*held.roots, offered.root), offered.targets, offered.layers)
            self._sign_online(session, current, following, now, person, {})
        return root.version

    def _add_targets(self, session: Session, offered: LayerAddition, person: str) -> int:
        now, current = self._clock.now(), self._current_in(session)
        held = held_of(session, current)
        targets = self._verify_added(offered, held, now)
        session.add(role_row(TARGETS, targets, offered.targets, now, person))
        if current is not None:
            following = replace(held, targets=offered.targets)
            self._sign_online(session, current, following, now, person, current.rollouts)
        return targets.version

    def _sign_online(
        self,
        session: Session,
        current: Current | None,
        held: Held,
        now: datetime,
        person: str,
        rollouts: Mapping[str, Rings],
        judged_at: datetime | None = None,
    ) -> None:
        """Add the snapshot and timestamp that follow `current`, once a host that walks the whole chain accepts them.

        `judged_at` is when that host looks; None: now.
        """
        signers = [self._online.signer(parse_role(Root, held.roots[-1]).signed)]
        snapshot_version, timestamp_version = (
            (current.snapshot_version, current.timestamp_version) if current else (0, 0)
        )
        snapshot = build_snapshot(held.targets, held.layers, version=snapshot_version + 1, now=now, rollouts=rollouts)
        snapshot_bytes = sign_role(snapshot, signers)
        timestamp = build_timestamp(snapshot_bytes, version=timestamp_version + 1, now=now)
        timestamp_bytes = sign_role(timestamp, signers)
        head = HeadBundle(held.roots, timestamp_bytes, snapshot_bytes, held.targets)
        HeadBundle.parse(head.encode())  # also that no host finds it too large
        for layer in held.layers:
            LayerBundle.parse(layer.encode())
        self._verify_whole(head, held.layers, judged_at or now)
        session.add(role_row(SNAPSHOT, snapshot, snapshot_bytes, now, person))
        session.add(role_row(TIMESTAMP, timestamp, timestamp_bytes, now, person))

    def _centre_keys(self) -> CentreKeys:
        return CentreKeys(self._keys.sealing_keys(), self._keys.signer(RECEIPTS).public)

    def _current(self) -> Current | None:
        with snapshot(self._database) as session:
            return self._current_in(session)

    def _current_in(self, session: Session) -> Current | None:
        """Return what the newest timestamp names. Rows never change, so one number says whether ours is still it."""
        version, cached = sql.newest_version(session, TIMESTAMP), self._cached
        if version == 0:
            return None
        if cached is None or cached.timestamp_version != version:
            self._cached = cached = load(session, version)
        return cached

    def _record_published(self) -> None:
        """Record each publication that no record tells of yet: at least once, for a crash may part the two writes."""
        with snapshot(self._database) as session:
            changed = (*sql.changed(session, ROOT), *sql.changed(session, TARGETS))
            published = (*changed, *sql.published_policies(session))
            recorded = {row.role: recorded_version(session, row.role) for row in published}
            names = happenings.names_of(sql.roots(session))
        for row in published:
            if row.version <= recorded[row.role]:
                continue
            self._journal.record(happenings.published(row, names))
            in_one_commit(self._database, partial(mark_recorded, row=row))


def _looked_at(offered: Publication, held: Held) -> str:
    """Return what is to be recorded of a change that may do harm and that nobody but its author could look at.

    Raises SecondPersonNeeded where there is somebody, who did not, and DangersUnseen where they saw something else.
    """
    found = dangers(offered.bundle, held)
    keys = held_keys(parse_role(Targets, held.targets).signed, offered.layer).keys
    metadata = parse_role(Targets, offered.metadata)
    mine = signed_by(keys, metadata)
    if not found:
        return ""
    if len(keys) == 1:
        return f"nobody else could look at what may do harm: {'; '.join(found)}"
    if len(mine) < 2:
        others = [name_of(key) for key in keys if key.keyid not in mine]
        raise SecondPersonNeeded(offered.layer, found, others, rings=bool(offered.stable))
    if not is_signed_with(metadata.signed, found):
        raise DangersUnseen(offered.layer, found)
    return ""
