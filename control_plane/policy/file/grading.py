"""Reads how images are graded: `grading`, and that its grades, rules and routes fit each other."""

from control_plane.policy.file.peers import ROUTE_EXPECTED
from control_plane.policy.file.values import Section, Value
from shared.policy.grading import (
    ATTRIBUTES,
    MAX_CONDITION_VALUES,
    MAX_GRADES,
    MAX_RULES,
    MAX_VALUE_CHARS,
    Grading,
    Rule,
)
from shared.policy.routes import MAX_ROUTES, ROUTE_PATTERN
from shared.sealing.record import GRADE_PATTERN

_GRADE_EXPECTED = "expected a grade such as restricted: a to z, 0 to 9, hyphen"
_VALUE_PATTERN = rf"[^\x00-\x1f\x7f]{{1,{MAX_VALUE_CHARS}}}"
_VALUE_EXPECTED = f"expected 1 to {MAX_VALUE_CHARS} characters on one line; * and ? stand for others"


def read_grading(value: Value, routes: frozenset[str] | None) -> Grading:
    """Return the grading of a policy that has `routes`; None: another file lists them."""
    section = value.section(("default",), ("grades", "rules", "routes", "ungraded_routes"))
    default = section.text("default", GRADE_PATTERN, _GRADE_EXPECTED)
    grades = tuple(grade for grade, _ in section.texts("grades", GRADE_PATTERN, _GRADE_EXPECTED, MAX_GRADES))
    allowed = grades or (default,)
    if default and default not in allowed:
        _not_listed(section.get("default"), default)
    return Grading(
        default,
        grades,
        _rules(section, allowed, routes),
        _routes(section, "routes", routes),
        _routes(section, "ungraded_routes", routes),
    )


def _rules(section: Section, grades: tuple[str, ...], routes: frozenset[str] | None) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for item in section.items("rules", MAX_RULES):
        rule, sound = _rule(item, grades, routes)
        hidden_by = next((number for number, earlier in enumerate(rules, 1) if earlier.hides(rule)), None)
        if sound and hidden_by is not None:
            item.problem(f"is never reached: rule {hidden_by} holds wherever it does; put it first, or take it out")
        rules.append(rule)
    return tuple(rules)


def _rule(item: Value, grades: tuple[str, ...], routes: frozenset[str] | None) -> tuple[Rule, bool]:
    """Return the rule, and whether nothing was wrong with it."""
    before = len(item.problems)
    section = item.section(("when", "grade"), ("routes",))
    grade = section.text("grade", GRADE_PATTERN, _GRADE_EXPECTED)
    if grade and grade not in grades:
        _not_listed(section.get("grade"), grade)
    when = section.get("when")
    rule = Rule(() if when is None else _when(when), grade, _routes(section, "routes", routes))
    return rule, len(item.problems) == before


def _when(value: Value) -> tuple[tuple[str, tuple[str, ...]], ...]:
    section = value.section((), ATTRIBUTES)
    patterns = {name: _patterns(listed) for name, listed in section.present().items()}
    return tuple(sorted(patterns.items()))


def _patterns(value: Value) -> tuple[str, ...]:
    before = len(value.problems)
    texts = tuple(text for text, _ in value.texts(_VALUE_PATTERN, _VALUE_EXPECTED, MAX_CONDITION_VALUES))
    if not texts and len(value.problems) == before:
        value.problem("lists nothing, so the rule never holds; list a value, or take this out")
    return texts


def _routes(section: Section, name: str, known: frozenset[str] | None) -> tuple[str, ...]:
    found = section.texts(name, ROUTE_PATTERN, ROUTE_EXPECTED, MAX_ROUTES)
    for route, at in found:
        if known is not None and route not in known:
            at.problem(f"there is no route {route}; " + (f"there is {_listed(known)}" if known else "routes has none"))
    return tuple(route for route, _ in found)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _not_listed(at: Value | None, grade: str) -> None:
    if at is not None:
        at.problem(f"grade {grade} is not in grading.grades; list every grade there, the strictest last")
