"""The files that are watched until they are complete: a bounded number, whatever the folder holds."""

from collections.abc import Iterator
from dataclasses import replace

from edge_agent.export_folder.classify import Observed, Stamp, Timing, Word

MOST = 4096


class Settling:
    def __init__(self, timing: Timing, most: int = MOST) -> None:
        self._timing, self._most = timing, most
        self._observed: dict[bytes, Observed] = {}

    def __len__(self) -> int:
        return len(self._observed)

    @property
    def is_full(self) -> bool:
        return len(self._observed) >= self._most

    def see(self, path: bytes, stamp: Stamp, word: Word, now_s: float) -> bool:
        """Note how a file stands now; return False where there is no room to watch it."""
        known = self._observed.get(path)
        if known is None:
            if self.is_full:
                return False
            self._observed[path] = Observed(stamp, now_s, word)
        elif word is Word.CLOSED:
            self._observed[path] = replace(known, stamp=stamp, since_s=now_s, word=word)
        elif word is Word.CREATED or not known.stamp.same_content(stamp):
            # Still growing. What is being written under our eyes goes on waiting for its close.
            kept = Word.CREATED if known.word is Word.CREATED else word
            self._observed[path] = replace(known, stamp=stamp, since_s=now_s, word=kept)
        return True

    def put_off(self, path: bytes, stamp: Stamp, now_s: float) -> None:
        """An attempt to capture it was given up: wait longer before the next."""
        failures = self._observed[path].failures + 1 if path in self._observed else 1
        self._observed[path] = Observed(stamp, now_s, Word.FOUND, failures)

    def not_yet(self, path: bytes) -> None:
        """It was looked at and is not complete: look again when patience has run out."""
        self._observed[path] = replace(self._observed[path], word=Word.UNREADY)

    def forget(self, path: bytes) -> None:
        self._observed.pop(path, None)

    def clear(self) -> None:
        self._observed.clear()

    def due(self, now_s: float) -> Iterator[tuple[bytes, Observed]]:
        """Yield what is to be looked at now; the table may change meanwhile."""
        for path, observed in list(self._observed.items()):
            if observed.due_s(self._timing) <= now_s:
                yield path, observed

    def next_s(self) -> float | None:
        """Return the monotonic instant at which something is due next."""
        return min((observed.due_s(self._timing) for observed in self._observed.values()), default=None)
