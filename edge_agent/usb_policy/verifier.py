"""Runs the verifying child beside the guard's event loop: nothing here waits, and whatever the child does is judged.

A child that is late, says too much, or anything but its one line has refused the offer.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from edge_agent.short_lived import ShortLived, of_ours
from edge_agent.usb_policy.exchange import MAX_ANSWER_BYTES, Judgement, Kind, Offer, RefusedOffer, parse_line
from edge_agent.usb_policy.offers import Offers
from shared.errors import Malformed

TIMEOUT_S = 60.0  # many times what it takes on a slow machine


def child_command(state: Path) -> list[str]:
    return of_ours("edge_agent.usb_policy.verify_child", "--state", str(state.resolve()))


class Verifier:
    """Takes offers from anybody and returns judgements, one at a time, from `step`.

    The loop that owns it waits for `fileno` to be readable, where there is one, and for `wakes_in_s`, and then calls
    `step`. A policy that was judged good is not in force by that: `accepted` or `refused` says what became of it.
    """

    def __init__(
        self, command: Sequence[str], layers: Sequence[str], *, monotonic_s: Callable[[], float] = monotonic
    ) -> None:
        """`layers` are those of this host, the organisation's first; the child learns them by itself."""
        self._command, self._monotonic_s = command, monotonic_s
        self._offers = Offers(layers)
        self._child: ShortLived | None = None
        self._offered = Offer(b"")  # what the child judges
        self._leaving: list[ShortLived] = []  # killed and not gone yet
        self._judged: Offer | None = None

    def offer(self, *, head: bytes = b"", layer: bytes = b"") -> None:
        """Take one or both bundles from a peer. Raises Malformed, WrongLayer: then neither is taken."""
        self._offers.take(self._monotonic_s(), head=head, layer=layer)

    @property
    def is_accepted(self) -> bool:
        """Return whether what is offered now is in force, so that there is nothing to judge."""
        return self._offers.is_accepted

    def fileno(self) -> int | None:
        return None if self._child is None else self._child.fileno()

    def wakes_in_s(self) -> float | None:
        """Return in how many seconds `step` has to be called though nothing is readable; None: not at all."""
        now_s = self._monotonic_s()
        if self._child is not None:
            return max(0.0, self._child.deadline_s - now_s)
        return self._offers.due_in_s(now_s)

    def step(self) -> Judgement | None:
        """Go on without waiting: start a child that is due, or return what one has judged."""
        now_s = self._monotonic_s()
        if self._child is None:
            return self._start(now_s)
        answered = self._child.step(now_s)
        if answered is None:
            return None
        self._judged = self._offered
        self.stop()
        judgement = _unusable(answered.why) if answered.why else _read(answered.output)
        if isinstance(judgement, RefusedOffer):
            self.refused()
        return judgement

    def accepted(self) -> None:
        """Say that what was judged last is in force, so that it is not verified again."""
        if self._judged is not None:
            self._offers.accepted(self._judged, self._monotonic_s())

    def refused(self) -> None:
        """Say that what was judged last was not accepted."""
        if self._judged is not None:
            self._offers.refused(self._judged, self._monotonic_s())

    def stop(self) -> None:
        if self._child is not None:
            self._child.end()
            self._leaving = [each for each in (*self._leaving, self._child) if not each.is_gone]
            self._child = None

    def _start(self, now_s: float) -> Judgement | None:
        offer = self._offers.due(now_s)
        if offer is None:
            return None
        try:
            self._child = ShortLived(
                self._command, given=offer.encode(), most_bytes=MAX_ANSWER_BYTES, timeout_s=TIMEOUT_S, now_s=now_s
            )
        except OSError as exc:
            self._judged = offer
            self.refused()
            return _unusable(f"it cannot be started: {exc.strerror}")
        self._offered = offer
        return None


def _read(output: bytes) -> Judgement:
    try:
        return parse_line(output)
    except Malformed as exc:
        return _unusable(str(exc))


def _unusable(why: str) -> RefusedOffer:
    return RefusedOffer.of(Kind.UNAVAILABLE, f"the verifying child: {why}")
