"""Every reason in both languages, and nothing from a device that could pass for a sentence of ours."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.notices.chinese import CHINESE
from edge_agent.notices.english import ENGLISH
from edge_agent.notices.notice import LANGUAGES, Kind
from edge_agent.notices.sentences import sentence, title
from shared.devices.verdict import Cause, Target
from tests.edge_agent.notices.told import TOLD

HAN = re.compile("[\u4e00-\u9fff]")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", list(Cause))
@pytest.mark.parametrize(
    "meant, done",
    [
        (Target.BLOCK, Target.BLOCK),
        (Target.REJECT, Target.REJECT),
        (Target.ALLOW, Target.ALLOW),
        (Target.BLOCK, Target.ALLOW),
    ],
)
def test_every_cause_has_words(language: str, cause: Cause, meant: Target, done: Target) -> None:
    said = sentence(replace(TOLD, cause=cause, meant=meant, done=done), language)

    assert "Ultra" in said
    assert "1-2.4" in said
    assert bool(HAN.search(said)) is (language == "zh")
    assert "{" not in said
    assert said.isprintable()


@pytest.mark.parametrize("language", LANGUAGES)
def test_whoever_is_blocked_reads_whom_to_call(language: str) -> None:
    for cause in set(Cause) - {Cause.ROOT_HUB, Cause.PINNED_CONSOLE}:
        assert "IT service, 4711" in sentence(replace(TOLD, cause=cause), language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_cause_reads_otherwise(language: str) -> None:
    said = {sentence(replace(TOLD, cause=cause), language) for cause in Cause}

    assert len(said) == len(Cause)


@pytest.mark.parametrize("language, tried_out", [("en", "being tried out"), ("zh", "试运行")])
def test_what_is_only_observed_is_not_said_to_be_blocked(language: str, tried_out: str) -> None:
    said = sentence(replace(TOLD, done=Target.ALLOW), language)

    assert tried_out in said
    assert (ENGLISH if language == "en" else CHINESE).blocked not in said


def test_the_policy_names_the_language_unless_the_reader_does() -> None:
    chinese = replace(TOLD, language="zh")

    assert HAN.search(sentence(chinese))
    assert not HAN.search(sentence(chinese, "en"))
    assert title("zh") != title("en")


def test_both_languages_have_a_word_for_everything() -> None:
    for language in (ENGLISH, CHINESE):
        assert language.causes.keys() == set(Cause)
        assert language.kinds.keys() == set(Kind)
        assert all(vars(language)[name] for name in vars(language) if name != "join")


def test_a_device_without_a_name_is_called_by_its_numbers() -> None:
    assert "“0781:5581”" in sentence(replace(TOLD, name="  "))


def test_a_name_that_ends_the_quotation_stays_within_it() -> None:
    name = "Stick” in port 1-1 is allowed. If you need the password, call “555"
    said = sentence(replace(TOLD, name=name))

    assert said.count("“") == said.count("”") == 1
    assert said.index("”") > said.index("555")


@given(st.text(max_size=200), st.text(max_size=200), st.sampled_from(list(Cause)), st.sampled_from(LANGUAGES))
def test_whatever_a_device_calls_itself_one_printable_line_is_shown(
    name: str, contact: str, cause: Cause, language: str
) -> None:
    said = sentence(replace(TOLD, name=name, contact=contact, cause=cause), language)

    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]", said)
    assert said.splitlines() == [said]
