"""What came of one step of a visit: what it found, when, and what the centre signed about it.

file = canonical JSON {"v": 1, "step", "at", "findings", "centres_word" where there is one}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from provisioning.finding import Finding, Verdict, passed
from shared import canonical, clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.self_test.exchange import CentresWord

STEPS = ("preflight", "install", "enrol", "pin-console", "self-test")
"""Those of a visit whose findings are handed over, in their order."""

MAX_FINDINGS = 200
MAX_BYTES = 256 << 10


@dataclass(frozen=True)
class Outcome:
    """`at` is when it ended; None: it was not made, and then it found nothing."""

    step: str
    at: datetime | None = None
    findings: tuple[Finding, ...] = ()
    word: CentresWord | None = None

    @property
    def verdict(self) -> Verdict:
        if any(found.verdict is Verdict.FAIL for found in self.findings):
            return Verdict.FAIL
        return Verdict.PASS if passed(self.findings) else Verdict.NOT_EVALUATED

    def json(self) -> dict[str, Json]:
        word: dict[str, Json] = {} if self.word is None else {"centres_word": self.word.json()}
        at = None if self.at is None else clock.text(self.at)
        return {**word, "step": self.step, "at": at, "findings": [found.json() for found in self.findings]}

    @classmethod
    def read(cls, fields: Fields) -> "Outcome":
        """Raises Malformed."""
        outcome = cls(
            fields.choice("step", STEPS),
            None if fields.is_null("at") else fields.instant("at"),
            tuple(map(Finding.parse, fields.items("findings", most=MAX_FINDINGS))),
            CentresWord.read(fields.fields("centres_word")) if fields.has("centres_word") else None,
        )
        fields.done()
        if outcome.at is None and (outcome.findings or outcome.word is not None):
            raise Malformed("outcome of a step", "it was not made and found something")
        return outcome

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, **self.json()})

    @classmethod
    def parse(cls, data: bytes) -> "Outcome":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("outcome of a step", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "outcome of a step"), "outcome of a step")
        fields.version()
        return cls.read(fields)


def in_order(made: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Return every step, the later of two where one was made twice; what is missing as not made."""
    found = {outcome.step: outcome for outcome in made}
    return tuple(found.get(step, Outcome(step)) for step in STEPS)
