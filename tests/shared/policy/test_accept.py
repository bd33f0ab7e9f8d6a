from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IntegrityFailure, Refused
from shared.policy.accept import AcceptedPolicy, PolicyEquivocation, PolicyRollback, WrongLayer, accept

policies = st.builds(
    AcceptedPolicy,
    st.sampled_from(["organisation", "site-a"]),
    st.integers(1, 6),
    st.sampled_from([bytes(32), b"\x01" * 32]),
)


@given(st.lists(policies, max_size=30))
def test_whatever_arrives_in_whatever_order_the_accepted_version_never_goes_down(
    arrivals: list[AcceptedPolicy],
) -> None:
    held: AcceptedPolicy | None = None
    for offered in arrivals:
        before = held
        with suppress(Refused, IntegrityFailure):
            held = accept(offered, held)
        assert held is not None
        if before is not None:
            assert held.version >= before.version
            assert held.layer == before.layer
            assert held.version > before.version or held == before


@given(st.lists(policies, min_size=1, max_size=30))
def test_the_highest_version_of_the_first_layer_is_accepted_in_the_end(arrivals: list[AcceptedPolicy]) -> None:
    held: AcceptedPolicy | None = None
    for offered in arrivals:
        with suppress(Refused, IntegrityFailure):
            held = accept(offered, held)

    assert held is not None
    assert held.version == max(p.version for p in arrivals if p.layer == arrivals[0].layer)


@given(policies, policies)
def test_every_refusal_has_its_reason(offered: AcceptedPolicy, held: AcceptedPolicy) -> None:
    expected: type[Exception] | None = None
    if offered.layer != held.layer:
        expected = WrongLayer
    elif offered.version < held.version:
        expected = PolicyRollback
    elif offered.version == held.version and offered.sha256 != held.sha256:
        expected = PolicyEquivocation

    if expected is None:
        assert accept(offered, held) == offered
    else:
        with pytest.raises(expected):
            accept(offered, held)
