"""Has offered policy verified in a child, keeps what is accepted, and tells who goes by it."""

from collections.abc import Callable, Sequence

from edge_agent.devices.journal import GuardJournal, Note
from edge_agent.log import Log, why
from edge_agent.turns import Turns
from edge_agent.usb_policy.exchange import Judgement, RefusedOffer, VerifiedPolicy
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.verifier import Verifier
from shared.devices.record import GuardEvent
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.policy.accept import AcceptedPolicy, WrongLayer

_TIMER = "verify"
_FAR_S = 3600.0
_SERIOUS = 8
_MOST_TURNED_AWAY = 8  # whoever offers without end what is nobody's here fills no journal


class PinnedSinceTheStart(Refused):
    """Whoever pins a root compares it first and starts the guard then, so it is not followed before."""

    def __init__(self) -> None:
        super().__init__("the policy root was pinned after the guard's start: start the guard anew to have it followed")


class PolicyKeeper:
    """`on_change` is called after each acceptance. `error` is why the last offer was refused, or empty.

    What is no layer of this host is refused at once and stays in `error`: whoever hands policy over has other layers
    than those that were pinned, and until a person settles that, this host is not guarded as it is meant to be.
    """

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
        self._error, self._wrong_layer = "", ""
        self._turned_away: set[str] = set()
        turns.every(_TIMER, _FAR_S, self._go_on)

    @property
    def error(self) -> str:
        return "; ".join(filter(None, (self._error, self._wrong_layer)))

    def unusable(self, reason: str) -> None:
        """Say why what was accepted before cannot be used, until something is."""
        self._error = reason

    def offer(self, head: bytes | None, layer: bytes | None) -> None:
        """Take bundles from a peer, to be verified when it is their turn. Raises Malformed, WrongLayer: at once."""
        try:
            self._verifier.offer(head=head or b"", layer=layer or b"")
        except (Malformed, WrongLayer) as exc:
            self._turn_away(exc)
            raise
        self._go_on()

    def stop(self) -> None:
        self._verifier.stop()

    def _go_on(self) -> None:
        judgement = self._verifier.step()
        while judgement is not None:
            self._take(judgement)
            judgement = self._verifier.step()
        if self._verifier.is_accepted:
            self._error = ""
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
        self._error = ""
        if changed:
            self._record(Note(GuardEvent.POLICY_ACCEPTED, judgement.layer, _versions(judgement)))
        # The same content with a later expiry changes verdicts too.
        self._on_change()

    def _kept(self, policy: VerifiedPolicy) -> bool:
        """Raises PinnedSinceTheStart and what `GuardPolicyStore.take` does; NotPinned is told by the child before."""
        if self._store is None:
            raise PinnedSinceTheStart
        return self._store.take(policy)

    def _refused(self, reason: str) -> None:
        self._log.event("guard.policy-refused", why=reason)
        if reason != self._error:
            self._record(Note(GuardEvent.POLICY_REFUSED, "offer", {"why": reason}, _SERIOUS))
        self._error = reason

    def _turn_away(self, exc: Malformed | WrongLayer) -> None:
        reason = why(exc)
        if isinstance(exc, WrongLayer):
            self._wrong_layer = f"{reason}; if this host has it, run `leadglass-guard trust` again"
        if reason not in self._turned_away and len(self._turned_away) < _MOST_TURNED_AWAY:
            self._turned_away.add(reason)
            self._log.event("guard.policy-refused", why=reason)
            self._record(Note(GuardEvent.POLICY_REFUSED, "offer", {"why": reason}, _SERIOUS))

    def _record(self, note: Note) -> None:
        try:
            self._journal.record(note)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("guard.not-recorded", why=why(exc))


def _versions(policy: VerifiedPolicy) -> dict[str, str]:
    """Return what a record says of an acceptance: by which versions this host acts, and which wait for it."""
    fields = {"version": str(policy.version)}
    if policy.parts:
        fields["layers"] = _listed(policy.acts_by)
    if policy.newer:
        fields["accepted and not in force"] = _listed(policy.newer)
    return fields


def _listed(layers: Sequence[AcceptedPolicy]) -> str:
    return ", ".join(f"{each.layer} {each.version}" for each in layers)
