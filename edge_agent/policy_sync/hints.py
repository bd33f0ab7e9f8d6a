"""Whether the broker can be relied on to say that there is something new. It is judged by what the pull finds.

    state      what shows it                                           the host pulls
    none       the host was told of no broker                          as rarely as policy lets it
    hearing    subscribed, and no pull found what had not been told    as rarely as policy lets it
    silent     subscribed, and a pull found what had not been told     every minute
    lost       not subscribed                                          every minute

A broker that withholds says nothing about it. So a pull that finds more than was heard is the only sign there is, and
the next message that arrives takes it back.
"""

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from hashlib import sha256

WITHOUT_HINTS_S = 60.0
TURN_WITHIN_S = 10.0
_REMEMBERED = 8


class Hearing(Enum):
    NONE = "no broker"
    HEARING = "hearing"
    SILENT = "silent"
    LOST = "lost"


class Hints:
    """Written by the link and by the pull, each on its own thread."""

    def __init__(self, *, has_broker: bool = True, on_lost: Callable[[], None] = lambda: None) -> None:
        self._has_broker, self._on_lost = has_broker, on_lost
        self._lock = threading.Lock()
        self._is_subscribed, self._was_subscribed, self._is_silent, self._has_turned = False, False, False, False
        self._heard: deque[bytes] = deque(maxlen=_REMEMBERED)

    @property
    def state(self) -> Hearing:
        with self._lock:
            if not self._has_broker:
                return Hearing.NONE
            if not self._is_subscribed:
                return Hearing.LOST
            return Hearing.SILENT if self._is_silent else Hearing.HEARING

    def subscribed(self) -> None:
        with self._lock:
            self._has_turned = self._has_turned or self._was_subscribed
            self._is_subscribed = self._was_subscribed = True

    def lost(self) -> None:
        with self._lock:
            if not self._is_subscribed:
                return
            self._is_subscribed, self._has_turned = False, True
        self._on_lost()

    def take_turn(self) -> bool:
        """Return, once each time, whether the broker went or is back, as it then did for every host at that moment."""
        with self._lock:
            has_turned, self._has_turned = self._has_turned, False
            return has_turned

    def heard(self, bundle: bytes) -> None:
        with self._lock:
            self._heard.append(sha256(bundle).digest())
            self._is_silent = False

    def pulled(self, bundle: bytes) -> None:
        """Note that a pull brought `bundle`, which is news to this host."""
        with self._lock:
            if self._is_subscribed and sha256(bundle).digest() not in self._heard:
                self._is_silent = True


def pull_after_s(pull_every_s: float, hearing: Hearing, spread: float) -> float:
    """Return the wait before the next pull, the last half of it left to `spread` (0 to 1)."""
    is_missed = hearing in {Hearing.SILENT, Hearing.LOST}
    whole = min(pull_every_s, WITHOUT_HINTS_S) if is_missed else pull_every_s
    return whole * (0.5 + spread / 2)
