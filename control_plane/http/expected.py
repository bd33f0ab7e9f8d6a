"""Says in our words what the models of requests find wrong, which pydantic says in its own."""

import re
from collections.abc import Mapping

from control_plane.people.name import PERSON_PATTERN
from shared.enrolment.lapsed import FINGERPRINT_PATTERN
from shared.identity import SOURCE_PATTERN
from shared.policy.layer import LAYER_PATTERN, PART_NAME_PATTERN

_ONE_LINE = "text on one line"
# Every pattern of a model, and what a person has to type to match it.
FORMS: Mapping[str, str] = {
    r"^[0-9.]{1,64}$": "a DICOM UID: digits and dots, at most 64",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "a day such as 2026-03-01",
    r"^[0-9a-f]{16}$": "16 lower-case hex digits, as the list shows them",
    r"^[0-9a-f]{32}$": "32 lower-case hex digits",
    r"^host-[0-9a-f]{32}$": "host- and 32 lower-case hex digits, as `status` shows them",
    r"^[\x20-\x7e]*$": "printable ASCII",
    r"^[^\x00-\x1f\x7f]*$": _ONE_LINE,
    r"^[^\x00-\x1f\x7f]+$": _ONE_LINE,
    f"^({SOURCE_PATTERN})$": "control-plane, or host- and 32 lower-case hex digits",
    f"^{PERSON_PATTERN}$": "a name of letters, digits, spaces and .@'-, at most 64",
    f"^{FINGERPRINT_PATTERN}$": "four groups of four characters, as the machine shows them",
    f"^{LAYER_PATTERN}$": "the name of a layer: organisation, site-NAME or modality-NAME",
    f"^{PART_NAME_PATTERN}$": "lower-case letters, digits and hyphens, at most 23",
}
_PATTERN = re.compile(r"String should match pattern '(.*)'", re.DOTALL)
_SAID = (
    (r"String should have at (least|most) (\d+ characters?)", r"expected at \1 \2"),
    (r"Input should be greater than or equal to (\S+)", r"expected \1 or more"),
    (r"Input should be less than or equal to (\S+)", r"expected \1 or less"),
    (r"Input should be (?:a valid )?(.*)", r"expected \1"),
    (r"Field required", r"is missing"),
    (r"Extra inputs are not permitted", r"there is no such field"),
)


def in_words(what: str) -> str:
    """Return what is wrong with a field as a person is told it; what is not known here stays as it is."""
    if said := _PATTERN.fullmatch(what):
        return f"expected {FORMS.get(said[1], f'text of the form {said[1]}')}"
    return next((said.expand(told) for pattern, told in _SAID if (said := re.fullmatch(pattern, what))), what)
