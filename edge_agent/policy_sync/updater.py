"""Takes offered bundles through TUF and our own rule, and switches to what both accept.

The order: head and layers verified by python-tuf's client workflow; the documents parsed and put together;
`shared.policy.accept` for each layer; kept durably together with their audit record; tried; only then in force.
Whatever is refused leaves everything as it was, in all layers. What this host cannot act by is accepted and not in
force: capture goes on by what was before, and that is said.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from edge_agent.audit.journal import Journal
from edge_agent.boundary import contained
from edge_agent.database import Database
from edge_agent.log import Log, why
from edge_agent.policy_sync.delegation import Delegation, read_delegation
from edge_agent.policy_sync.layers import HostPolicy, read_layers
from edge_agent.policy_sync.store import PolicyStore
from edge_agent.policy_sync.verification import LayerNotHere, MetadataRollback, PolicyVerification
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject, readable
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import HostId
from shared.policy.accept import AcceptedPolicy, WrongLayer, accept
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import PolicyDocument

_MAX_ERROR_CHARS = 500
# A broker that offers ever new forgeries must not fill the journal; past this many they are only logged.
_MOST_REFUSALS_RECORDED = 64
_ENDED, _MOST_TRIALS = "the agent ended while it was tried", 3


class PolicyUpdater:
    """Safe to offer to from any thread. `layers` are those that concern this host, the organisation's first."""

    def __init__(
        self,
        *,
        layers: Sequence[str],
        trust_folder: Path,
        policy_root: bytes,
        host_id: HostId,
        store: PolicyStore,
        journal: Journal,
        database: Database,
        log: Log,
        on_layer_missing: Callable[[], None] = lambda: None,
        on_refused: Callable[[], None] = lambda: None,
        on_current: Callable[[bytes, Mapping[str, bytes]], None] = lambda _head, _layers: None,
        self_check: Callable[[PolicyDocument], None] = lambda _policy: None,
    ) -> None:
        """`on_current` gets head and layers as they came, whenever they hold: others verify them for themselves."""
        self._layers, self._trust_folder = tuple(layers), trust_folder
        self._verification = PolicyVerification(
            layers=layers, host=host_id, folder=trust_folder, root=policy_root, on_discarded=self._trust_discarded
        )
        self._host_id, self._store, self._journal, self._database = host_id, store, journal, database
        self._log, self._on_layer_missing, self._on_refused = log, on_layer_missing, on_refused
        self._on_current = on_current
        self._lock = threading.Lock()
        self._pending: HeadBundle | None = None  # a head that waits for its layers
        self._bundles: dict[str, LayerBundle] = {}  # each layer as it came last
        self._done = b""  # digest of the head that was accepted last
        self._refusals: set[bytes] = set()
        self._self_check = self_check
        self.refused = ""  # why the last offer was; empty when it was not
        self._failed = ""  # why what was chosen last is not in force
        self._try_again()

    @property
    def error(self) -> str:
        """Return why the last offer was refused, or why what is accepted is not in force; empty where nothing is."""
        text = "; ".join(filter(None, (self.refused, self._failed)))
        return readable(text, _MAX_ERROR_CHARS) if text else ""

    def offer_head(self, data: bytes) -> None:
        """Take a head bundle as it came from the broker or the centre.

        Raises DatabaseUnavailable, TrustCacheUnavailable: offer it again. A refused offer does not raise: it is
        recorded, and `error` says why.
        """
        with self._lock:
            if sha256(data).digest() == self._done:
                self.refused = ""
            else:
                self._judge(data, lambda: self._try(HeadBundle.parse(data)))

    def offer_layer(self, data: bytes) -> None:
        """Take a layer bundle; otherwise as `offer_head`."""
        with self._lock:
            self._judge(data, lambda: self._take_layer(LayerBundle.parse(data)))

    def delegation(self) -> Delegation:
        """Return who signs for this host's layers, who are the same for all, by the metadata that was verified last.

        Raises TrustCacheUnavailable, NotDelegated, MetadataInvalid.
        """
        with self._lock:
            return read_delegation(self._trust_folder, self._layers[0], self._verification)

    def _take_layer(self, bundle: LayerBundle) -> None:
        if bundle.layer not in self._layers:
            raise WrongLayer(offered=bundle.layer, expected=" or ".join(self._layers))
        self._bundles[bundle.layer] = bundle
        if self._pending is not None:
            self._try(self._pending)

    def _judge(self, data: bytes, work: Callable[[], None]) -> None:
        try:
            work()
        except LayerNotHere as exc:
            self.refused = readable(why(exc), _MAX_ERROR_CHARS)
            self._log.event("policy.layer-missing", layer=exc.layer)
            self._on_layer_missing()
        except (Refused, IntegrityFailure) as exc:
            self._refuse(data, exc)
            if self._pending is not None:
                self._on_layer_missing()

    def _refuse(self, data: bytes, exc: Refused | IntegrityFailure) -> None:
        self.refused = readable(why(exc), _MAX_ERROR_CHARS)
        offer = sha256(data + self.refused.encode()).digest()
        if offer in self._refusals:
            return
        self._log.event("policy.refused", why=why(exc))
        if len(self._refusals) >= _MOST_REFUSALS_RECORDED:
            return
        self._record(Event.POLICY_REFUSED, Outcome.SERIOUS_FAILURE, self.refused, self._layers)
        self._refusals.add(offer)
        self._on_refused()

    def _try(self, head: HeadBundle) -> None:
        held = self._store.held()
        try:
            verified = self._verification.verify(head, self._bundles, held)
        except LayerNotHere:
            self._pending = head
            raise
        offered = read_layers(verified, self._host_id)
        for newest in offered.newest:
            accept(newest, held.get(newest.layer))
        for acts in offered.acts_by:  # of a roll-out's earlier version too there is one story only
            accept(acts, self._store.accepted(acts.layer, acts.version))
        self._take(offered, held)
        self._on_current(head.encode(), {each.layer: self._bundles[each.layer].encode() for each in verified})
        self._pending, self._done, self.refused = None, sha256(head.encode()).digest(), ""

    def _take(self, offered: HostPolicy, held: Mapping[str, AcceptedPolicy]) -> None:
        """Keep what is new, and try it where this host is to act by something else than before.

        Raises MetadataRollback: a choice that was replaced comes again, which TUF sees only while it has its cache.
        """
        chosen, versions = self._store.chosen(), _versions(offered.acts_by)
        is_chosen = chosen is not None and chosen.versions == versions
        is_lost = self._store.in_force() is None and (chosen is None or not chosen.why)
        is_new = any(held.get(each.layer) != each for each in offered.newest)
        if is_chosen and not is_lost and not is_new:
            return
        order = self._verification.order()
        if chosen is not None and not is_chosen and not is_new and order < chosen.order:
            raise MetadataRollback(f"snapshot {order[1]} is from before {chosen.order[1]}, which chose among the same")
        with self._database.transaction():
            for accepted, document in offered.documents.items():
                self._store.keep(accepted, document)
            # What was in force before and is mended stays so, whatever comes in between.
            kept = chosen.number if chosen is not None and is_chosen else None
            number = self._store.begin_trial(versions, order, _ENDED) if kept is None else kept
            self._record_accepted(offered, held, chosen.versions if chosen is not None else {})
        if len(self._refusals) >= _MOST_REFUSALS_RECORDED:
            self._refusals.clear()
        if is_lost or not is_chosen:
            self._try_out(number, versions, offered.effective.policy)

    def _record_accepted(
        self, offered: HostPolicy, held: Mapping[str, AcceptedPolicy], before: Mapping[str, int]
    ) -> None:
        """Record the layers that changed, or all where what is on the disk is only mended."""
        pairs = list(zip(offered.newest, offered.acts_by, strict=True))
        # Of the same newest version another choice: its turn came, or it was taken back.
        chosen_anew = [
            newest
            for newest, acts in pairs
            if held.get(newest.layer) == newest and before.get(acts.layer) != acts.version
        ]
        changed = [pair for pair in pairs if held.get(pair[0].layer) != pair[0] or pair[0] in chosen_anew] or pairs
        by_rollout = [
            _named(acts.layer, acts.version) for newest, acts in changed if acts != newest or newest in chosen_anew
        ]
        reason = f"by a roll-out this host acts by {', '.join(by_rollout)}" if by_rollout else ""
        names = [_named(newest.layer, newest.version) for newest, _ in changed]
        self._record(Event.POLICY_ACCEPTED, Outcome.SUCCESS, reason, names)
        for newest, acts in changed:
            self._log.event("policy.accepted", layer=newest.layer, version=newest.version, acts_by=acts.version)

    def _try_out(self, number: int, versions: Mapping[str, int], policy: PolicyDocument) -> None:
        failures: list[str] = []

        def check() -> None:
            try:
                self._self_check(policy)
            except (Refused, IntegrityFailure, Unavailable) as exc:
                failures.append(readable(why(exc), _MAX_ERROR_CHARS))

        if not contained(self._log, "policy.self-check", check):
            failures.append("an error that nobody expected, which the agent's log has with its place")
        if failures:
            self._not_in_force(number, versions, failures[0])
            return
        self._store.passed(number)
        self._failed = ""
        self._store.switch(policy, versions)

    def _not_in_force(self, number: int, versions: Mapping[str, int], reason: str) -> None:
        with self._database.transaction():
            self._store.fail(number, reason)
            names = [_named(layer, version) for layer, version in self._differs(versions).items()]
            self._record(Event.POLICY_FAILED, Outcome.SERIOUS_FAILURE, reason, names)
        self._log.event("policy.failed-here", policy=_said(versions), why=reason)
        self._say_failed(versions, reason)
        self._on_refused()

    def _try_again(self) -> None:
        """Try what failed here once more: what this host lacked may be there now."""
        chosen = self._store.chosen()
        if chosen is None or not chosen.why:
            return
        self._say_failed(chosen.versions, chosen.why)
        if chosen.begun >= _MOST_TRIALS:
            return  # it ended as many starts, and may end this one too
        self._store.begin_again(chosen.number, _ENDED)
        try:
            policy = self._store.effective(chosen.versions)
        except (IntegrityFailure, Refused) as exc:
            self._not_in_force(chosen.number, chosen.versions, readable(why(exc), _MAX_ERROR_CHARS))
        else:
            self._try_out(chosen.number, chosen.versions, policy)

    def _say_failed(self, versions: Mapping[str, int], reason: str) -> None:
        before, failed = self._store.in_force_versions(), self._differs(versions)
        stays = {layer: version for layer, version in before.items() if layer in failed} or before
        goes_on = f"{_said(stays)} goes on" if stays else "none is in force"
        self._failed = f"{_said(failed)} failed its self-check here, {goes_on}: {reason}"

    def _differs(self, versions: Mapping[str, int]) -> Mapping[str, int]:
        """Return those of `versions` that are not in force, in the layers' order; all where every one is."""
        before = self._store.in_force_versions()
        ordered = {layer: versions[layer] for layer in self._layers if layer in versions}
        return {layer: version for layer, version in ordered.items() if before.get(layer) != version} or ordered

    def _trust_discarded(self, exc: OSError) -> None:
        self._log.event("policy.trust-cache-discarded", why=why(exc))

    def _record(self, event: Event, outcome: Outcome, reason: str, names: Iterable[str]) -> None:
        who = (Participant("host", str(self._host_id), True),)
        what = tuple(Subject("policy", name) for name in names)
        self._journal.record(Happening(event, Action.UPDATE, outcome, who, what, reason))


def _versions(policies: Iterable[AcceptedPolicy]) -> dict[str, int]:
    return {each.layer: each.version for each in policies}


def _named(layer: str, version: int) -> str:
    return f"{layer} {version}"


def _said(versions: Mapping[str, int]) -> str:
    return ", ".join(_named(layer, version) for layer, version in versions.items())
