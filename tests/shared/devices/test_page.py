"""docs/formats/device-policy.md says what the code does."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from shared import canonical
from shared.devices import parse, policy
from shared.devices.evaluate import evaluate
from shared.devices.index import MOST_NEAR
from shared.devices.matching import applies
from shared.devices.others import OtherKind
from shared.devices.parse import ATTRIBUTES, RuleMalformed, parse_rule, parse_rules
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.rule import ConditionName, RuleTarget, SetOperator
from shared.devices.suspicion import RE_ENUMERATION
from shared.devices.verdict import Cause, Target
from shared.fields import Fields
from shared.fleet.devices import MAX_DETAIL_CHARS, OtherState
from tests.shared.devices.given import AROUND, STICK, interfaces
from tests.shared.devices.test_usbguard import DIFFERENT

PAGE = (Path(__file__).parents[3] / "docs/formats/device-policy.md").read_text()
SECTIONS = dict(re.findall(r"^## \d\. (.*)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))


def rows(section: str, columns: int) -> list[list[str]]:
    """Return the rows of the tables with so many columns, without their heads."""
    tables = re.findall(r"^\|.*\n\| ---.*\n((?:^\|.*\n)+)", SECTIONS[section], re.MULTILINE)
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for table in tables for line in table.splitlines()]
    return [row for row in cells if len(row) == columns]


def code(cell: str) -> str:
    return cell.strip("`")


def test_the_json_of_the_page_is_read_and_written_back_as_it_stands() -> None:
    (block,) = re.findall(r"(?:^ {4}.*\n)+", SECTIONS["The section"], re.MULTILINE)
    written = re.sub(r"\n? {4}", "", block).strip().encode()
    read = DevicePolicy.parse(Fields(canonical.parse(written, "devices"), "devices"))

    assert canonical.encode(read.json()) == written
    assert len(read.rules) == 2


def test_every_word_of_the_language_is_on_the_page() -> None:
    grammar = SECTIONS["The language"]

    for words in (RuleTarget, SetOperator, ATTRIBUTES):
        for word in words:
            assert f'"{word}"' in grammar
    for condition in ConditionName:
        assert f"`{condition}`" in grammar


def test_the_bounds_are_those_of_the_code() -> None:
    bounds = SECTIONS["The language"].partition("**Bounds.**")[2]
    numbers = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", bounds)[:4]]

    assert numbers == [parse.MAX_RULE_CHARS, parse.MAX_VALUES, parse.MAX_CONDITIONS, parse.MAX_RULES]
    assert f"{policy.MAX_CONTACT_CHARS} characters" in SECTIONS["The section"]
    assert f"1 to {policy.MAX_RESCUE_MINUTES}; a port" in SECTIONS["The section"]
    assert f"1 to {policy.MAX_INTERFACES} times `cc:ss:pp`" in SECTIONS["The section"]
    assert f"at most {RE_ENUMERATION.seconds} seconds ago" in SECTIONS["Suspicion"]
    assert f"at most {MAX_DETAIL_CHARS} characters" in SECTIONS["The verdict"]
    assert f"at most {MOST_NEAR} that share" in SECTIONS["The verdict"]


MATCHING = [(code(rule), answer) for rule, answer in rows("Matching", 2) if rule.startswith("`allow")]


@pytest.mark.parametrize("rule, answer", MATCHING)
def test_the_rules_of_the_page_apply_as_it_says(rule: str, answer: str) -> None:
    own = replace(
        STICK, vendor=0x1234, product=0xABCD, name="N", serial="", interfaces=interfaces("08:06:50 03:01:01 03:01:01")
    )

    assert applies(parse_rule(rule), own) is (answer == "yes")


def test_every_operator_attribute_and_cause_has_its_row() -> None:
    assert {code(row[0]) for row in rows("Matching", 2)} >= set(SetOperator)
    in_order = set(re.findall(r"`([a-z-]+)`", " ".join(row[0] for row in rows("The verdict", 3))))
    assert in_order | {"not-encrypted", "not-read-only", "unrecorded"} == {cause.value for cause in Cause}
    assert len(MATCHING) == 12


def test_every_difference_from_usbguard_that_is_known_is_on_the_page() -> None:
    shown = [code(row[0]) for row in rows("Differences from USBGuard 1.1.2", 3)]

    known = set(DIFFERENT) - {"allow ", 'allow if allowed-matches( name "x" )'}  # of blanks the page gives one example
    assert known <= set(shown)
    for rule, _, here in rows("Differences from USBGuard 1.1.2", 3):
        if here == "refused":
            with pytest.raises(RuleMalformed):
                parse_rule(code(rule))
        else:
            parse_rule(code(rule))


(EXAMPLE,) = re.findall(r"(?:^ {4}.*\n)+", SECTIONS["Examples"], re.MULTILINE)


@pytest.mark.parametrize("text, verdict", rows("Examples", 2))
def test_the_examples_decide_as_the_page_says(text: str, verdict: str) -> None:
    held = DevicePolicy(tuple(map(DeviceRule, parse_rules(EXAMPLE))))
    described = parse_rule(code(text))
    (an_id,), (name,) = described.id.values, described.name.values
    own = replace(
        STICK, vendor=an_id.vendor or 0, product=an_id.product or 0, name=name,
        interfaces=interfaces(" ".join(map(str, described.with_interface.values))),
    )  # fmt: skip
    decided = evaluate(held, own, AROUND)

    reason = f"rule {decided.rule}" if decided.cause is Cause.RULE else f"{decided.cause}: `{decided.detail}`"
    assert f"{decided.target}, {reason}" == verdict


def test_every_kind_and_every_state_of_what_is_not_prevented_is_on_the_page() -> None:
    (row,) = [row for row in rows("The section", 4) if code(row[0]) == "others"]

    assert re.findall("`([a-z]+)`", row[2]) == [*OtherKind, Target.ALLOW, Target.BLOCK]
    about = SECTIONS["The verdict"].partition("**What is detected and not prevented.**")[2]
    assert {f"*{state}*" for state in OtherState} <= set(re.findall(r"\*[^*]+\*", about))
    assert OtherState.NOT_ALLOWED.words in about


def test_the_members_on_the_page_are_those_that_are_read() -> None:
    members = {code(row[0]) for row in rows("The section", 4)}

    assert len(members) == 15
    assert {member for member in members if json.dumps(member) not in Path(policy.__file__).read_text()} == set()
