"""Runs the verifying child beside the guard's event loop: nothing here waits, and whatever the child does is judged.

The offer reaches the child as a file in memory on its standard input, so nothing has to be fed; its answer is read from
a pipe as it comes. A child that is late, says too much, or anything but its one line has refused the offer.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

from edge_agent.usb_policy.exchange import MAX_ANSWER_BYTES, Judgement, Kind, Offer, RefusedOffer, parse_line
from edge_agent.usb_policy.offers import Offers
from shared.errors import Malformed

TIMEOUT_S = 60.0  # many times what it takes on a slow machine
_READ_BYTES = 64 * 1024
_PACKAGES = Path(__file__).resolve().parents[2]


def child_command(state: Path) -> list[str]:
    return [sys.executable, "-m", "edge_agent.usb_policy.verify_child", "--state", str(state.resolve())]


class Child:
    """One process that judges one offer."""

    def __init__(self, command: Sequence[str], offer: Offer, deadline_s: float) -> None:
        """Raises OSError: there is no memory or no process for it."""
        self.offer, self.deadline_s = offer, deadline_s
        self._answer = bytearray()
        given, (self._pipe, written) = os.memfd_create("offer", os.MFD_CLOEXEC), os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(written, True)
        try:
            with os.fdopen(os.dup(given), "wb") as file:
                file.write(offer.encode())
            os.lseek(given, 0, os.SEEK_SET)
            # An environment of its own, and our own packages first, wherever the guard was started.
            self._process = subprocess.Popen(
                command,
                stdin=given,
                stdout=written,
                stderr=subprocess.DEVNULL,
                cwd=_PACKAGES,
                env={},
                start_new_session=True,
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(written)
            os.close(given)

    def fileno(self) -> int:
        return self._pipe

    def step(self, now_s: float) -> Judgement | None:
        """Read what is there; return the judgement once the child has ended, and end it where it must be."""
        while True:
            try:
                data = os.read(self._pipe, _READ_BYTES)
            except BlockingIOError:
                break
            self._answer += data
            if not data:
                return self._judgement()
            if len(self._answer) > MAX_ANSWER_BYTES:
                return RefusedOffer.of(Kind.UNAVAILABLE, f"the verifying child said more than {MAX_ANSWER_BYTES} bytes")
        if now_s >= self.deadline_s:
            return RefusedOffer.of(Kind.UNAVAILABLE, "the verifying child did not end in time")
        return None

    def end(self) -> None:
        """Kill whatever of it still runs, and reap it."""
        # Whoever it may have started is in its session; the group is there until it is reaped.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._pipe)

    def _judgement(self) -> Judgement:
        try:
            return parse_line(bytes(self._answer))
        except Malformed as exc:
            return RefusedOffer.of(Kind.UNAVAILABLE, f"{exc}")


class Verifier:
    """Takes offers from anybody and returns judgements, one at a time, from `step`.

    The loop that owns it waits for `fileno` to be readable, where there is one, and for `wakes_in_s`, and then calls
    `step`. A policy that was judged good is not in force by that: `accepted` or `refused` says what became of it.
    """

    def __init__(self, command: Sequence[str], *, monotonic_s: Callable[[], float] = monotonic) -> None:
        self._command, self._monotonic_s = command, monotonic_s
        self._offers = Offers()
        self._child: Child | None = None
        self._judged: Offer | None = None

    def offer(self, *, head: bytes = b"", layer: bytes = b"") -> None:
        """Take one or both bundles from a peer. Raises Malformed: larger than a bundle can be."""
        self._offers.take(head=head, layer=layer)

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
        judgement = self._child.step(now_s)
        if judgement is not None:
            self._judged = self._child.offer
            self.stop()
            if isinstance(judgement, RefusedOffer):
                self.refused()
        return judgement

    def accepted(self) -> None:
        """Say that what was judged last is in force, so that it is not verified again."""
        if self._judged is not None:
            self._offers.accepted(self._judged)

    def refused(self) -> None:
        """Say that what was judged last was not accepted."""
        if self._judged is not None:
            self._offers.refused(self._judged, self._monotonic_s())

    def stop(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None

    def _start(self, now_s: float) -> Judgement | None:
        offer = self._offers.due(now_s)
        if offer is None:
            return None
        try:
            self._child = Child(self._command, offer, now_s + TIMEOUT_S)
        except OSError as exc:
            self._judged = offer
            self.refused()
            return RefusedOffer.of(Kind.UNAVAILABLE, f"no verifying child can be started: {exc.strerror}")
        return None
