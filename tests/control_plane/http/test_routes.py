"""Sending again through the people's door: what one may ask, and what it answers where there is nothing of it."""

import json
from typing import Any

import pytest

from tests.control_plane.http.conftest import Open

OBJECT = "0a" * 16


def again(door: Open, **body: Any) -> tuple[int, str]:
    answer = door.signed_in("POST", "/api/v1/routes/pacs/again", json.dumps({"reason": "put back", **body}).encode())
    return answer.status, answer.body.decode()


def test_a_route_that_never_had_an_image_is_named(door: Open) -> None:
    for which in ({"objects": [OBJECT]}, {"since": "2026-03-01T08:00:00Z"}):
        status, said = again(door, **which)
        assert (status, "no image was ever queued for a route pacs" in said) == (404, True)


@pytest.mark.parametrize(
    "which",
    [
        {},
        {"objects": []},
        {"objects": ["all"]},
        {"objects": [OBJECT], "since": "2026-03-01T08:00:00Z"},
        {"objects": [OBJECT], "until": "2026-03-01T08:00:00Z"},
        {"until": "2026-03-01T08:00:00Z"},
        {"since": "yesterday"},
        {"objects": [OBJECT], "reason": ""},
    ],
)
def test_what_says_not_which_images_is_refused(door: Open, which: dict[str, Any]) -> None:
    assert again(door, **which)[0] in (400, 422)


def test_nobody_sends_anything_without_a_sign_in(door: Open) -> None:
    assert door.people("POST", "/api/v1/routes/pacs/again", b"{}").status == 401
