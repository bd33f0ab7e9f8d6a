"""Judges a hand-over report without host and centre: who signed it, and what the centre's word in it is.

What it reports is not judged again: a signed report of something that failed is a genuine report, and says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from provisioning.finding import Verdict
from provisioning.handover.report import HandOver, SignedHandOver
from provisioning.verify.certificate import (
    Certified,
    check_issuer,
    check_purpose,
    check_validity,
    evidence_key,
    parse_certified,
)
from provisioning.verify.checks import Check, failures, judged, not_evaluated
from shared import clock
from shared.canonical import Json
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Malformed
from shared.identity import CONTROL_PLANE
from shared.self_test.exchange import Comparison, verify_answer

_CENTRES_WORD = "the centre opened the phantom"
_OPENED = "phantom-opened"
_MOST_APART = timedelta(hours=1)  # two clocks, and the end of a step


@dataclass(frozen=True)
class HandOverReport:
    checks: tuple[Check, ...]
    report: HandOver

    @property
    def ok(self) -> bool:
        return not failures(self.checks)

    @property
    def conclusion(self) -> str:
        if not self.ok:
            return "NOT PROVEN: do not rely on anything that this report says."
        counts = ", ".join(f"{self.report.count(verdict)} {verdict.value}" for verdict in Verdict)
        return (
            f"Proven: {self.report.host_id} signed this report, and it was not changed since. It reports {counts}. "
            "Not proven: who was there, whose names were typed; and what is printed on a page beside it."
        )

    def lines(self) -> list[str]:
        return list(_facts(self.report))

    def json(self) -> dict[str, Json]:
        return {"checks": [check.json() for check in self.checks], "report": self.report.json()}


def judge_hand_over(signed: SignedHandOver, trust: Trust) -> HandOverReport:
    """Raises Malformed: its certificate cannot be read."""
    report, one = signed.report, parse_certified(signed.certificate.encode(), "certificate of the hand-over report")
    checks = (
        check_issuer(one, trust),
        check_purpose(one.certificate, str(report.host_id)),
        _check_signature(signed, one),
        check_validity(one, trust, report.made, "the time of the report"),
        _check_word(report, trust),
    )
    return HandOverReport(checks, report)


def _check_signature(signed: SignedHandOver, one: Certified) -> Check:
    try:
        key = evidence_key(one.certificate)
        signed.verify(key)
    except (Malformed, IntegrityFailure) as exc:
        return judged("signature of the host", False, str(exc))
    return judged("signature of the host", True, f"evidence key {key.key_id}")


def _check_word(report: HandOver, trust: Trust) -> Check:
    claimed = any(found.check == _OPENED and found.verdict is Verdict.PASS for _, found in report.named())
    said = next(((one.word, one.at) for one in report.steps if one.word is not None and one.at is not None), None)
    if said is None:
        if claimed:
            return judged(_CENTRES_WORD, False, "the report says so, and the centre's signed word is not in it")
        return not_evaluated(_CENTRES_WORD, "the report does not say so")
    word, at = said
    try:
        one = parse_certified(word.certificate.encode(), "certificate beside the centre's word")
        issued, named = check_issuer(one, trust), check_purpose(one.certificate, CONTROL_PLANE)
        answer = verify_answer(word.statement, evidence_key(one.certificate))
    except (Malformed, IntegrityFailure) as exc:
        return judged(_CENTRES_WORD, False, str(exc))
    for check in (issued, named):
        if not check.holds:
            return judged(_CENTRES_WORD, False, f"{check.name}: {check.detail}")
    if answer.host_id != report.host_id:
        return judged(_CENTRES_WORD, False, f"its word is about {answer.host_id}")
    if answer.comparison is not Comparison.EQUAL:
        return judged(_CENTRES_WORD, False, "its word is that it differs from what was sent")
    if abs(answer.opened - at) > _MOST_APART:
        why = f"its word is of {clock.text(answer.opened)}, and the step was made at {clock.text(at)}"
        return judged(_CENTRES_WORD, False, why)
    detail = f"object {answer.object_id} of this host, at {clock.text(answer.opened)}: equal to what was sent"
    return judged(_CENTRES_WORD, True, detail)


def _facts(report: HandOver) -> Iterator[str]:
    policy = ", ".join(f"{layer} {version}" for layer, version in report.policy.items())
    yield f"{report.asset}: {report.host_id}, {clock.text(report.made)}"
    until = clock.text(report.certificate_until)
    yield f"policy {policy or 'none'}; keys in {report.keys.value}; certificate until {until}"
    yield ", ".join(f"{program} {version}" for program, version in report.software.items())
    yield f"engineer {report.engineer}, received by {report.received_by} (as typed)"
    for step, found in report.named():
        yield f"  {found.verdict.value:13}  {step:12}  {found.check}: {found.reason}".rstrip()
