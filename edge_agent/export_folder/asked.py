"""Rescans that somebody asked for: each is answered by a rescan that began after it was asked."""

import threading
from dataclasses import dataclass, field


@dataclass(eq=False)
class Rescan:
    """`files` counts what a look through the folder found; None where it has ended without one."""

    files: int | None = None
    is_complete: bool = False  # no folder was hidden from it
    ended: threading.Event = field(default_factory=threading.Event)


class AskedRescans:
    """Asked from any thread, begun and ended by the watcher's own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Rescan] = []
        self._begun: list[Rescan] = []

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def add(self) -> Rescan:
        rescan = Rescan()
        with self._lock:
            self._waiting.append(rescan)
        return rescan

    def begin(self) -> None:
        with self._lock:
            self._begun += self._waiting
            self._waiting = []

    def give_up(self) -> None:
        """Answer whoever asks now: the folder is not read."""
        with self._lock:
            ended, self._waiting, self._begun = [*self._waiting, *self._begun], [], []
        for rescan in ended:
            rescan.ended.set()

    def end(self, files: int, *, is_complete: bool) -> None:
        with self._lock:
            ended, self._begun = self._begun, []
        for rescan in ended:
            rescan.files, rescan.is_complete = files, is_complete
            rescan.ended.set()
