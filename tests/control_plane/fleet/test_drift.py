"""Which hosts are not at the newest policy, since when, and what they say, wherever a person looks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from control_plane.fleet.drift import drifts
from shared import clock
from tests.control_plane.fleet.reporting import Fleet
from tests.control_plane.fleet.test_device_tree import HOSTILE, REPORT

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
PUBLISHED = {version: START + version * DAY for version in (1, 2, 3)}
HOST: dict[str, Any] = {
    "host": "host-" + "0a" * 16, "asset": "CT 2", "active": True, "enrolled": clock.text(START), "state": "capturing",
    "policy_in_force": 3, "policy_error": "", "guard_policy": 3, "guard_policy_error": "",
}  # fmt: skip
EXPECTED = {HOST["host"]: 3}
NEVER = {name: HOST[name] for name in ("host", "asset", "active", "enrolled")} | {"state": "never reported"}
POLICY = """\
layer: organisation
modalities: []
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
"""


def texts(*hosts: dict[str, Any]) -> list[str]:
    return [drift.text for drift in drifts(hosts, EXPECTED, PUBLISHED)]


def test_a_host_that_reports_the_newest_version_has_none() -> None:
    assert texts(HOST, HOST | {"guard_policy": None, "guard_policy_error": None}) == []


@pytest.mark.parametrize(
    "change, text",
    [
        ({"policy_in_force": 1}, "CT 2: agent at policy 1 and not at 3, since 2026-03-03T08:00:00.000000Z (capturing)"),
        (
            {"policy_in_force": 0},
            "CT 2: agent at policy none and not at 3, since 2026-03-02T08:00:00.000000Z (capturing)",
        ),
        (
            {"guard_policy": 2, "guard_policy_error": "it does not hold"},
            "CT 2: guard at policy 2 and not at 3, since 2026-03-04T08:00:00.000000Z (capturing): it does not hold",
        ),
        (
            {"policy_in_force": 2, "state": "silent"},
            "CT 2: agent at policy 2 and not at 3, since 2026-03-04T08:00:00.000000Z (silent)",
        ),
        (
            {"policy_in_force": 9},
            "CT 2: agent at policy 9 and not at 3 (capturing): it reports a version that was never published here",
        ),
        (
            {"policy_in_force": 1, "enrolled": "2026-03-05T08:00:00.000000Z"},
            "CT 2: agent at policy 1 and not at 3, since 2026-03-05T08:00:00.000000Z (capturing)",
        ),
    ],
)
def test_a_part_that_is_behind_or_beyond_is_named(change: dict[str, Any], text: str) -> None:
    assert texts(HOST | change) == [text]


def test_a_host_that_a_roll_out_has_not_reached_is_not_behind_and_one_that_went_no_way_back_is_ahead() -> None:
    waits = HOST | {"policy_in_force": 2, "guard_policy": 2}
    back = {HOST["host"]: 2}

    assert list(drifts([waits], back, PUBLISHED)) == []
    assert len(texts(waits)) == 2  # the control: where everybody should have the newest
    assert [drift.text for drift in drifts([HOST | {"guard_policy": None}], back, PUBLISHED)] == [
        "CT 2: agent at policy 3 and not at 2 (capturing): it has not gone back to what it should have"
    ]


def test_a_host_that_never_reported_is_not_taken_to_be_up_to_date() -> None:
    assert texts(NEVER) == ["CT 2: agent at unknown and not at 3, since 2026-03-02T08:00:00.000000Z (never reported)"]


def test_a_revoked_host_and_a_centre_without_a_policy_have_no_drift() -> None:
    assert texts(NEVER | {"active": False}) == []
    assert list(drifts([NEVER], {}, {})) == []


NORTH_PUBLISHED = {1: START + DAY, 2: START + 5 * DAY}


def layer(in_force: int | None, *, newest: int = 2, enrolled: bool = True, guard: int | None = None) -> dict[str, Any]:
    return {
        "layer": "site-north", "enrolled": enrolled, "newest": newest, "accepted": in_force, "in_force": in_force,
        "guard_in_force": guard,
    }  # fmt: skip


@pytest.mark.parametrize(
    "of_host, text",
    [
        (layer(1), "CT 2: agent at site-north 1 and not at 2, since 2026-03-06T08:00:00.000000Z (capturing)"),
        (layer(0), "CT 2: agent at site-north none and not at 2, since 2026-03-02T08:00:00.000000Z (capturing)"),
        (
            layer(None),
            "CT 2: agent at unknown and not at site-north 2, since 2026-03-02T08:00:00.000000Z (capturing)",
        ),
        (
            layer(3),
            "CT 2: agent at site-north 3 and not at 2 (capturing): it reports a version that was never published here",
        ),
    ],
)
def test_a_host_that_is_behind_in_a_layer_of_its_own_is_named_with_the_layer(
    of_host: dict[str, Any], text: str
) -> None:
    (found,) = drifts([HOST | {"layers": [of_host]}], EXPECTED, PUBLISHED, {"site-north": NORTH_PUBLISHED})

    assert (found.text, found.part, found.layer) == (text, "agent", "site-north")


@pytest.mark.parametrize(
    "guard, text",
    [
        (1, "CT 2: guard at site-north 1 and not at 2, since 2026-03-06T08:00:00.000000Z (capturing): refused"),
        (0, "CT 2: guard at site-north none and not at 2, since 2026-03-02T08:00:00.000000Z (capturing): refused"),
    ],
)
def test_a_guard_that_is_behind_in_a_layer_alone_is_named_with_the_layer(guard: int, text: str) -> None:
    host = HOST | {"layers": [layer(2, guard=guard)], "guard_policy_error": "refused"}
    (found,) = drifts([host], EXPECTED, PUBLISHED, {"site-north": NORTH_PUBLISHED})

    assert (found.text, found.part, found.layer) == (text, "guard", "site-north")


@pytest.mark.parametrize(
    "of_host",
    [
        layer(2), layer(2, guard=2), layer(0, newest=0), layer(0, newest=0, guard=0),
        layer(1, enrolled=False), layer(1, enrolled=False, guard=1),
    ],
)  # fmt: skip
def test_a_layer_that_is_newest_or_unpublished_or_not_the_host_s_is_no_drift(of_host: dict[str, Any]) -> None:
    assert list(drifts([HOST | {"layers": [of_host]}], EXPECTED, PUBLISHED, {"site-north": NORTH_PUBLISHED})) == []


def test_drift_goes_from_the_report_to_the_api_the_page_and_the_terminal(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.answer()["drift"] == []
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY, encoding="utf-8")
    assert fleet.command("policy", "publish", str(file))[0] == 0

    (never,) = fleet.answer()["drift"]
    assert (never["part"], never["in_force"], never["newest"]) == ("agent", None, 1)
    fleet.report(policy=1, guard=replace(REPORT, policy=0, policy_error=f"refused {HOSTILE}"))
    (guard,) = fleet.answer()["drift"]
    assert (guard["part"], guard["in_force"], guard["state"]) == ("guard", 0, "capturing")
    assert "refused &lt;script&gt;" in fleet.get("/")[1]
    assert "drift      CT 2: guard at policy none and not at 1, since 20" in fleet.command("status")[1]
    assert all(line.isprintable() for line in fleet.command("status")[1].split("\n"))
    fleet.report(policy=1, guard=replace(REPORT, policy=1))
    assert fleet.answer()["drift"] == []
    assert "Every active host last reported the version in force that it should have; version 1" in fleet.get("/")[1]
