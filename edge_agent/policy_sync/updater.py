"""Takes offered bundles through TUF and our own rule, and switches to what both accept.

The order: head and layers verified by python-tuf's client workflow; the documents parsed and put together;
`shared.policy.accept` for each layer; kept durably together with their audit record; tried; only then in force.
Whatever is refused leaves everything as it was, in all layers. What this host cannot act by is accepted and not in
force: capture goes on by what was before, and that is said.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

from edge_agent.audit.journal import Journal
from edge_agent.boundary import contained
from edge_agent.database import Database
from edge_agent.log import Log, why
from edge_agent.policy_sync.candidates import Candidates
from edge_agent.policy_sync.change import Change, LayerChange, change, every_layer
from edge_agent.policy_sync.delegation import Delegation, read_delegation
from edge_agent.policy_sync.layers import HostPolicy, read_layers
from edge_agent.policy_sync.store import MOST_TRIALS, PolicySet, PolicyStore
from edge_agent.policy_sync.verification import LayerNotHere, PolicyVerification
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import readable
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import HostId
from shared.policy.accept import WrongLayer, accept
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import PolicyDocument

_MAX_ERROR_CHARS = 500
# A broker that offers ever new forgeries must not fill the journal; past this many they are only logged.
_MOST_REFUSALS_RECORDED = 64
_ENDED = "the agent ended while it was tried"
_PASSED_NOW = "it failed here before, and passes its self-check now"


class PolicyUpdater:
    """Safe to offer to from any thread. What it brings in force are the layers of `store`."""

    def __init__(
        self,
        *,
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
        self._layers, self._trust_folder = store.layers, trust_folder
        self._verification = PolicyVerification(
            layers=store.layers, host=host_id, folder=trust_folder, root=policy_root, on_discarded=self._trust_discarded
        )
        self._host_id, self._store, self._journal, self._database = host_id, store, journal, database
        self._log, self._on_layer_missing, self._on_refused = log, on_layer_missing, on_refused
        self._on_current = on_current
        self._lock = threading.Lock()
        self._is_over = False  # this host has other layers, which an updater that is made anew goes by
        self._pending: HeadBundle | None = None  # a head that waits for its layers; it itself is verified
        self._bundles = Candidates()
        self._done = b""  # digest of the head that was accepted last
        self._refusals: set[bytes] = set()
        self._self_check = self_check
        self.refused = ""  # why the last offer was; empty when it was not
        self._failed = ""  # why what was chosen last is not in force
        self._is_doubted = False  # something was refused, and the centre has not given what holds since
        self._try_again()

    @property
    def error(self) -> str:
        """Return why the last offer was refused, or why what is accepted is not in force; empty where nothing is."""
        text = "; ".join(filter(None, (self.refused, self._failed)))
        return readable(text, _MAX_ERROR_CHARS) if text else ""

    @property
    def is_settled(self) -> bool:
        """Return whether nothing stands refused and no head waits: what came last is what holds."""
        return not self.refused and not self._is_doubted and self._pending is None

    def offer(self, head: bytes | None, layers: Iterable[bytes]) -> None:
        """Take what the centre itself gave, all of it before anything that somebody else gives meanwhile.

        `head` is None where it gave none, or the one that it gave before. Raises as `offer_head` does.
        """
        with self._lock:
            if self._is_over:
                return
            for layer in layers:
                self._judge(layer, partial(self._take_layer, layer, self._bundles.pull))
            if head is not None:
                self._take_head(head)
                self._is_doubted = self._is_doubted and sha256(head).digest() != self._done
            elif self._pending is not None:
                self._judge(self._pending.encode(), partial(self._try, self._pending))

    def offer_head(self, data: bytes) -> None:
        """Take a head bundle that somebody brought.

        Raises DatabaseUnavailable, TrustCacheUnavailable: offer it again. A refused offer does not raise: it is
        recorded, and `error` says why.
        """
        with self._lock:
            if not self._is_over:
                self._take_head(data)

    def offer_layer(self, data: bytes) -> None:
        """Take a layer bundle that somebody brought; otherwise as `offer_head`."""
        with self._lock:
            if not self._is_over:
                self._judge(data, lambda: self._take_hint(data))

    @contextmanager
    def held_still(self) -> Iterator[Callable[[], None]]:
        """Take no offer meanwhile, and none ever after once what is handed out was called."""
        with self._lock:
            yield self._end

    def _end(self) -> None:
        self._is_over = True

    def delegation(self) -> Delegation:
        """Return who signs for this host's layers, who are the same for all, by the metadata that was verified last.

        Raises TrustCacheUnavailable, NotDelegated, MetadataInvalid.
        """
        with self._lock:
            return read_delegation(self._trust_folder, self._layers[0], self._verification)

    def _take_head(self, data: bytes) -> None:
        if sha256(data).digest() != self._done:
            self._judge(data, lambda: self._try(HeadBundle.parse(data)))
        elif self._pending is None:
            self.refused = ""

    def _take_hint(self, data: bytes) -> None:
        self._take_layer(data, lambda bundle: self._bundles.hint(bundle, self._pending))
        if self._pending is not None:
            self._try(self._pending)

    def _take_layer(self, data: bytes, keep: Callable[[LayerBundle], None]) -> None:
        bundle = LayerBundle.parse(data)
        if bundle.layer not in self._layers:
            raise WrongLayer(offered=bundle.layer, expected=" or ".join(self._layers))
        keep(bundle)

    def _judge(self, data: bytes, work: Callable[[], None]) -> None:
        try:
            work()
        except LayerNotHere as exc:
            self._is_doubted = True
            self.refused = readable(why(exc), _MAX_ERROR_CHARS)
            self._log.event("policy.layer-missing", layer=exc.layer)
            self._on_layer_missing()
        except (Refused, IntegrityFailure) as exc:
            self._refuse(data, exc)
            if self._pending is not None:
                self._on_layer_missing()

    def _refuse(self, data: bytes, exc: Refused | IntegrityFailure) -> None:
        self._is_doubted = True
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
        held, bundles = self._store.held(), self._bundles.fitting(head)
        try:
            verified = self._verification.verify(head, bundles, held)
        except LayerNotHere:
            self._pending = head
            raise
        offered = read_layers(verified, self._host_id)
        for newest in offered.newest:
            accept(newest, held.get(newest.layer))
        for each in offered.documents:  # of a roll-out's earlier version too there is one story only
            accept(each, self._store.accepted(each.layer, each.version))
        changed = change(offered, self._verification.choice(), held, self._store.chosen())
        self._take(offered, changed)
        taken = [bundles[each.layer] for each in verified]
        self._bundles.accept(taken)
        self._on_current(head.encode(), {bundle.layer: bundle.encode() for bundle in taken})
        self._pending, self._done, self.refused = None, sha256(head.encode()).digest(), ""

    def _take(self, offered: HostPolicy, changed: Change) -> None:
        """Keep what is new, or not whole here, and try it where this host is to act by something else than before."""
        unkept = {each: data for each, data in offered.documents.items() if not self._store.has(each)}
        is_mended = any(self._store.accepted(each.layer, each.version) for each in unkept)
        was_cut_off = self._was_cut_off()
        if changed.confirms is not None and not (changed.layers or changed.is_later or unkept or was_cut_off):
            return
        with self._database.transaction():
            for accepted, document in unkept.items():
                self._store.keep(accepted, document)
            number = self._choose(changed)
            if changed.layers or is_mended:
                self._record_accepted(changed.layers or every_layer(offered))
        if changed.layers and len(self._refusals) >= _MOST_REFUSALS_RECORDED:
            self._refusals.clear()
        self._store.restore()
        if changed.versions == self._store.in_force_versions():
            self._store.passed(number)
            self._failed = ""
        elif changed.confirms is None:
            self._try_out(number, changed.versions, offered.effective.policy, again=False)
        elif is_mended or was_cut_off:
            self._try_again()

    def _was_cut_off(self) -> bool:
        """Return whether a trial was begun and never ended though this agent goes on: its disk failed in between."""
        chosen = self._store.chosen()
        return chosen is not None and bool(chosen.why) and chosen.is_being_tried

    def _choose(self, changed: Change) -> int:
        """Return the number of the set that is chosen now. Part of a transaction of the caller's."""
        if changed.confirms is None:
            return self._store.begin_trial(changed.versions, changed.choice, _ENDED)
        if changed.is_later:
            self._store.chosen_by(changed.confirms, changed.choice)
        return changed.confirms

    def _record_accepted(self, layers: Collection[LayerChange]) -> None:
        by_rollout = [_named(each.acts_by.layer, each.acts_by.version) for each in layers if each.is_by_rollout]
        reason = f"by a roll-out this host acts by {', '.join(by_rollout)}" if by_rollout else ""
        names = [_named(each.newest.layer, each.newest.version) for each in layers]
        self._record(Event.POLICY_ACCEPTED, Outcome.SUCCESS, reason, names)
        for each in layers:
            layer, version = each.newest.layer, each.newest.version
            self._log.event("policy.accepted", layer=layer, version=version, acts_by=each.acts_by.version)

    def _try_out(self, number: int, versions: Mapping[str, int], policy: PolicyDocument, *, again: bool) -> None:
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
        with self._database.transaction():
            self._store.passed(number)
            if again:  # or the journal's last word would be that it failed
                self._record(Event.POLICY_ACCEPTED, Outcome.SUCCESS, _PASSED_NOW, self._not_yet(versions))
        self._failed = ""
        self._store.switch(policy, versions)

    def _not_in_force(self, number: int, versions: Mapping[str, int], reason: str) -> None:
        with self._database.transaction():
            self._store.fail(number, reason)
            self._record(Event.POLICY_FAILED, Outcome.SERIOUS_FAILURE, reason, self._not_yet(versions))
        self._log.event("policy.failed-here", policy=_said(versions), why=reason)
        self._say_failed(versions, reason)
        self._on_refused()

    def _try_again(self) -> None:
        """Try what failed here once more: what this host lacked may be there now."""
        chosen = self._store.chosen()
        if chosen is None or not chosen.why:
            return
        self._say_failed(chosen.versions, chosen.why)
        if chosen.begun >= MOST_TRIALS:  # it ended as many starts, and may end this one too
            self._give_up(chosen)
            return
        self._store.begin_again(chosen.number, _ENDED)
        try:
            policy = self._store.effective(chosen.versions)
        except (IntegrityFailure, Refused) as exc:
            self._not_in_force(chosen.number, chosen.versions, readable(why(exc), _MAX_ERROR_CHARS))
        else:
            self._try_out(chosen.number, chosen.versions, policy, again=True)

    def _give_up(self, chosen: PolicySet) -> None:
        """Record once that what ended so many starts is not tried any more."""
        if chosen.begun > MOST_TRIALS:
            return
        with self._database.transaction():
            self._store.give_up(chosen.number)
            self._record(Event.POLICY_FAILED, Outcome.SERIOUS_FAILURE, chosen.why, self._not_yet(chosen.versions))

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

    def _not_yet(self, versions: Mapping[str, int]) -> list[str]:
        return [_named(layer, version) for layer, version in self._differs(versions).items()]

    def _trust_discarded(self, exc: OSError) -> None:
        self._log.event("policy.trust-cache-discarded", why=why(exc))

    def _record(self, event: Event, outcome: Outcome, reason: str, names: Iterable[str]) -> None:
        who = (Participant("host", str(self._host_id), True),)
        what = tuple(Subject("policy", name) for name in names)
        self._journal.record(Happening(event, Action.UPDATE, outcome, who, what, reason))


def _named(layer: str, version: int) -> str:
    return f"{layer} {version}"


def _said(versions: Mapping[str, int]) -> str:
    return ", ".join(_named(layer, version) for layer, version in versions.items())
