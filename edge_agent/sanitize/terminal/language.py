"""What a language has to have words for on the screens. Names in braces are filled in."""

from dataclasses import dataclass

from edge_agent.sanitize.attempt import Standing
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.judged import Place, Result
from shared.sanitization.medium import MediumKind, SerialSource
from shared.sanitization.technique import SanitizationClass, Sequence, Technique
from shared.sanitization.ticket import Override, Reason


@dataclass(frozen=True)
class Language:
    """`next_steps` say what a technician does after each result; `says` is everything else, by its place."""

    kinds: dict[MediumKind, str]
    sources: dict[SerialSource, str]
    techniques: dict[Technique, str]
    sequences: dict[Sequence, str]
    reads: dict[ReadBack, str]
    least: dict[LeastClass, str]
    classes: dict[SanitizationClass, str]
    reasons: dict[Reason, str]
    overrides: dict[Override, str]
    standings: dict[Standing, str]
    results: dict[Result, str]
    next_steps: dict[Result, str]
    places: dict[Place, str]
    says: dict[str, str]
