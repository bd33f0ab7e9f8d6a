"""What a step found on a host: one thing looked at, what came of it, why, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json
from shared.fields import Fields

_CHECK = r"[a-z0-9]+(-[a-z0-9]+)*"


class Verdict(StrEnum):
    """`NOT_EVALUATED` is no pass: nobody looked, or what there was could not tell."""

    PASS = "pass"  # noqa: S105 (opens nothing)
    FAIL = "fail"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True)
class Finding:
    """`reason` says what was seen, `fix` what to do where it did not pass."""

    check: str
    verdict: Verdict
    reason: str
    fix: str = ""

    def json(self) -> Json:
        return {"check": self.check, "verdict": self.verdict.value, "reason": self.reason, "fix": self.fix}

    @classmethod
    def parse(cls, value: Json) -> "Finding":
        """Raises Malformed."""
        fields = Fields(value, "finding")
        check = fields.text("check", _CHECK, max_chars=64)
        verdict = Verdict(fields.choice("verdict", [known.value for known in Verdict]))
        found = cls(check, verdict, fields.text("reason"), fields.text("fix"))
        fields.done()
        return found


def passed(findings: Sequence[Finding]) -> bool:
    """Return whether everything was looked at and is well; of nothing nothing is well."""
    return bool(findings) and all(found.verdict is Verdict.PASS for found in findings)


def lines(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as a person reads them, what to do below what did not pass."""
    wide = max((len(found.check) for found in findings), default=0)
    said = []
    for found in findings:
        said.append(f"{found.verdict.value:13}  {found.check:{wide}}  {found.reason}".rstrip())
        if found.fix and found.verdict is not Verdict.PASS:
            said.append(f"{'':13}  {'':{wide}}  do: {found.fix}")
    return said
