"""Chooses the sensitivity grade of an image, and with it the key that it is sealed to and the routes it takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.policy.document import PolicyDocument
from shared.policy.grading import CALLING_AE_TITLE


@dataclass(frozen=True)
class Graded:
    grade: str
    routes: tuple[str, ...]
    reason: str


def choose(policy: PolicyDocument, calling_ae_title: str, attributes: Mapping[str, str] | None) -> Graded:
    """Return grade and routes of an image.

    `attributes` are those that the policy's rules look at, as the data set has them; None: they could not be read. Then
    the image gets the strictest grade there is, whatever its rules and default say.
    """
    grading = policy.grading
    if attributes is None:
        return Graded(grading.strictest, grading.ungraded_routes, "its attributes could not be read")
    known = {**attributes, CALLING_AE_TITLE: calling_ae_title}
    for number, rule in enumerate(grading.rules, 1):
        if rule.holds(known):
            return Graded(rule.grade, rule.routes, f"rule {number}")
    return Graded(grading.default, grading.routes, "the policy's default")
