"""Questions to the log, as whoever has a record's public part judges them."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.audit.events import Action, Event, Outcome, Participant, Subject
from shared.audit.question import Question, names_of
from shared.audit.record import GENESIS, AuditRecord
from shared.canonical import Json
from shared.errors import Malformed

HOST, NOW = "host-" + "0" * 32, datetime(2026, 3, 1, 8, tzinfo=UTC)
RECORD = AuditRecord(
    HOST, 1, GENESIS, NOW, Event.DEVICE_DECIDED, Action.CREATE, Outcome.SUCCESS,
    (Participant("person", "ada", True), Participant("ae", "CT1", False)),
    (Subject("device", "1-2"), Subject("fact", "serial: 0815"), Subject("person", "ben")), "", None,
)  # fmt: skip
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
QUESTIONS = st.builds(
    Question, person=st.none() | TEXT, host=st.none() | TEXT, device=st.none() | TEXT, patient=st.none() | TEXT,
    event=st.sampled_from([None, "vault.object-opened"]), action=st.sampled_from([None, *Action]),
    outcome=st.sampled_from([None, *Outcome]), since=st.none() | st.datetimes(timezones=st.just(UTC)),
)  # fmt: skip


@given(QUESTIONS)
def test_a_question_is_read_as_it_was_written(question: Question) -> None:
    assert Question.parse(canonical.parse(canonical.encode(question.json()), "question")) == question


def test_a_record_answers_each_condition_that_holds_and_none_that_does_not() -> None:
    holds = Question("ada", HOST, "0815", "device.decided", Action.CREATE, Outcome.SUCCESS, NOW,
                     NOW + timedelta(microseconds=1))  # fmt: skip
    other = Question("cleo", "host-1", "0816", "device.gap", Action.READ, Outcome.MINOR_FAILURE,
                     NOW + timedelta(microseconds=1), NOW)  # fmt: skip

    assert holds.matches(RECORD)
    assert replace(holds, person="ben", device="1-2", patient="4711").matches(RECORD)
    public = [field.name for field in fields(Question) if field.name not in ("patient", "study")]
    assert [name for name in public if replace(holds, **{name: getattr(other, name)}).matches(RECORD)] == []
    assert ("ae", "CT1") not in names_of(RECORD)


@pytest.mark.parametrize(
    "asked",
    [{"person": ""}, {"person": 1}, {"outcome": 3}, {"action": "X"}, {"event": "Nothing"}, {"since": "2026-03-01"},
     {"unknown": "x"}, {"person": "a\nb"}, [], None],
)  # fmt: skip
def test_what_is_no_question_is_refused_without_saying_what_was_asked(asked: Json) -> None:
    with pytest.raises(Malformed):
        Question.parse(asked)
