"""Says in good time what of the authority comes to its end, and what people do then."""

from collections.abc import Iterator
from datetime import datetime

from control_plane.enrolment.authority import NEXT_ISSUING, Authority
from control_plane.enrolment.profiles import ISSUING_LIFE
from shared import clock as clocks
from shared.enrolment.renewal import renewal_due


def authority_gaps(authority: Authority, now: datetime) -> Iterator[str]:
    """Warn from two thirds of an issuing certificate's life, and of a root that no further one would outlive."""
    issuing, root = authority.issuing.certificate, authority.root
    if renewal_due(issuing.not_valid_before_utc, issuing.not_valid_after_utc, now):
        yield (
            f"authority: the issuing certificate {_ends(issuing.not_valid_after_utc, now)}; then no host is certified "
            f"any more, and connections end; have the root sign the next: {NEXT_ISSUING}"
        )
    if root.not_valid_after_utc - now < ISSUING_LIFE:
        yield (
            f"authority: the root {_ends(root.not_valid_after_utc, now)}, and what it certifies with it; "
            "`leadglass-server authority rotate-root` makes the next one, which hosts follow by themselves"
        )


def _ends(at: datetime, now: datetime) -> str:
    return f"{'ended' if at <= now else 'ends'} at {clocks.text(at)}"
