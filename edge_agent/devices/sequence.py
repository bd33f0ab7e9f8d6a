"""Which of the kernel's events did not come, told from their numbers (SEQNUM).

The kernel numbers all events of the machine from its start and sends them to all listeners, but for those of network
interfaces, which only listeners in the same network namespace get: such a gap is benign, and nobody can tell by the
number. Since Linux 6.11 two events that happen at once may arrive in the other order, so a number is not missed yet
when a higher one comes first.
"""

from dataclasses import dataclass, replace
from enum import Enum

MAX_GAPS = 64


class Order(Enum):
    NEXT = "next"
    AHEAD = "ahead"  # numbers before it have not come
    LATE = "late"  # one of those that had not come
    BACK = "back"  # it was there before, or the counting began anew


@dataclass(frozen=True)
class Sequence:
    """`last` is the highest number that came; None: the next one is taken as it comes."""

    last: int | None = None
    gaps: tuple[range, ...] = ()  # what has not come, in order

    def take(self, number: int) -> tuple["Sequence", Order]:
        """Return what is known once the event `number` has come."""
        if self.last is None or number == self.last + 1:
            return replace(self, last=number), Order.NEXT
        if number > self.last:
            return Sequence(number, (*self.gaps, range(self.last + 1, number))), Order.AHEAD
        for place, gap in enumerate(self.gaps):
            if number in gap:
                halves = (range(gap.start, number), range(number + 1, gap.stop))
                left = tuple(half for half in halves if half)
                return replace(self, gaps=(*self.gaps[:place], *left, *self.gaps[place + 1 :])), Order.LATE
        return Sequence(number), Order.BACK

    def counted(self, number: int) -> "Sequence":
        """Return what is known once the kernel says that it has given numbers up to this one."""
        if self.last is None or number <= self.last:
            return self
        return Sequence(number, (*self.gaps, range(self.last + 1, number + 1)))

    @property
    def missing(self) -> int:
        return sum(gap.stop - gap.start for gap in self.gaps)  # len() ends at what a C integer holds

    def given_up(self) -> "Sequence":
        """Return it without the gaps: they are told as missed, and what comes of them after all counts as BACK."""
        return replace(self, gaps=())
