"""How many may be here at a time: decides, of connections and associations, who still finds room.

Places are counted in two halls, so that whoever fills one shuts nobody out of the other: one for senders that policy
knows by more than a name (at an address it lists, with a certificate it lists), one for all others. In each hall a
single address cannot take every place.
"""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of each hall: connections that have not associated yet, associations, and how many one address may hold."""

    connections: int = 32
    connections_of_one: int = 12
    associations: int = 16
    associations_of_one: int = 12


class Hall:
    """One kind of place in one of the halls."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._held: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Return whether there was room; what entered has to leave."""
        if self._held.total() >= self._most or self._held[address] >= self._most_of_one:
            return False
        self._held[address] += 1
        return True

    def leave(self, address: str) -> None:
        self._held[address] -= 1
        if not self._held[address]:
            del self._held[address]


class Crowd:
    """Where each connection stands. Not for several threads at a time."""

    def __init__(self, limits: Limits) -> None:
        self._connections = {known: Hall(limits.connections, limits.connections_of_one) for known in (False, True)}
        self._associations = {bound: Hall(limits.associations, limits.associations_of_one) for bound in (False, True)}
        self._places: dict[object, tuple[Hall, str]] = {}

    def connect(self, who: object, address: str, *, known: bool) -> bool:
        return self._enter(who, self._connections[known], address)

    def associate(self, who: object, *, bound: bool) -> bool:
        """Move a connection to where associations are counted, if there is room."""
        _, address = self._places[who]
        before = self._places[who]
        if not self._enter(who, self._associations[bound], address):
            return False
        before[0].leave(address)
        return True

    def leave(self, who: object) -> None:
        hall, address = self._places.pop(who)
        hall.leave(address)

    def _enter(self, who: object, hall: Hall, address: str) -> bool:
        if not hall.enter(address):
            return False
        self._places[who] = (hall, address)
        return True
