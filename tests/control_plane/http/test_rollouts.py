"""Roll-outs at the people's door: for whoever may, and nothing else than what a roll-out knows."""

import json

import pytest

from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_doors import problem

STEER = {"layer": "organisation", "do": "revert", "because": "no printing"}


def test_nobody_steers_who_is_not_signed_in(door: Open) -> None:
    body = json.dumps(STEER).encode()
    answer = door.people("POST", "/api/v1/policy/rollouts", body, **{"Content-Type": "application/json"})

    assert answer.status == 401
    assert door.people("GET", "/api/v1/policy/rollouts").status == 401
    # Control: whoever is signed in gets further, to what the roll-out itself says.
    assert door.signed_in("POST", "/api/v1/policy/rollouts", body).status == 409


def test_a_role_that_may_not_steer_is_refused(door: Open) -> None:
    made = door.signed_in("POST", "/api/v1/people", b'{"name": "tom", "role": "field-engineer"}')
    body = json.dumps(STEER).encode()
    who = {"Authorization": f"Bearer {json.loads(made.body)['token']}", "Content-Type": "application/json"}

    assert door.people("POST", "/api/v1/policy/rollouts", body, **who).status == 403
    assert door.people("GET", "/api/v1/policy/rollouts", None, **who).status == 200


@pytest.mark.parametrize(
    "change", [{"do": "finish"}, {"layer": "../x"}, {"because": "two\nlines"}, {"because": "x" * 301}, {"more": 1}]
)
def test_what_is_no_request_is_refused(door: Open, change: dict[str, object]) -> None:
    answer = door.signed_in("POST", "/api/v1/policy/rollouts", json.dumps({**STEER, **change}).encode())

    assert answer.status in (400, 422)


def test_a_layer_without_a_roll_out_has_none(door: Open) -> None:
    answer = door.signed_in("POST", "/api/v1/policy/rollouts", json.dumps(STEER).encode())

    assert problem(answer)["error"] == "NoRollout"
    listed = door.signed_in("GET", "/api/v1/policy/rollouts")
    assert json.loads(listed.body) == {"rollouts": [], "unreadable": []}
