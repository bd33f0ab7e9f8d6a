"""Which hosts a roll-out has reached: opening a ring takes nobody out, and every host is reached in the end."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import HostId
from shared.policy.bundle import LayerBundle
from shared.policy.rollout import EVERYBODY, Rings, parse_rollouts, place, rollouts_json

HOSTS = st.binary(min_size=16, max_size=16).map(HostId)
LAYERS = st.lists(st.sampled_from(["site-north", "site-south", "modality-ct", "organisation"]), unique=True)


def test_a_host_is_reached_by_its_id_its_layer_or_its_place() -> None:
    host, other = HostId(bytes(16)), HostId(bytes(15) + b"\1")

    def holds(rings: Rings, who: HostId = host) -> bool:
        return rings.holds(who, ("organisation", "site-north"), layer="organisation", version=7)

    assert not holds(Rings())
    assert holds(Rings(hosts=(host,)))
    assert not holds(Rings(hosts=(host,)), other)
    assert holds(Rings(layers=("site-north",)))
    assert not holds(Rings(layers=("site-south",)))
    assert holds(Rings(percent=place(host, "organisation", 7) + 1))
    assert not holds(Rings(percent=place(host, "organisation", 7)))


def test_a_place_is_what_the_page_says() -> None:
    # SHA-256 of "organisation 7 host-00000000000000000000000000000000"
    assert place(HostId(bytes(16)), "organisation", 7) == 56


@given(HOSTS, LAYERS, st.integers(0, EVERYBODY), st.integers(0, EVERYBODY), st.integers(1, 10**6))
def test_a_wider_ring_reaches_whoever_a_narrower_one_did(
    host: HostId, layers: list[str], one: int, other: int, version: int
) -> None:
    narrow, wide = sorted((one, other))
    if Rings(percent=narrow).holds(host, layers, layer="organisation", version=version):
        assert Rings(percent=wide).holds(host, layers, layer="organisation", version=version)
    assert Rings(percent=EVERYBODY).holds(host, layers, layer="organisation", version=version)


def test_a_percentage_is_about_that_share_and_another_one_for_each_version() -> None:
    hosts = [HostId(number.to_bytes(16)) for number in range(2000)]
    reached = [{host for host in hosts if place(host, "organisation", version) < 10} for version in (7, 8)]
    assert all(150 < len(each) < 250 for each in reached)
    assert len(reached[0] & reached[1]) < 50


@given(st.dictionaries(st.sampled_from(["organisation", "site-north"]), st.builds(
    Rings, st.lists(HOSTS, max_size=3).map(tuple), LAYERS.map(tuple), st.integers(0, EVERYBODY)
)))  # fmt: skip
def test_roll_outs_read_back(rollouts: dict[str, Rings]) -> None:
    assert parse_rollouts(rollouts_json(rollouts)) == rollouts


@pytest.mark.parametrize(
    "value",
    [
        [], None, {"Organisation": {}}, {"organisation": {}}, {"organisation": None},
        {"organisation": {"hosts": [], "layers": [], "percent": 101}},
        {"organisation": {"hosts": [], "layers": [], "percent": -1}},
        {"organisation": {"hosts": ["host-1"], "layers": [], "percent": 1}},
        {"organisation": {"hosts": [], "layers": ["X"], "percent": 1}},
        {"organisation": {"hosts": [], "layers": [], "percent": 1, "more": 1}},
        {"organisation": {"hosts": ["host-" + "0" * 32] * 65, "layers": [], "percent": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_roll_out_is_refused(value: Json) -> None:
    with pytest.raises(Malformed):
        parse_rollouts(value)


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3))))
def test_whatever_rings_are_they_are_read_or_malformed(given: dict[str, Json]) -> None:
    try:
        rings = Rings.parse(Fields(given, "rings"))
    except Malformed:
        return
    assert rings.json() == given


def test_a_bundle_has_a_stable_policy_or_says_nothing_of_one() -> None:
    both, one = LayerBundle("site-north", b"1", b"2", b"3"), LayerBundle("site-north", b"1", b"2")
    assert (LayerBundle.parse(both.encode()), LayerBundle.parse(one.encode())) == (both, one)
    with pytest.raises(Malformed):
        LayerBundle.parse(canonical.encode({**json.loads(one.encode()), "stable": ""}))
