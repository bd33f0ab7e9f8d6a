"""What a failure means for the image, and what for the route."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dicom.requestor import ConnectionLost, NotAccepted
from shared.dicom.requests import StoreRefused
from shared.identity import ObjectId
from shared.policy.routes import Peer
from shared.routes.decide import IMAGE_PAUSES, MOST_BREAKS, ROUTE_PAUSES, Failure, Verdict, judge, pause
from shared.routes.image import NotRoutable, ObjectAbsent
from shared.routes.peer import PeerNotTrusted, PeerUnreachable
from shared.sealing.open import ObjectAltered

PEER = Peer("PACS", "127.0.0.1", 11112)
OBJECT = ObjectId(bytes(16))


@pytest.mark.parametrize(
    "failure, breaks, verdict",
    [
        (PeerUnreachable(PEER, "refused"), 0, Verdict(pauses_route=True, holds_image=False)),
        (PeerNotTrusted(PEER, "self-signed"), 0, Verdict(pauses_route=True, holds_image=False)),
        (ConnectionLost("reset"), MOST_BREAKS - 1, Verdict(pauses_route=True, holds_image=False)),
        (ConnectionLost("reset"), MOST_BREAKS, Verdict(pauses_route=True, holds_image=True)),
        (StoreRefused(0xC000), 0, Verdict(pauses_route=False, holds_image=True)),
        (StoreRefused(0xA900), 0, Verdict(pauses_route=False, holds_image=True)),
        (StoreRefused(0xA700), 0, Verdict(pauses_route=True, holds_image=True)),
        (NotAccepted("1.2", "1.3"), 0, Verdict(pauses_route=False, holds_image=True)),
        (ObjectAbsent(OBJECT), 0, Verdict(pauses_route=False, holds_image=True)),
        (NotRoutable(OBJECT, "?"), 0, Verdict(pauses_route=False, holds_image=True, again=False)),
        (ObjectAltered(OBJECT, "the body"), 0, Verdict(pauses_route=False, holds_image=True, again=False)),
    ],
)
def test_a_failure_holds_what_it_is_about(failure: Failure, breaks: int, verdict: Verdict) -> None:
    assert judge(failure, breaks) == verdict


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([ROUTE_PAUSES, IMAGE_PAUSES]))
def test_a_pause_never_leaves_its_bounds_and_never_shrinks(
    failures: int, fraction: float, bounds: tuple[timedelta, timedelta]
) -> None:
    first, longest = bounds

    assert first / 2 <= pause(failures, fraction, bounds) <= longest
    assert pause(failures, fraction, bounds) <= pause(failures + 1, fraction, bounds)
