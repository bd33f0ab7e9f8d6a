"""What the guard and its child say to one another has one form each."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.usb_policy.exchange import (
    MAX_ANSWER_BYTES,
    MAX_ERROR_CHARS,
    Judgement,
    Kind,
    Offer,
    RefusedOffer,
    VerifiedPolicy,
    line,
    parse_line,
)
from shared.devices.policy import DevicePolicy
from shared.errors import IntegrityFailure, Malformed, Unavailable
from shared.policy.bundle import MAX_HEAD_BYTES, MAX_LAYER_BYTES

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
POLICY = VerifiedPolicy("organisation", 3, bytes(32), NOW + timedelta(days=14), NOW, DevicePolicy())
REFUSED = RefusedOffer(Kind.REFUSED, "PolicyExpired: timestamp expired")
JUDGEMENTS: list[Judgement] = [POLICY, replace(POLICY, signed_at=None, devices=None), REFUSED]


@pytest.mark.parametrize("judgement", JUDGEMENTS)
def test_what_is_printed_reads_back(judgement: Judgement) -> None:
    assert parse_line(line(judgement)) == judgement


@given(data=st.data())
def test_a_changed_character_is_refused_or_says_something_else(data: st.DataObject) -> None:
    said = data.draw(st.sampled_from(JUDGEMENTS))
    text = bytearray(line(said))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        other = parse_line(bytes(text))
    except Malformed:
        return

    assert (other == said) == (bytes(text) == line(said))


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"\n",
        line(POLICY)[:-1],
        line(POLICY) * 2,
        line(POLICY) + b"and more",
        line(POLICY).replace(b'"v":1', b'"v":2'),
        line(POLICY).replace(b'"ok":true', b'"ok":1'),
        line(POLICY).replace(b'"version":3', b'"version":0'),
        line(POLICY).replace(b'"version":3', b'"version":3,"wise":1'),
        line(REFUSED).replace(b'"kind":"refused"', b'"kind":"allowed"'),
        b"x" * MAX_ANSWER_BYTES + b"\n",
    ],
)
def test_any_other_output_is_refused(output: bytes) -> None:
    with pytest.raises(Malformed):
        parse_line(output)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_an_offer_reads_back_and_a_cut_one_is_refused(head: bytes, layer: bytes) -> None:
    data = Offer(head, layer).encode()

    assert Offer.parse(data) == Offer(head, layer)
    for cut in (data[:-1], data + b"x"):
        with pytest.raises(Malformed):
            Offer.parse(cut)


@pytest.mark.parametrize("sizes", [(MAX_HEAD_BYTES + 1, 0), (0, MAX_LAYER_BYTES + 1)])
def test_an_offer_larger_than_bundles_can_be_is_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(Malformed):
        Offer(bytes(sizes[0]), bytes(sizes[1]))


@pytest.mark.parametrize(
    "exc, kind",
    [
        (Malformed("policy", "no"), Kind.REFUSED),
        (IntegrityFailure("no"), Kind.INTEGRITY),
        (Unavailable("no"), Kind.UNAVAILABLE),
    ],
)
def test_a_refusal_keeps_its_kind(exc: Malformed | IntegrityFailure | Unavailable, kind: Kind) -> None:
    assert RefusedOffer.because(exc).kind is kind


def test_a_refusal_quotes_hostile_text_as_one_short_line() -> None:
    refused = RefusedOffer.of(Kind.REFUSED, "a\nb\u202e" + "x" * 10_000)

    assert "\n" not in refused.error
    assert "\u202e" not in refused.error
    assert len(refused.error) == MAX_ERROR_CHARS
    assert parse_line(line(refused)) == refused
