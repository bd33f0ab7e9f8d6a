"""Decides what a failure on a route means: who waits because of it, for how long, and until whose word."""

from dataclasses import dataclass
from datetime import timedelta

from shared.dicom.requestor import NotAccepted
from shared.dicom.requests import StoreRefused
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.routes.image import ObjectAbsent
from shared.routes.peer import PeerNotTrusted

# An archive that is away comes back; one that refuses an image changes its mind when somebody configures it.
ROUTE_PAUSES = (timedelta(seconds=5), timedelta(minutes=10))
IMAGE_PAUSES = (timedelta(minutes=10), timedelta(days=1))
# An image during which the association broke this often is put aside: it may be the image that breaks it.
MOST_BREAKS = 3

Failure = Refused | IntegrityFailure | Unavailable


@dataclass(frozen=True)
class Verdict:
    """`pauses_route`: no image goes for a while. `holds_image`: this one waits by itself, while others go on.

    `again` is False where only a person can change the outcome.
    """

    pauses_route: bool
    holds_image: bool
    again: bool = True


def judge(failure: Failure, breaks: int) -> Verdict:
    """Return what follows from a failed attempt; `breaks` is how often sending this very image broke off, with now."""
    if isinstance(failure, StoreRefused) and failure.out_of_resources:
        # Its disk may be full, or this image too large for it: the route rests, and another image is first after that.
        return Verdict(pauses_route=True, holds_image=True)
    if isinstance(failure, StoreRefused | NotAccepted | ObjectAbsent):
        return Verdict(pauses_route=False, holds_image=True)
    if isinstance(failure, Unavailable | PeerNotTrusted):
        return Verdict(pauses_route=True, holds_image=breaks >= MOST_BREAKS)
    return Verdict(pauses_route=False, holds_image=True, again=False)


def pause(failures: int, fraction: float, bounds: tuple[timedelta, timedelta]) -> timedelta:
    """Return how long to wait after the n-th failure in a row: doubled each time, within `bounds`.

    `fraction`, random from 0 to 1, spreads it over its upper half, so that many routes do not come back together.
    """
    first, longest = bounds
    full = min(longest, first * (1 << min(failures - 1, 30)))
    return full * (0.5 + fraction / 2)
