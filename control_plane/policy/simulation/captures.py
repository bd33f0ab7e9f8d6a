"""Which captures another policy would treat otherwise, by what the centre knows without opening anything. Decides only.

Known are the AE title that sent it, grade and routes as its host signed them, and under which version. What rules ask
of an image beyond its AE title is sealed. So grading is a list of outcomes, each under what nobody here can look at,
and a last one; two gradings with the same list grade an image the same, and what is not certain is *not evaluated*.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from control_plane.policy.file.authored import AuthoredPolicy
from shared.policy.document import Modality
from shared.policy.grading import CALLING_AE_TITLE, Grading, Rule


@dataclass(frozen=True)
class Captured:
    """What images of one kind have in common. `ae_title` is empty where no record here says who sent them.

    `is_read`: its attributes could be read as far as the sealed index needs them.
    """

    host_id: str
    ae_title: str
    grade: str
    routes: tuple[str, ...]
    policy_version: int
    is_read: bool


class Treated(StrEnum):
    SAME = "as before"
    REFUSED = "refused"
    OTHERWISE = "otherwise"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True)
class CaptureVerdict:
    treated: Treated
    then: str = ""  # grade and routes, where they are certain
    why: str = ""


@dataclass(frozen=True)
class _Outcome:
    """Grade and routes of an image of which `given` is true and nothing before it was; None: of any other."""

    given: object
    grade: str
    routes: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"{self.grade}, to the vault" + (f" and to {', '.join(self.routes)}" if self.routes else "")


def judge(captured: Captured, before: AuthoredPolicy | None, after: AuthoredPolicy) -> CaptureVerdict:
    """`before` is what it was captured under; None: that cannot be told."""
    if not captured.ae_title:
        return CaptureVerdict(Treated.NOT_EVALUATED, why="no record here says which AE title sent it")
    sender = _modality(after, captured.ae_title)
    if sender is None:
        return CaptureVerdict(Treated.REFUSED, why=f"the policy does not list {captured.ae_title}")
    graded = _grading(captured, None if before is None else before.grading, after.grading)
    if graded.treated is Treated.OTHERWISE:
        return graded
    narrowed = ", ".join(_narrowed(None if before is None else _modality(before, captured.ae_title), sender))
    if narrowed:
        why = f"whether it would still be let in: no record here says its {narrowed}"
        return CaptureVerdict(Treated.NOT_EVALUATED, why=why)
    return graded


def _modality(policy: AuthoredPolicy, ae_title: str) -> Modality | None:
    return next((each for each in policy.modalities if each.ae_title == ae_title), None)


def _narrowed(old: Modality | None, new: Modality) -> Iterator[str]:
    """Yield what a sender is asked for now and perhaps could not show."""
    if new.addresses and (old is None or not old.addresses or not set(old.addresses) <= set(new.addresses)):
        yield "address"
    if new.certificates and (old is None or not old.certificates or not set(old.certificates) <= set(new.certificates)):
        yield "certificate"
    if new.export_folder is None and (old is None or old.export_folder is not None):
        yield "way in, which may have been the export folder"


def _grading(captured: Captured, before: Grading | None, after: Grading) -> CaptureVerdict:
    then = _outcomes(after, captured)
    if before is not None and _outcomes(before, captured) == then:
        return CaptureVerdict(Treated.SAME)
    is_as_now = [(each.grade, each.routes) == (captured.grade, captured.routes) for each in then]
    if all(is_as_now):
        return CaptureVerdict(Treated.SAME)
    if any(is_as_now):
        sealed = ", ".join(sorted(after.looks_at - {CALLING_AE_TITLE}))
        return CaptureVerdict(
            Treated.NOT_EVALUATED, why=f"its grade depends on {sealed}, which the centre does not see"
        )
    words = " or ".join(dict.fromkeys(each.words for each in then))
    return CaptureVerdict(
        Treated.OTHERWISE, words, f"captured as {_Outcome(None, captured.grade, captured.routes).words}"
    )


def _outcomes(grading: Grading, captured: Captured) -> tuple[_Outcome, ...]:
    unread = (grading.strictest, grading.ungraded_routes)
    if not captured.is_read:
        return (_Outcome(None, *unread),)
    sealed = grading.looks_at - {CALLING_AE_TITLE}
    # What the index needs could be read; whether all that rules look at could be is not known.
    found = [_Outcome(("cannot be read", sealed), *unread)] if sealed else []
    last = _Outcome(None, grading.default, grading.routes)
    for rule in grading.rules:
        rest = tuple(condition for condition in rule.when if condition[0] != CALLING_AE_TITLE)
        if not _is_for(rule, captured.ae_title):
            continue
        if not rest:
            last = _Outcome(None, rule.grade, rule.routes)
            break
        found.append(_Outcome(rest, rule.grade, rule.routes))
    while found and (found[-1].grade, found[-1].routes) == (last.grade, last.routes):
        found.pop()
    return (*found, last)


def _is_for(rule: Rule, ae_title: str) -> bool:
    asked = tuple(condition for condition in rule.when if condition[0] == CALLING_AE_TITLE)
    return Rule(asked, rule.grade).holds({CALLING_AE_TITLE: ae_title})
