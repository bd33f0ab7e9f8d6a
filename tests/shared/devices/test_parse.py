"""What is read, and what is refused with which words."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.devices.parse import (
    MAX_CONDITIONS,
    MAX_RULE_CHARS,
    MAX_RULES,
    MAX_VALUES,
    RuleMalformed,
    parse_query,
    parse_rule,
    parse_rules,
)
from shared.devices.rule import (
    Attribute,
    Condition,
    ConditionName,
    DayTime,
    DeviceId,
    InterfaceType,
    Rule,
    RuleTarget,
    SetOperator,
)
from shared.errors import Malformed
from tests.shared.devices.given import rules


def refused(text: str) -> RuleMalformed:
    with pytest.raises(RuleMalformed) as caught:
        parse_rules(text)
    return caught.value


@pytest.mark.parametrize("target", RuleTarget)
def test_reads_every_target(target: RuleTarget) -> None:
    assert parse_rule(target.value) == Rule(target)


@pytest.mark.parametrize("operator", SetOperator)
def test_reads_every_set_operator(operator: SetOperator) -> None:
    assert parse_rule(f'allow name {operator} {{ "a" "b" }}').name == Attribute(("a", "b"), operator)


@pytest.mark.parametrize(
    "text, value",
    [
        ("1d6b:0002", DeviceId(0x1D6B, 2)),
        ("1D6B:*", DeviceId(0x1D6B, None)),
        ("*:*", DeviceId(None, None)),
    ],
)
def test_reads_an_id_with_and_without_its_name(text: str, value: DeviceId) -> None:
    assert parse_rule(f"allow {text}") == parse_rule(f"allow id {text}") == Rule(RuleTarget.ALLOW, Attribute((value,)))


@pytest.mark.parametrize(
    "text, value",
    [
        ("08:06:50", InterfaceType(8, 6, 0x50)),
        ("08:06:*", InterfaceType(8, 6)),
        ("FF:*:*", InterfaceType(0xFF)),
    ],
)
def test_reads_interfaces(text: str, value: InterfaceType) -> None:
    assert parse_rule(f"allow with-interface {text}").with_interface == Attribute((value,))


@pytest.mark.parametrize(
    "text, condition",
    [
        ("true", Condition(ConditionName.TRUE)),
        ("!false", Condition(ConditionName.FALSE, negated=True)),
        ("random(0.25)", Condition(ConditionName.RANDOM, False, "0.25", 0.25)),
        ("localtime(8:05)", Condition(ConditionName.LOCALTIME, False, "8:05", DayTime(29_100, 29_100))),
        (
            "localtime(08:00-17:59:59)",
            Condition(ConditionName.LOCALTIME, False, "08:00-17:59:59", DayTime(28_800, 64_799)),
        ),
        ("rule-applied(90)", Condition(ConditionName.RULE_APPLIED, False, "90", timedelta(seconds=90))),
        ("rule-evaluated(1:30)", Condition(ConditionName.RULE_EVALUATED, False, "1:30", timedelta(minutes=90))),
        ("rule-applied(25:00:01)", Condition(ConditionName.RULE_APPLIED, False, "25:00:01", timedelta(1, 3601))),
        (
            'allowed-matches(name "x")',
            Condition(ConditionName.ALLOWED_MATCHES, False, 'name "x"', Rule(RuleTarget.ALLOW, name=Attribute(("x",)))),
        ),
    ],
)  # fmt: skip
def test_reads_every_condition_and_what_it_means(text: str, condition: Condition) -> None:
    (read,) = parse_rule(f"allow if {text}").conditions.values

    assert (read, read.meaning) == (condition, condition.meaning)
    assert str(read) == text


def test_reads_a_query_as_a_rule_that_allows() -> None:
    assert parse_query('1234:abcd name "x"') == parse_rule('allow 1234:abcd name "x"')


def test_a_label_may_be_there_again_as_in_usbguard() -> None:
    assert parse_rule('allow label "a" label one-of { "b" }').label == Attribute(("a", "b"), SetOperator.ONE_OF)


def test_counts_rules_and_not_lines() -> None:
    assert len(parse_rules("# one\n\nallow\n  \t\n  # two\n block # three\n")) == 2


@pytest.mark.parametrize(
    "text, column, found, allowed",
    [
        ("permit", 1, "permit", "allow, block, reject, match, device"),
        ("allow *:0002", 7, "*:0002", "together with one for the product"),
        ("allow 12345:1", 7, "12345:1", "an id such as 1d6b:0002"),
        ("allow with-interface 03:*:01", 22, "03:*:01", "together with one for the protocol"),
        ('allow name "a\\nb"', 14, '\\nb"', "one of the escapes"),
        ('allow name "a', 14, "", "a closing"),
        ('allow name "a"name', 15, "name", "a blank, a comment or the end"),
        ('allow name { "a" "b"', 21, "", "a blank or }"),
        ('allow name "a" name "b"', 16, 'name "b"', "each attribute once"),
        ("allow if maybe", 10, "maybe", "localtime, allowed-matches"),
        ("allow if localtime", 19, "", "( and what it takes"),
        ("allow if localtime(22:00-06:00)", 20, "22:00-06:00)", "the later one last"),
        ("allow if random(1.5)", 17, "1.5)", "from 0 to 1"),
        ("allow if true(1)", 15, "1)", "no argument of true"),
        ("allow if match-all { true }", 9, " match-all { true }", "any set operator but match-all"),
        ('allow if allowed-matches(nome "x")', 26, 'nome "x"', "one of id, serial"),
        ("allow\r", 6, "\r", "a blank, a comment or the end"),
    ],
)
def test_says_where_and_what_was_found_and_what_is_allowed(text: str, column: int, found: str, allowed: str) -> None:
    malformed = refused(f"block\n# a comment\n{text}")

    assert (malformed.line, malformed.column, malformed.found) == (3, column, found)
    assert allowed in str(malformed)
    assert f"line 3, column {column}" in str(malformed)


def test_quotes_hostile_text_as_one_short_printable_line() -> None:
    words = str(refused("allow " + "\x1b[2J\u202e" * 100))

    assert words.isprintable()
    assert len(words) < 300


@pytest.mark.parametrize(
    "text",
    [
        f'allow name "{"a" * MAX_RULE_CHARS}"',
        "allow id { " + "1234:1234 " * (MAX_VALUES + 1) + "}",
        "allow if { " + "true " * (MAX_CONDITIONS + 1) + "}",
        "allow\n" * (MAX_RULES + 1),
        'allow name "\ud800"',
    ],
    ids=["rule too long", "too many values", "too many conditions", "too many rules", "not UTF-8"],
)
def test_refuses_what_is_beyond_the_bounds(text: str) -> None:
    refused(text)


def test_takes_what_is_just_within_the_bounds() -> None:
    assert len(parse_rule("allow id { " + "1234:1234 " * MAX_VALUES + "}").id.values) == MAX_VALUES
    assert len(parse_rule("allow if { " + "true " * MAX_CONDITIONS + "}").conditions.values) == MAX_CONDITIONS


@given(rules, st.data())
def test_a_rule_with_a_small_change_is_read_and_printed_back_or_refused(rule: Rule, data: st.DataObject) -> None:
    text = rule.text()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters())
    for changed in (text[:at] + other + text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + other + text[at:]):
        try:
            read = parse_rules(changed)
        except Malformed:
            continue
        assert parse_rules("\n".join(each.text() for each in read)) == read


@given(st.text())
@example("allow if allowed-matches(" * 500)
@example("allow name " + "{" * 4000)
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(RuleMalformed):
        parse_rules(text)
