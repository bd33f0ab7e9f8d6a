"""How a policy grades images: rules on their attributes choose the grade, hence the key, and the routes.

The first rule of which every condition holds decides. An image of which no rule says anything gets the default; one
whose attributes could not be read gets the strictest grade, whatever the rules.  docs/formats/policy.md section 3
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property

from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.policy.routes import MAX_ROUTES, ROUTE_PATTERN
from shared.sealing.record import GRADE_PATTERN

MAX_GRADES, MAX_RULES, MAX_CONDITION_VALUES, MAX_VALUE_CHARS = 16, 200, 50, 64
ATTRIBUTES = (
    "calling_ae_title",  # of the association, or of the export folder
    "sop_class_uid",  # (0008,0016)
    "modality",  # (0008,0060)
    "institution_name",  # (0008,0080)
    "referring_physician",  # (0008,0090)
    "station_name",  # (0008,1010)
    "study_description",  # (0008,1030)
    "series_description",  # (0008,103E)
    "department_name",  # (0008,1040)
    "patient_name",  # (0010,0010)
    "patient_id",  # (0010,0020)
    "body_part",  # (0018,0015)
    "protocol_name",  # (0018,1030)
    "burned_in_annotation",  # (0028,0301)
)
"""What rules look at, in the order of the data set."""
CALLING_AE_TITLE = ATTRIBUTES[0]
_PERSON_NAMES = ("referring_physician", "patient_name")


@dataclass(frozen=True)
class Rule:
    """`when` maps an attribute to patterns (* and ? as in file names, case ignored), of which one has to match."""

    when: tuple[tuple[str, tuple[str, ...]], ...]
    grade: str
    routes: tuple[str, ...] = ()

    def holds(self, attributes: Mapping[str, str]) -> bool:
        """Whether each condition matches. `attributes` has all that `when` names; what an image lacks is empty text."""
        return all(
            any(pattern.fullmatch(value.upper()) for value in _values(name, attributes[name]))
            for name, pattern in self._compiled
        )

    def hides(self, later: "Rule") -> bool:
        """Whether `later` can never decide behind this rule, because this one holds wherever it does."""
        theirs = {name: {pattern.upper() for pattern in patterns} for name, patterns in later.when}
        return all(
            name in theirs and theirs[name] <= {pattern.upper() for pattern in patterns} for name, patterns in self.when
        )

    @cached_property
    def _compiled(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        # Once a policy and not once an image: a rule may list fifty patterns, and there may be two hundred rules.
        return tuple((name, re.compile("|".join(map(_expression, patterns)))) for name, patterns in self.when)

    def json(self) -> dict[str, Json]:
        when: dict[str, Json] = {name: list(patterns) for name, patterns in self.when}
        return {"when": when, "grade": self.grade, "routes": list(self.routes)}

    @classmethod
    def parse(cls, value: Json) -> "Rule":
        """Raises Malformed."""
        fields = Fields(value, "policy grading rule")
        when = fields.mapping("when", most=len(ATTRIBUTES))
        conditions = []
        for name in sorted(when):
            if name not in ATTRIBUTES:
                raise Malformed("policy grading rule field 'when'", f"there is no attribute {name[:64]!r}")
            patterns = Fields(when, "policy grading rule field 'when'").items(name, most=MAX_CONDITION_VALUES)
            conditions.append((name, tuple(_pattern(pattern) for pattern in patterns)))
            if not patterns:
                raise Malformed("policy grading rule field 'when'", f"lists nothing for {name!r}")
        rule = cls(tuple(conditions), fields.text("grade", GRADE_PATTERN), names(fields, "routes"))
        fields.done()
        return rule


@dataclass(frozen=True)
class Grading:
    """`grades` lists every grade in use, the strictest last. `ungraded_routes` are those of unreadable images."""

    default: str
    grades: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    routes: tuple[str, ...] = ()
    ungraded_routes: tuple[str, ...] = ()

    @property
    def strictest(self) -> str:
        return self.grades[-1] if self.grades else self.default

    @cached_property
    def looks_at(self) -> frozenset[str]:
        """The attributes, of `ATTRIBUTES`, that any rule looks at."""
        return frozenset(name for rule in self.rules for name, _ in rule.when)

    def all_routes(self) -> tuple[str, ...]:
        ruled = (route for rule in self.rules for route in rule.routes)
        return tuple(dict.fromkeys((*self.routes, *self.ungraded_routes, *ruled)))

    def json(self) -> dict[str, Json]:
        """What is not used is not written, so that a policy has one encoding and the oldest readers still read it."""
        members: dict[str, Json] = {"default": self.default}
        if self.grades:
            members["grades"] = list(self.grades)
        if self.rules:
            members["rules"] = [rule.json() for rule in self.rules]
        if self.routes:
            members["routes"] = list(self.routes)
        if self.ungraded_routes:
            members["ungraded_routes"] = list(self.ungraded_routes)
        return members

    @classmethod
    def parse(cls, fields: Fields) -> "Grading":
        """Raises Malformed."""
        grading = cls(
            default=fields.text("default", GRADE_PATTERN),
            grades=names(fields, "grades", GRADE_PATTERN, MAX_GRADES) if fields.has("grades") else (),
            rules=tuple(Rule.parse(rule) for rule in fields.items("rules", most=MAX_RULES))
            if fields.has("rules")
            else (),
            routes=names(fields, "routes") if fields.has("routes") else (),
            ungraded_routes=names(fields, "ungraded_routes") if fields.has("ungraded_routes") else (),
        )
        fields.done()
        listed = grading.grades or (grading.default,)
        for grade in (grading.default, *(rule.grade for rule in grading.rules)):
            if grade not in listed:
                raise Malformed("policy grading", f"uses grade {grade}, which its grades do not list")
        return grading


def names(fields: Fields, field: str, pattern: str = ROUTE_PATTERN, most: int = MAX_ROUTES) -> tuple[str, ...]:
    """Return a list of names, none of them twice. Raises Malformed."""
    found = tuple(Fields({field: item}, "policy").text(field, pattern) for item in fields.items(field, most=most))
    if len(set(found)) != len(found):
        raise Malformed(f"policy field {field!r}", "lists a name twice")
    return found


def _values(name: str, text: str) -> list[str]:
    """Return the texts of which one has to match: each value of several, and of a person's name each of its groups."""
    values = text.split("\\")
    if name in _PERSON_NAMES:
        # PS3.5 section 6.2.1: = parts alphabetic, ideographic and phonetic group, and empty components at the end of
        # one may be left out with their ^.
        values = [group.rstrip(" ^") for value in values for group in value.split("=")]
    return [value.strip(" ") for value in values]


def _expression(pattern: str) -> str:
    # Square brackets stand for themselves.
    return translate(pattern.upper().replace("[", "[[]"))


def _pattern(value: Json) -> str:
    return Fields({"pattern": value}, "policy grading rule").text(
        "pattern", r"[^\x00-\x1f\x7f]+", max_chars=MAX_VALUE_CHARS
    )
