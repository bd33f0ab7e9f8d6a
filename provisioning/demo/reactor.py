"""The thread of an association of pynetdicom, held so that it takes no answer meant for a request.

pynetdicom 3.0.4 pauses that thread by an event, and believes it paused as soon as it is about to look at the event. It
may just have looked: it then goes on, takes the answer that the request waits for, and drops it as unexpected.
"""

import threading
from typing import Any

_AT_MOST_S = 5.0


class Checkpoint(threading.Event):
    """Set: the thread goes on. Clearing it waits until the thread stands, so a pause is one."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._goes, self._stands = False, False

    def is_set(self) -> bool:
        return self._goes

    def set(self) -> None:
        with self._changed:
            self._goes = True
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._goes = False
            self._changed.wait_for(lambda: self._stands, _AT_MOST_S)  # a thread that has ended never stands

    def wait(self, timeout: float | None = None) -> bool:
        with self._changed:
            self._stands = not self._goes
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._goes, timeout)
            finally:
                self._stands = False


def hold(association: Any) -> None:
    """Give an association such a checkpoint, before its thread begins."""
    association._reactor_checkpoint = Checkpoint()
    association._reactor_checkpoint.set()
