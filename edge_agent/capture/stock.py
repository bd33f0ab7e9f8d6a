"""Encapsulations made in the pauses between examinations, so that an image that arrives waits for none.

Each holds a secret that is to protect one image to come. So there are few, each is given out once, and none outlives
the process: `docs/adr/0045-encapsulations-in-stock.md`.
"""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.courtesy import Yields, at_once
from edge_agent.parts import Bell
from shared.sealing.hpke import Boxes, BoxLabel, Encapsulation, SealingPublicKey

MOST = 512  # for each key, as an image takes one of two: a long series of a CT
_MOST_KEYS = 4
_AT_A_TIME = 16


class Stock:
    """A part of the agent that makes encapsulations to the keys used last. Where it has none, sealing takes longer."""

    name = "encapsulations"

    def __init__(self, yields: Yields = at_once, *, most: int = MOST) -> None:
        self._yields, self._most = yields, most
        self._lock = threading.Lock()
        self._ready: dict[SealingPublicKey, deque[Encapsulation]] = {}  # the key used last stands last
        self.bell = Bell()

    def boxes(self, key: SealingPublicKey) -> Boxes:
        """Return what seals boxes to `key`, from the stock as far as it lasts."""
        return _FromStock(key, self)

    def take(self, key: SealingPublicKey) -> Encapsulation | None:
        """Return one that nobody else gets; None where there is none ready."""
        with self._lock:
            is_new = key not in self._ready
            ready = self._ready[key] = self._room_for_another_key() if is_new else self._ready.pop(key)
            taken = ready.popleft() if ready else None
        # Whoever fills it fills it whole, so passing the half is the one moment to ask for more.
        if is_new or len(ready) == self._most // 2:
            self.bell.ring()
        return taken

    def count(self) -> int:
        with self._lock:
            return sum(map(len, self._ready.values()))

    def fill(self, keys: Iterable[SealingPublicKey]) -> None:
        """Make all there is room for, for keys that nobody has used yet."""
        for key in keys:
            self.take(key)
        while self.make_some():
            pass

    def make_some(self) -> bool:
        """Make a few more of what there is least of; return whether any were missing."""
        with self._lock:
            key = min(self._ready, key=lambda each: len(self._ready[each]), default=None)
            if key is None or (missing := self._most - len(self._ready[key])) <= 0:
                return False
        made = [key.encapsulate() for _ in range(min(missing, _AT_A_TIME))]
        with self._lock:
            ready = self._ready.get(key)
            if ready is not None:
                ready.extend(made)
                return True
        _destroy(made)
        return True

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._yields(stop)
            if not self.make_some():
                self.bell.sleep()
        self.destroy()

    def destroy(self) -> None:
        with self._lock:
            for ready in self._ready.values():
                _destroy(ready)
            self._ready.clear()

    def _room_for_another_key(self) -> deque[Encapsulation]:
        if len(self._ready) >= _MOST_KEYS:
            _destroy(self._ready.pop(next(iter(self._ready))))
        return deque()


@dataclass(frozen=True)
class _FromStock:
    key: SealingPublicKey
    stock: Stock

    def seal(self, label: BoxLabel, bound: bytes, plaintext: bytes) -> bytes:
        ready = self.stock.take(self.key)
        return (self.key if ready is None else ready).seal(label, bound, plaintext)


def _destroy(encapsulations: "list[Encapsulation] | deque[Encapsulation]") -> None:
    for each in encapsulations:
        each.destroy()
