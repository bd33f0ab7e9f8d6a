import pytest

from provisioning.finding import Finding, Verdict
from provisioning.self_test.needed import unproved


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.NOT_EVALUATED])
def test_what_was_not_evaluated_counts_as_little_as_what_failed(verdict: Verdict) -> None:
    opened, clock, device = (Finding(check, verdict, "") for check in ("phantom-opened", "clock", "device-decided"))
    well = Finding("keys", Verdict.PASS, "")

    assert unproved([well, opened, clock, device], has_guard=True) == [opened, device]
    assert unproved([well, opened, clock, device], has_guard=False) == [opened]
    assert unproved([well], has_guard=True) == []
