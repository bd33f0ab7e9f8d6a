"""Takes offered bundles through TUF and our own rule, and switches to what both accept.

The order: head and layer verified by python-tuf's client workflow; the document parsed; `shared.policy.accept`; kept
durably together with its audit record; tried; only then in force. Whatever is refused leaves everything as it was. A
version that this host cannot act by is accepted and not in force: capture goes on by the one before, and that is said.
"""

import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from edge_agent.audit.journal import Journal
from edge_agent.boundary import contained
from edge_agent.database import Database
from edge_agent.log import Log, why
from edge_agent.policy_sync.delegation import Delegation, read_delegation
from edge_agent.policy_sync.store import PolicyStore
from edge_agent.policy_sync.verification import LayerNotHere, PolicyVerification
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject, readable
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import HostId
from shared.policy.accept import AcceptedPolicy, WrongLayer, accept
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import PolicyDocument

_MAX_ERROR_CHARS = 500
# A broker that offers ever new forgeries must not fill the journal; past this many they are only logged.
_MOST_REFUSALS_RECORDED = 64
_ENDED, _MOST_TRIALS = "the agent ended while it was tried", 3


class PolicyUpdater:
    """Safe to offer to from any thread. `layer` is the one layer that concerns this host."""

    def __init__(
        self,
        *,
        layer: str,
        trust_folder: Path,
        policy_root: bytes,
        host_id: HostId,
        store: PolicyStore,
        journal: Journal,
        database: Database,
        log: Log,
        on_layer_missing: Callable[[], None] = lambda: None,
        on_refused: Callable[[], None] = lambda: None,
        on_current: Callable[[bytes, bytes], None] = lambda _head, _layer: None,
        self_check: Callable[[PolicyDocument], None] = lambda _policy: None,
    ) -> None:
        self._layer, self._trust_folder = layer, trust_folder
        self._verification = PolicyVerification(
            layer=layer, folder=trust_folder, root=policy_root, on_discarded=self._trust_discarded
        )
        self._host_id, self._store, self._journal, self._database = host_id, store, journal, database
        self._log, self._on_layer_missing, self._on_refused = log, on_layer_missing, on_refused
        self._on_current = (
            on_current  # both bundles as they came, whenever they hold: others verify them for themselves
        )
        self._lock = threading.Lock()
        self._pending: HeadBundle | None = None  # a head that waits for its layer
        self._bundle: LayerBundle | None = None  # the layer as it came last
        self._done = b""  # digest of the head that was accepted last
        self._refusals: set[bytes] = set()
        self._self_check = self_check
        self.refused = ""  # why the last offer was; empty when it was not
        self._failed = ""  # why the version accepted last is not in force
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
        """Return who signs for this host's layer, by the metadata that was verified last.

        Raises TrustCacheUnavailable, NotDelegated, MetadataInvalid.
        """
        with self._lock:
            return read_delegation(self._trust_folder, self._layer, self._verification)

    def _take_layer(self, bundle: LayerBundle) -> None:
        if bundle.layer != self._layer:
            raise WrongLayer(offered=bundle.layer, expected=self._layer)
        self._bundle = bundle
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
        self._record(Event.POLICY_REFUSED, Outcome.SERIOUS_FAILURE, self.refused)
        self._refusals.add(offer)
        self._on_refused()

    def _try(self, head: HeadBundle) -> None:
        try:
            document = self._verification.verify(head, self._bundle, self._store.held())
        except LayerNotHere:
            self._pending = head
            raise
        policy = PolicyDocument.parse(document)
        if policy.layer != self._layer:
            raise WrongLayer(offered=policy.layer, expected=self._layer)
        held = self._store.held()
        accepted = accept(AcceptedPolicy(policy.layer, policy.version, sha256(document).digest()), held)
        if accepted != held or (self._store.in_force() is None and self._store.failed() is None):
            self._put_in_force(accepted, document, policy)
        if self._bundle is not None:
            self._on_current(head.encode(), self._bundle.encode())
        self._pending, self._done, self.refused = None, sha256(head.encode()).digest(), ""

    def _put_in_force(self, accepted: AcceptedPolicy, document: bytes, policy: PolicyDocument) -> None:
        is_new = accepted != self._store.held()
        with self._database.transaction():
            self._store.keep(accepted, document)
            if is_new:  # what was in force before and is mended stays so, whatever comes in between
                self._store.begin_trial(policy.version, _ENDED)
            self._record(Event.POLICY_ACCEPTED, Outcome.SUCCESS, "", policy.version)
        if len(self._refusals) >= _MOST_REFUSALS_RECORDED:
            self._refusals.clear()
        self._log.event("policy.accepted", layer=policy.layer, version=policy.version)
        self._try_out(policy)

    def _try_out(self, policy: PolicyDocument) -> None:
        failures: list[str] = []

        def check() -> None:
            try:
                self._self_check(policy)
            except (Refused, IntegrityFailure, Unavailable) as exc:
                failures.append(readable(why(exc), _MAX_ERROR_CHARS))

        if not contained(self._log, "policy.self-check", check):
            failures.append("an error that nobody expected, which the agent's log has with its place")
        if failures:
            self._not_in_force(policy.version, failures[0])
            return
        self._store.passed(policy.version)
        self._failed = ""
        self._store.switch(policy)

    def _not_in_force(self, version: int, reason: str) -> None:
        with self._database.transaction():
            self._store.fail(version, reason)
            self._record(Event.POLICY_FAILED, Outcome.SERIOUS_FAILURE, reason, version)
        self._log.event("policy.failed-here", version=version, why=reason)
        self._say_failed(version, reason)
        self._on_refused()

    def _try_again(self) -> None:
        """Try the accepted version that failed here once more: what this host lacked may be there now."""
        failed = self._store.failed()
        if failed is None:
            return
        self._say_failed(failed.version, failed.why)
        if failed.begun >= _MOST_TRIALS:
            return  # it ended as many starts, and may end this one too
        self._store.begin_trial(failed.version, _ENDED)
        try:
            self._try_out(self._store.document(failed.version))
        except (IntegrityFailure, Malformed) as exc:
            self._not_in_force(failed.version, readable(why(exc), _MAX_ERROR_CHARS))

    def _say_failed(self, version: int, reason: str) -> None:
        before = self._store.in_force()
        goes_on = f"version {before.version} goes on" if before is not None else "none is in force"
        self._failed = f"version {version} failed its self-check here, {goes_on}: {reason}"

    def _trust_discarded(self, exc: OSError) -> None:
        self._log.event("policy.trust-cache-discarded", why=why(exc))

    def _record(self, event: Event, outcome: Outcome, reason: str, version: int | None = None) -> None:
        name = self._layer if version is None else f"{self._layer} {version}"
        who = (Participant("host", str(self._host_id), True),)
        self._journal.record(Happening(event, Action.UPDATE, outcome, who, (Subject("policy", name),), reason))
