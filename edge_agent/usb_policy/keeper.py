"""Has offered policy verified in a child, keeps what is accepted, and tells who goes by it."""

from collections.abc import Callable

from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.log import Log, why
from edge_agent.turns import Turns
from edge_agent.usb_policy.exchange import Judgement, RefusedOffer, VerifiedPolicy
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.verifier import Verifier
from shared.devices.record import GuardEvent
from shared.errors import IntegrityFailure, Refused, Unavailable

_TIMER = "verify"
_FAR_S = 3600.0
_SERIOUS = 8


class PinnedSinceTheStart(Refused):
    """Whoever pins a root compares it first and starts the guard then, so it is not followed before."""

    def __init__(self) -> None:
        super().__init__("the policy root was pinned after the guard's start: start the guard anew to have it followed")


class PolicyKeeper:
    """`on_change` is called after each acceptance. `error` is why the last offer was refused, or empty."""

    def __init__(
        self,
        verifier: Verifier,
        store: GuardPolicyStore | None,
        turns: Turns,
        journal: GuardJournal,
        log: Log,
        on_change: Callable[[], None],
    ) -> None:
        """`store` is None where no root was pinned at the start: then nothing is in force until the next one."""
        self._verifier, self._store, self._turns = verifier, store, turns
        self._journal, self._log, self._on_change = journal, log, on_change
        self._watched: int | None = None
        self.error = ""
        turns.every(_TIMER, _FAR_S, self._go_on)

    def offer(self, head: bytes | None, layer: bytes | None) -> None:
        """Take bundles from a peer, to be verified when it is their turn. Raises Malformed."""
        self._verifier.offer(head=head or b"", layer=layer or b"")
        self._go_on()

    def stop(self) -> None:
        self._verifier.stop()

    def _go_on(self) -> None:
        judgement = self._verifier.step()
        while judgement is not None:
            self._take(judgement)
            judgement = self._verifier.step()
        if self._verifier.is_accepted:
            self.error = ""
        self._follow(self._verifier.fileno())
        wakes_in_s = self._verifier.wakes_in_s()
        if wakes_in_s is not None:
            self._turns.once_within(_TIMER, wakes_in_s)

    def _follow(self, descriptor: int | None) -> None:
        if descriptor == self._watched:
            return
        if self._watched is not None:
            self._turns.forget(self._watched)
        if descriptor is not None:
            self._turns.watch(descriptor, self._go_on)
        self._watched = descriptor

    def _take(self, judgement: Judgement) -> None:
        if self._watched is not None:  # its child has ended and its descriptor with it
            self._turns.forget(self._watched)
            self._watched = None
        if isinstance(judgement, RefusedOffer):
            self._refused(judgement.error)
            return
        try:
            changed = self._kept(judgement)
        except (Refused, IntegrityFailure, Unavailable) as exc:
            self._verifier.refused()
            self._refused(why(exc))
            return
        self._verifier.accepted()
        self.error = ""
        if changed:
            self._record(Note(GuardEvent.POLICY_ACCEPTED, judgement.layer, {"version": str(judgement.version)}))
        # The same content with a later expiry changes verdicts too.
        self._on_change()

    def _kept(self, policy: VerifiedPolicy) -> bool:
        """Raises PinnedSinceTheStart and what `GuardPolicyStore.take` does; NotPinned is told by the child before."""
        if self._store is None:
            raise PinnedSinceTheStart
        return self._store.take(policy)

    def _refused(self, reason: str) -> None:
        self._log.event("guard.policy-refused", why=reason)
        if reason != self.error:
            self._record(Note(GuardEvent.POLICY_REFUSED, "offer", {"why": reason}, _SERIOUS))
        self.error = reason

    def _record(self, note: Note) -> None:
        try:
            self._journal.record(note)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))
