"""Ends losses that are none any more: a disk that failed for a while gives again what it was asked for in vain.

The whole body of each open loss is read anew, in turn, and held against what its host signed.
"""

import logging
from collections.abc import Callable
from threading import Event as Flag
from threading import Thread

from control_plane.vault.losses import Losses, is_as_signed
from control_plane.vault.object_store import Bodies, BodyMissing, StoreUnavailable
from shared.errors import Unavailable
from shared.identity import ObjectId

_LOG = logging.getLogger(__name__)
MOST_BYTES = 10 << 30
_MOST_REFUSED = 3  # in a row: the disk is away, or not well yet, and more questions do it no good
_PAUSE_S = 0.01  # for each quarter of a mebibyte
_EVERY_S, _JOIN_S = 3600.0, 5.0


class BrokenOff(Unavailable):
    """The centre stops; the next start begins anew."""


class LossRecheck:
    """`rest` is called before each body and after each piece of one, and breaks the round off where it raises."""

    def __init__(
        self, losses: Losses, bodies: Bodies, rest: Callable[[], None] = lambda: None, most_bytes: int = MOST_BYTES
    ) -> None:
        self._losses, self._bodies, self._rest, self._most_bytes = losses, bodies, rest, most_bytes
        self._after: ObjectId | None = None

    def round(self) -> int:
        """Look at the open losses from where the last round stopped, and return how many are over.

        It stops once all were looked at, `most_bytes` were to be read, or three bodies in a row could not be.

        Raises DatabaseUnavailable, and whatever `rest` raises.
        """
        over, refused, asked_bytes = 0, 0, 0
        for lost in self._losses.open_after(self._after):
            if asked_bytes >= self._most_bytes:
                return over
            # First: one at which this ends is not where the next round begins.
            self._after = lost.object_id
            asked_bytes += lost.body_bytes
            self._rest()
            try:
                if is_as_signed(self._bodies, lost.object_id, lost.record, self._rest):
                    self._losses.ended((lost.object_id,), lost.object_id)
                    over += 1
                refused = 0
            except BodyMissing:
                pass  # which a disk that is well and one that fails say alike
            except StoreUnavailable as exc:
                refused += 1
                if refused == _MOST_REFUSED:
                    _LOG.warning("vault.recheck-waits", extra={"why": str(exc)})
                    return over
        self._after = None
        return over


class PacedRecheck:
    """A round at once and every hour, beside other work: at most 25 MiB a second and 10 GiB, stopped within one piece.

    In a thread that nobody has to wait for: a disk that hangs would hold up a stop for as long.
    """

    def __init__(self, losses: Losses, bodies: Bodies) -> None:
        self._stop = Flag()
        self._recheck = LossRecheck(losses, bodies, self._rest)
        self._thread = Thread(target=self._rounds, name="losses", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _rounds(self) -> None:
        while not self._stop.is_set():
            self.round()
            self._stop.wait(_EVERY_S)

    def _rest(self) -> None:
        if self._stop.wait(_PAUSE_S):
            raise BrokenOff

    def round(self) -> None:
        try:
            self._recheck.round()
        except Unavailable as exc:
            if not self._stop.is_set():
                _LOG.warning("vault.recheck-waits", extra={"why": str(exc)})
        except Exception:  # noqa: BLE001 (the boundary of a task: this round failed, and the next one comes)
            _LOG.exception("vault.recheck-failed")

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
