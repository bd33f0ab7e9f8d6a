"""Counts attempts to send by whom policy does not let: decides which of them the journal is told of, and when.

The first of each kind (calling AE title, address, reason) is told at once, so that an engineer who tries a new modality
sees it. Repeats are told as a number, a minute later at the soonest, then with growing pauses: a sender that tries
without end leaves a few records an hour. Kinds are remembered in a bounded table; whoever makes up new AE titles faster
than it takes them is counted together with the rest of the flood.
"""

from dataclasses import dataclass
from enum import StrEnum

FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0
MAX_KINDS = 64
MAX_NEW_A_MINUTE = 16


class Reason(StrEnum):
    """Why somebody was not let in; one of a few, so that nobody makes them up."""

    NO_POLICY = "no policy is in force"
    NOT_LISTED = "calling AE title is not listed"
    WRONG_ADDRESS = "address is not one listed for the AE title"
    NO_CERTIFICATE = "came without TLS under an AE title that is bound to certificates"
    WRONG_CERTIFICATE = "certificate is not one listed for the AE title"
    TLS_FAILED = "no TLS handshake that policy's trust would accept"
    SAID_NOTHING = "connected and asked for no association"
    BROKE_PROTOCOL = "broke the upper-layer protocol"
    NO_ROOM = "more connections than one address, or all together, may hold"
    TOO_MANY = "as many associations are open as one address, or all together, may hold"


# An association was asked for and judged; what else there is never came so far.
REFUSED = {
    Reason.NO_POLICY, Reason.NOT_LISTED, Reason.WRONG_ADDRESS, Reason.NO_CERTIFICATE, Reason.WRONG_CERTIFICATE,
    Reason.TOO_MANY,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """`calling_ae_title` is empty where none was given, `address` where a flood came from many."""

    calling_ae_title: str
    address: str
    reason: Reason


FLOOD = Kind("", "", Reason.NO_ROOM)


@dataclass(frozen=True)
class Told:
    """What the journal is told: `count` attempts of a kind. `first`: it is new, and this is that one attempt."""

    kind: Kind
    count: int
    first: bool


@dataclass
class _Entry:
    due_s: float
    pause_s: float = FIRST_PAUSE_S
    untold: int = 0
    is_new: bool = False  # its first one is among those that were not told


class AttemptTable:
    """Instants are seconds of a clock that only rises."""

    def __init__(self) -> None:
        self._entries: dict[Kind, _Entry] = {}
        self._flood = _Entry(0.0)
        self._minute_began_s, self._new_this_minute = float("-inf"), 0

    def note(self, kind: Kind, now_s: float) -> Told | None:
        """Count one attempt; return what is to be told of it at once."""
        entry = self._entries.get(kind)
        if entry is not None:
            entry.untold += 1
            return None
        if not self._has_room(now_s):
            self._flood.untold += 1
            return None
        self._entries[kind] = _Entry(now_s + FIRST_PAUSE_S)
        self._new_this_minute += 1
        return Told(kind, 1, first=True)

    def due(self, now_s: float) -> list[Told]:
        """Return the numbers whose time has come, and forget kinds that have fallen silent."""
        told = []
        for kind, entry in list(self._entries.items()):
            if now_s < entry.due_s:
                continue
            if not entry.untold:
                del self._entries[kind]
                continue
            told += _tell(kind, entry, now_s)
        if self._flood.untold and now_s >= self._flood.due_s:
            told += _tell(FLOOD, self._flood, now_s)
        elif not self._flood.untold:
            self._flood.pause_s = FIRST_PAUSE_S
        return told

    def rest(self) -> list[Told]:
        """Return everything that was counted and not told: the agent is stopping."""
        left = [(kind, entry) for kind, entry in [*self._entries.items(), (FLOOD, self._flood)] if entry.untold]
        return [told for kind, entry in left for told in _tell(kind, entry, entry.due_s)]

    def give_back(self, told: Told, now_s: float) -> None:
        """Take back what could not be told; its time has come again at once."""
        entry = self._flood if told.kind == FLOOD else self._entries.setdefault(told.kind, _Entry(now_s))
        entry.untold += told.count
        entry.is_new |= told.first
        entry.due_s = now_s

    def _has_room(self, now_s: float) -> bool:
        if now_s - self._minute_began_s >= FIRST_PAUSE_S:
            self._minute_began_s, self._new_this_minute = now_s, 0
        return len(self._entries) < MAX_KINDS and self._new_this_minute < MAX_NEW_A_MINUTE


def _tell(kind: Kind, entry: _Entry, now_s: float) -> list[Told]:
    told = [Told(kind, 1, first=True)] if entry.is_new else []
    if more := entry.untold - len(told):
        told.append(Told(kind, more, first=False))
    entry.untold, entry.is_new = 0, False
    entry.pause_s = min(entry.pause_s * 2, LONGEST_PAUSE_S)
    entry.due_s = now_s + entry.pause_s
    return told
