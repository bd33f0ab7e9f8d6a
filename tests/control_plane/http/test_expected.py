"""What a person mistyped is said in our words, and never as a pattern."""

import json
import re

import pytest

from control_plane.http.expected import FORMS, in_words
from tests.control_plane.http.conftest import Open

_PATTERN = re.compile(r'"pattern": "((?:[^"\\]|\\.)*)"')


@pytest.mark.parametrize(
    "said, told",
    [
        ("String should match pattern '^[0-9.]{1,64}$'", "expected a DICOM UID: digits and dots, at most 64"),
        ("String should have at least 1 character", "expected at least 1 character"),
        ("String should have at most 64 characters", "expected at most 64 characters"),
        ("Input should be less than or equal to 365", "expected 365 or less"),
        ("Input should be 'C', 'R' or 'U'", "expected 'C', 'R' or 'U'"),
        ("Field required", "is missing"),
        ("something new", "something new"),
    ],
)
def test_words(said: str, told: str) -> None:
    assert in_words(said) == told


def test_every_pattern_of_a_request_has_words(door: Open) -> None:
    described = door.signed_in("GET", "/api/v1/openapi.json").body
    bodies = json.loads(described)["components"]["schemas"]
    asked = {name for name in bodies if re.search(rf'"requestBody".{{0,200}}schemas/{name}"', described.decode())}
    patterns = {json.loads(f'"{found}"') for name in asked for found in _PATTERN.findall(json.dumps(bodies[name]))}

    assert patterns
    assert patterns - FORMS.keys() == set()
