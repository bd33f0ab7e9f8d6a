"""What the guard and its child say to one another has one form each."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy_sync.choice import Choice
from edge_agent.usb_policy.exchange import (
    MAX_ANSWER_BYTES,
    MAX_ERROR_CHARS,
    MAX_LAYERS,
    MAX_OFFER_BYTES,
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
from shared.policy.accept import AcceptedPolicy
from shared.policy.bundle import MAX_HEAD_BYTES, MAX_LAYER_BYTES
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
POLICY = VerifiedPolicy("organisation", 3, bytes(32), NOW + timedelta(days=14), NOW, DevicePolicy())
REFUSED = RefusedOffer(Kind.REFUSED, "PolicyExpired: timestamp expired")
PARTS = (AcceptedPolicy("modality-ct", 5, b"5" * 32), AcceptedPolicy("site-north", 2, b"2" * 32))
NEWER = (AcceptedPolicy("organisation", 4, b"4" * 32), AcceptedPolicy("site-north", 3, b"3" * 32))
LAYERED = replace(POLICY, parts=PARTS, newer=NEWER)
CHOSEN = replace(POLICY, newer=NEWER[:1], root_version=2, choice=Choice("0a" * 32, 2, 9))
JUDGEMENTS: list[Judgement] = [
    POLICY,
    replace(POLICY, signed_at=None, devices=None),
    LAYERED,
    CHOSEN,
    replace(POLICY, wipe=WipePolicy(LeastClass.PURGE, ReadBack.WHOLE, 2, 24)),
    REFUSED,
]


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
        line(LAYERED).replace(b'"newer":[["organisation",4', b'"newer":[["organisation",3'),
        line(LAYERED).replace(b'"newer":[["organisation",4', b'"newer":[["modality-mr",4'),
        line(LAYERED).replace(b'["modality-ct",5', b'["site-south",5'),
        line(CHOSEN).replace(b'"snapshot":9', b'"snapshot":0'),
        line(CHOSEN).replace(b'"snapshot":9', b'"snapshot":9,"wise":1'),
        line(LAYERED).replace(b'["modality-ct",5', b'["site-north",5'),
        line(replace(LAYERED, newer=())).replace(b'["modality-ct",5', b'["organisation",5'),
        line(replace(LAYERED, newer=())).replace(b'["modality-ct",5', b'["of-nobody",5'),
        line(LAYERED).replace(b'["modality-ct",5', b'["modality-ct",0'),
        line(LAYERED).replace(b'["modality-ct",5', b'["modality-ct","5"'),
        line(LAYERED).replace(b'["modality-ct",5', b'["modality-ct",5,1'),
        line(POLICY).replace(b'"root', b'"parts":[],"root').replace(b'"sha', b'"parts":[],"sha'),
    ],
)
def test_any_other_output_is_refused(output: bytes) -> None:
    with pytest.raises(Malformed):
        parse_line(output)


def test_what_is_accepted_is_the_newest_of_each_layer_and_what_is_acted_by_may_be_older() -> None:
    assert [(each.layer, each.version) for each in LAYERED.acts_by] == [
        ("organisation", 3),
        ("modality-ct", 5),
        ("site-north", 2),
    ]
    assert [(each.layer, each.version) for each in LAYERED.accepted] == [
        ("organisation", 4),
        ("modality-ct", 5),
        ("site-north", 3),
    ]


BUNDLES = st.binary(max_size=50)


@given(BUNDLES, st.lists(BUNDLES, max_size=MAX_LAYERS))
def test_an_offer_reads_back_and_a_cut_one_is_refused(head: bytes, layers: list[bytes]) -> None:
    data = Offer(head, tuple(layers)).encode()

    assert Offer.parse(data) == Offer(head, tuple(layers))
    for cut in (data[:-1], data + b"x"):
        with pytest.raises(Malformed):
            Offer.parse(cut)


@given(st.binary(max_size=200) | st.builds(lambda count, rest: bytes([count]) + rest, st.integers(0, 5), BUNDLES))
def test_whatever_is_read_as_an_offer_has_no_other_encoding(data: bytes) -> None:
    try:
        offer = Offer.parse(data)
    except Malformed:
        return

    assert offer.encode() == data
    assert len(offer.layers) <= MAX_LAYERS


def test_an_offer_of_more_layers_than_a_host_has_is_refused() -> None:
    whole = Offer(b"head", (b"1", b"2", b"3")).encode()
    with pytest.raises(Malformed):
        Offer(b"head", (b"1", b"2", b"3", b"4"))
    for data in (b"\x04" + whole[1:] + b"\0\0\0\x014", b"\xff" + whole[1:]):
        with pytest.raises(Malformed):
            Offer.parse(data)


@pytest.mark.parametrize(
    "sizes", [(MAX_HEAD_BYTES + 1, 0, 0), (0, MAX_LAYER_BYTES + 1, 0), (0, 0, MAX_LAYER_BYTES + 1)]
)
def test_an_offer_larger_than_bundles_can_be_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(Malformed):
        Offer(bytes(sizes[0]), (bytes(sizes[1]), bytes(sizes[2])))


def test_the_largest_offer_fits() -> None:
    largest = Offer(bytes(MAX_HEAD_BYTES), (bytes(MAX_LAYER_BYTES),) * MAX_LAYERS)

    assert len(largest.encode()) == MAX_OFFER_BYTES
    assert Offer.parse(largest.encode()) == largest


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
