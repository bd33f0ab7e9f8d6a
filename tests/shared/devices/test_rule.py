"""A rule and its text."""

from hypothesis import given
from hypothesis import strategies as st

from shared.devices.parse import parse_rule, parse_rules
from shared.devices.rule import Attribute, Rule, RuleTarget, SetOperator, quoted
from tests.shared.devices.given import rules


@given(rules)
def test_what_is_printed_is_read_back_as_the_same_rule(rule: Rule) -> None:
    assert parse_rule(rule.text()) == rule
    assert parse_rule(rule.text()).text() == rule.text()


@given(st.lists(rules, max_size=4))
def test_a_file_of_printed_rules_is_read_back_as_the_same_rules(several: list[Rule]) -> None:
    text = "\n".join(f"{rule.text()}  # {number}" for number, rule in enumerate(several))

    assert parse_rules(f"# what follows was printed\n\n{text}\n") == tuple(several)


@given(rules)
def test_the_text_is_one_line_of_printable_ascii(rule: Rule) -> None:
    assert rule.text().isascii()
    assert rule.text().isprintable()


@given(st.binary())
def test_every_byte_of_a_text_survives(data: bytes) -> None:
    value = data.decode("utf-8", "surrogateescape")

    assert parse_rule(f"allow name {quoted(value)}").name.values == (value,)


def test_hostile_text_stays_within_its_quotation_marks() -> None:
    rule = Rule(RuleTarget.BLOCK, name=Attribute(('x"\nallow\\',)))

    assert rule.text() == r'block name "x\"\x0aallow\\"'
    assert parse_rules(rule.text()) == (rule,)


def test_attributes_stand_in_one_order_whatever_order_they_were_written_in() -> None:
    text = (
        'block label "l" if true with-connect-type "hotplug" with-interface 08:06:50 via-port "1-1" parent-hash "p" '
        'hash "h" name "n" serial "s" id 1234:ABCD'
    )

    assert parse_rule(text).text() == (
        'block id 1234:abcd serial "s" name "n" hash "h" parent-hash "p" via-port "1-1" with-interface 08:06:50 '
        'if true with-connect-type "hotplug" label "l"'
    )


def test_one_value_stands_without_braces_unless_an_operator_asks_for_them() -> None:
    def printed(count: int, operator: SetOperator) -> str:
        return Attribute(("a", "b")[:count], operator).text()

    assert printed(1, SetOperator.EQUALS) == '"a"'
    assert printed(2, SetOperator.EQUALS) == '{ "a" "b" }'
    assert printed(1, SetOperator.ONE_OF) == 'one-of { "a" }'
