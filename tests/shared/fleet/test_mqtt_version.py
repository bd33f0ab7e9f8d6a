"""Which version is offered next, over whole histories of answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.fleet.mqtt_version import Answered, MqttVersion, Offer, read_answer

V5, V311 = MqttVersion.V5, MqttVersion.V311


@pytest.mark.parametrize(
    "answers, expected",
    [
        ([], V5),
        ([Answered.ACCEPTED], V5),
        ([Answered.UNSUPPORTED], V311),
        ([Answered.HUNG_UP], V311),
        ([Answered.REFUSED], V5),
        ([Answered.UNSUPPORTED, Answered.ACCEPTED, Answered.HUNG_UP], V311),
        ([Answered.UNSUPPORTED, Answered.ACCEPTED, Answered.HUNG_UP, Answered.HUNG_UP], V5),
        ([Answered.HUNG_UP, Answered.HUNG_UP], V5),
        ([Answered.ACCEPTED, Answered.UNSUPPORTED], V311),
    ],
)
def test_the_next_offer_follows_what_was_answered(answers: list[Answered], expected: MqttVersion) -> None:
    offer = Offer()
    for answered in answers:
        offer = offer.after(answered)

    assert offer.version is expected


@given(st.lists(st.sampled_from(Answered)), st.sampled_from([{V5}, {V311}, {V5, V311}]), st.booleans())
def test_whatever_came_before_a_broker_is_found_within_four_tries(
    before: list[Answered], speaks: set[MqttVersion], says_so: bool
) -> None:
    offer = Offer()
    for answered in before:
        offer = offer.after(answered)
    for _ in range(3):
        if offer.version not in speaks:
            offer = offer.after(Answered.UNSUPPORTED if says_so else Answered.HUNG_UP)

    assert offer.version in speaks
    assert offer.after(Answered.ACCEPTED).version is offer.version


@pytest.mark.parametrize(
    "code, answered",
    [(0, Answered.ACCEPTED), (0x84, Answered.UNSUPPORTED), (0x87, Answered.REFUSED), (0x80, Answered.REFUSED)],
)
def test_reason_codes_are_read(code: int, answered: Answered) -> None:
    assert read_answer(code) is answered
