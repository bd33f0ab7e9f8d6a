"""Decides which offer of policy is verified next, and when: a peer may offer as much as it likes, and costs little.

The parts of an offer come one by one; the newest of each counts, and each layer has a place of its own. What is not a
layer of this host has none. There is something to verify once there are a head and the first layer; where there may be
more it waits GATHER_S for them, as a head and a layer that do not go together are refused. What was accepted is not
verified again, and what was refused not before RETRY_S. After each refusal the next child waits longer, up to
MOST_PAUSE_S, and after an acceptance FIRST_PAUSE_S: a peer may have kept many good offers to hand over in turn.
"""

from collections.abc import Sequence
from hashlib import sha256

from edge_agent.usb_policy.exchange import Offer
from shared.policy.accept import WrongLayer
from shared.policy.bundle import claimed_layer

FIRST_PAUSE_S, MOST_PAUSE_S = 1.0, 60.0
RETRY_S = 600.0
GATHER_S = 1.0
_REMEMBERED = 32


class Offers:
    """`layers` are this host's, the organisation's first. Times are seconds of a clock that only rises."""

    def __init__(self, layers: Sequence[str]) -> None:
        self._wanted = tuple(layers)
        self._head = b""
        self._layers: dict[str, bytes] = {}
        self._offered = self._now()
        self._digest = _digest(self._offered)
        self._gathered = 0.0  # when what came since the last judgement may be verified
        self._is_gathering = False
        self._not_before = 0.0
        self._pause_s = 0.0
        self._refused: dict[bytes, float] = {}  # digest of an offer, and when it may be tried again
        self._accepted = b""

    def take(self, now_s: float, *, head: bytes = b"", layer: bytes = b"") -> None:
        """Take what a peer hands over. Raises Malformed, WrongLayer: then nothing of it is taken."""
        Offer(head, (layer,))
        name = claimed_layer(layer) if layer else ""
        if layer and name not in self._wanted:
            raise WrongLayer(offered=name, expected=" or ".join(self._wanted))
        self._head = head or self._head
        if layer:
            self._layers[name] = layer
        self._offered = self._now()
        before, self._digest = self._digest, _digest(self._offered)
        if self._is_judged(now_s):
            self._is_gathering = False  # what came is gone again, and nothing waits
        elif self._digest != before and not self._is_gathering:
            # From the first that came: a peer that goes on and on puts nothing off.
            self._is_gathering = True
            self._gathered = now_s + (GATHER_S if len(self._wanted) > 1 else 0.0)

    @property
    def is_accepted(self) -> bool:
        """Return whether what is offered now is what was accepted last."""
        return self._digest == self._accepted

    def due(self, now_s: float) -> Offer | None:
        """Return what is to be verified now."""
        return self._offered if self._is_open(now_s) and now_s >= self._earliest else None

    def due_in_s(self, now_s: float) -> float | None:
        """Return in how many seconds `due` has something; None: not before something else is offered."""
        if self._is_open(now_s):
            return max(0.0, self._earliest - now_s)
        again = self._refused.get(self._digest)
        return None if again is None else max(0.0, max(again, self._earliest) - now_s)

    def accepted(self, offer: Offer, now_s: float) -> None:
        self._accepted, self._pause_s, self._not_before = _digest(offer), 0.0, now_s + FIRST_PAUSE_S
        self._refused.pop(self._accepted, None)
        self._is_gathering = False

    def refused(self, offer: Offer, now_s: float) -> None:
        digest = _digest(offer)
        self._refused.pop(digest, None)
        self._refused[digest] = now_s + RETRY_S
        if len(self._refused) > _REMEMBERED:
            del self._refused[next(iter(self._refused))]
        self._pause_s = min(MOST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))
        self._not_before = now_s + self._pause_s
        self._is_gathering = False

    @property
    def _earliest(self) -> float:
        return max(self._not_before, self._gathered)

    def _is_open(self, now_s: float) -> bool:
        is_whole = bool(self._head) and self._wanted[0] in self._layers
        return is_whole and not self._is_judged(now_s)

    def _is_judged(self, now_s: float) -> bool:
        return self.is_accepted or now_s < self._refused.get(self._digest, 0.0)

    def _now(self) -> Offer:
        return Offer(self._head, tuple(self._layers[name] for name in self._wanted if name in self._layers))


def _digest(offer: Offer) -> bytes:
    return sha256(b"".join(sha256(part).digest() for part in (offer.head, *offer.layers))).digest()
