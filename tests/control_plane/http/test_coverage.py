"""Coverage through the people's door: for those who may, with a reason where it names anybody."""

import json

import pytest

from tests.control_plane.http.conftest import Open


def asked(door: Open, path: str, **body: str) -> tuple[int, str]:
    answer = door.signed_in("POST", path, json.dumps(body).encode())
    return answer.status, answer.body.decode()


def test_nobody_sees_coverage_without_a_sign_in(door: Open) -> None:
    assert door.people("GET", "/api/v1/coverage").status == 401
    assert door.people("POST", "/api/v1/coverage/runs", b"{}").status == 401
    assert door.people("POST", "/api/v1/coverage/gap", b"{}").status == 401


def test_without_a_policy_there_is_nothing_to_compare_with(door: Open) -> None:
    status, said = asked(door, "/api/v1/coverage/runs", day="2026-03-01")

    assert (status, "names an archive" in said) == (409, True)
    shown = json.loads(door.signed_in("GET", "/api/v1/coverage").body)
    assert shown == {"running": False, "results": [], "unknown": []}


def test_a_gap_that_is_not_recorded_is_refused(door: Open) -> None:
    status, said = asked(door, "/api/v1/coverage/gap", day="2026-03-01", modality="CT1", reason="a look")

    assert (status, "no gap is recorded for CT1" in said) == (409, True)


@pytest.mark.parametrize("day", ["2026-02-30", "yesterday", "20260301"])
def test_a_day_that_is_none_is_named(door: Open, day: str) -> None:
    status, said = asked(door, "/api/v1/coverage/runs", day=day)

    assert (status in (400, 422), "day" in said) == (True, True)
    assert door.signed_in("GET", f"/api/v1/coverage?day={day}").status in (400, 422) or day == "20260301"


def test_a_gap_is_not_shown_without_a_reason(door: Open) -> None:
    assert asked(door, "/api/v1/coverage/gap", day="2026-03-01", modality="CT1")[0] == 422
