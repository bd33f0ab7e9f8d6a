"""A policy goes to a canary, to a site, and back; a mistake stops at the first ring. Real processes throughout."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest

from control_plane.fleet.broker import find_mosquitto
from tests.fakes.dicom_pki import party
from tests.scenarios.rollout_hospital import CANARY, NORTH, SECOND, RolloutHospital, hospital

_SITE = """\
layer: site-north
modalities: [{ae_title: CT7, description: "CT, north"}]
"""


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[RolloutHospital]:
    with hospital(tmp_path, with_broker=find_mosquitto() is not None) as running:
        yield running


def test_a_policy_goes_to_a_canary_then_to_a_site_and_is_taken_back_everywhere(ward: RolloutHospital) -> None:
    ward.person("policy", "layer", "add", "site-north").succeeded()
    ward.publish(_SITE).succeeded()
    said = ward.publish(SECOND, "--canary", CANARY, "--ring", "site-north", "--soak", "20s").succeeded().out
    assert "policy 2 is published to the first of 3 rings" in said
    ward.person("policy", "rollout", "pause").succeeded()  # so that it stays here for as long as it takes to look
    ward.wait_for((2, 2), (2, 1))
    rings = ward.person("policy", "rings")
    assert f"ring 1  {CANARY}: 1 host: 1 healthy" in rings.out, rings.out
    effective = ward.person("policy", "effective", NORTH).succeeded().out
    assert "ae_title: CT7" in effective
    assert "policy 2 of organisation has not reached it" in effective

    ward.person("policy", "rollout", "resume").succeeded()
    ward.wait_for((2, 2), (2, 2))  # by itself: nobody does anything
    ward.person("policy", "rollout", "revert", "--because", "the ward cannot print").succeeded()
    ward.wait_for((2, 1), (2, 1))

    assert ward.acted_by(CANARY) == [1, 2, 1]
    assert [version for version in ward.acted_by(NORTH) if version == 2] == [2]
    assert "policy 2 of organisation was taken back by first-administrator: the ward cannot print" in "\n".join(
        ward.get("/api/v1/status")["not_evaluated"]
    )
    recorded = ward.recorded()
    assert recorded[:3] == ["policy.rollout-started", "policy.published", "policy.rollout-paused"]
    assert recorded[3:5] == ["policy.rollout-resumed", "policy.rollout-widened"]
    assert recorded[-1] == "policy.rollout-reverted"


def test_a_mistake_stops_at_the_first_ring(ward: RolloutHospital) -> None:
    """Modalities are to use TLS, and the canary cannot have a certificate of its own."""
    certificate = ward.folder / CANARY / "agent" / "identity" / "dicom.pem"
    certificate.unlink(missing_ok=True)
    certificate.mkdir()
    trust = indent(party(ward.folder, "authority").pem, "  ")
    mistaken = f"{SECOND}dicom_trust: |\n{trust}"
    ward.publish(mistaken, "--canary", CANARY, "--soak", "0s").succeeded()
    ward.wait_for_state("reverted", 1)
    rollout = ward.rollout()
    assert rollout["person"] == "control-plane"
    assert f"1 of 1 hosts failed: {CANARY}" in rollout["why"]
    ward.wait_for((2, 1), (2, 1))
    assert (2 in ward.acted_by(CANARY), 2 in ward.acted_by(NORTH)) == (True, False)

    # Control: without rings the same reaches the other host too.
    ward.publish(mistaken.replace("MR1", "MR2")).succeeded()
    ward.wait_for((3, 1), (3, 3))
