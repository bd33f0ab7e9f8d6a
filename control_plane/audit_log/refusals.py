"""Records a refusal once and not each time that it is repeated: a host that is refused tries again, for weeks."""

from collections import OrderedDict
from threading import Lock

from shared.audit.attempt import Journal
from shared.audit.events import Happening
from shared.identity import HostId

_MOST = 1000  # who may send can name any host, so what is remembered has an end


class Refusals:
    """Knows what it recorded last of each sender and each host for which that one sent; a restart forgets it.

    Safe for several threads. Two that are refused at once may both be recorded.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock, self._last = Lock(), OrderedDict[tuple[HostId, HostId], str]()

    def record(self, happening: Happening, sender: HostId, source: HostId, reason: str) -> None:
        """Record `happening` unless the last that became of what `sender` sent of `source` was a refusal for `reason`.

        Raises what the journal's `record` does.
        """
        pair = sender, source
        with self._lock:
            if self._last.get(pair) == reason:
                return
        self._journal.record(happening)
        with self._lock:
            self._last[pair] = reason
            self._last.move_to_end(pair)
            if len(self._last) > _MOST:
                self._last.popitem(last=False)

    def over(self, sender: HostId, source: HostId) -> None:
        """Say that something of `source` was taken from `sender`, so that the next refusal is a new one."""
        with self._lock:
            self._last.pop((sender, source), None)
