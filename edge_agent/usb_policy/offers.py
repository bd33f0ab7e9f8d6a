"""Decides which offer of policy is verified next, and when: a peer may offer as much as it likes, and costs little.

The parts of an offer come one by one; the newest of each counts. What was accepted is not verified again, and what was
refused not before RETRY_S. After each refusal the next child waits longer, up to MOST_PAUSE_S, and after an acceptance
FIRST_PAUSE_S: a peer may have kept many good offers to hand over in turn.
"""

from hashlib import sha256

from edge_agent.usb_policy.exchange import Offer

FIRST_PAUSE_S, MOST_PAUSE_S = 1.0, 60.0
RETRY_S = 600.0
_REMEMBERED = 32


class Offers:
    """Times are seconds of a clock that only rises."""

    def __init__(self) -> None:
        self._head = self._layer = b""
        self._not_before = 0.0
        self._pause_s = 0.0
        self._refused: dict[bytes, float] = {}  # digest of an offer, and when it may be tried again
        self._accepted = b""

    def take(self, *, head: bytes = b"", layer: bytes = b"") -> None:
        """Take what a peer hands over. Raises Malformed: larger than a bundle can be."""
        Offer(head, layer)
        self._head, self._layer = head or self._head, layer or self._layer

    @property
    def is_accepted(self) -> bool:
        """Return whether what is offered now is what was accepted last."""
        return self._digest() == self._accepted

    def due(self, now_s: float) -> Offer | None:
        """Return what is to be verified now."""
        offer = self._open(now_s)
        return offer if offer is not None and now_s >= self._not_before else None

    def due_in_s(self, now_s: float) -> float | None:
        """Return in how many seconds `due` has something; None: not before something else is offered."""
        if self._open(now_s) is not None:
            return max(0.0, self._not_before - now_s)
        again = self._refused.get(self._digest())
        return None if again is None else max(0.0, max(again, self._not_before) - now_s)

    def accepted(self, offer: Offer, now_s: float) -> None:
        self._accepted, self._pause_s, self._not_before = _digest(offer), 0.0, now_s + FIRST_PAUSE_S
        self._refused.pop(self._accepted, None)

    def refused(self, offer: Offer, now_s: float) -> None:
        digest = _digest(offer)
        self._refused.pop(digest, None)
        self._refused[digest] = now_s + RETRY_S
        if len(self._refused) > _REMEMBERED:
            del self._refused[next(iter(self._refused))]
        self._pause_s = min(MOST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
        self._not_before = now_s + self._pause_s

    def _open(self, now_s: float) -> Offer | None:
        if not self._head or not self._layer:
            return None
        offer = Offer(self._head, self._layer)
        digest = _digest(offer)
        return None if digest == self._accepted or now_s < self._refused.get(digest, 0.0) else offer

    def _digest(self) -> bytes:
        return _digest(Offer(self._head, self._layer))


def _digest(offer: Offer) -> bytes:
    return sha256(offer.encode()).digest()
