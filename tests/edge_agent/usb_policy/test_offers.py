"""Which offer is verified when: as often as needed, and however much a hostile peer offers, hardly more often."""

import pytest

from edge_agent.usb_policy.exchange import Offer
from edge_agent.usb_policy.offers import FIRST_PAUSE_S, GATHER_S, MOST_PAUSE_S, RETRY_S, Offers
from shared.errors import Malformed
from shared.policy.accept import WrongLayer
from shared.policy.bundle import MAX_HEAD_BYTES

LAYERS = ("organisation", "site-north", "modality-ct")


def layer(name: str, content: bytes = b"") -> bytes:
    """Return what begins as a layer's bundle."""
    return b'{"kind":"layer","layer":"%b",%b' % (name.encode(), content)


def ours(content: bytes) -> bytes:
    return layer("organisation", content)


def offer_of(head: bytes, *contents: bytes) -> Offer:
    return Offer(head, tuple(map(layer, LAYERS, contents)))


@pytest.fixture
def offers() -> Offers:
    return Offers(LAYERS[:1])


@pytest.fixture
def many() -> Offers:
    return Offers(LAYERS)


def test_an_offer_is_due_once_both_parts_are_there_in_any_order(offers: Offers) -> None:
    nothing = (offers.due(0), offers.due_in_s(0))
    offers.take(0, layer=ours(b"layer"))
    half = (offers.due(0), offers.due_in_s(0))
    offers.take(0, head=b"head")

    assert (nothing, half) == ((None, None), (None, None))
    assert (offers.due(0), offers.due_in_s(0)) == (offer_of(b"head", b"layer"), 0)


def test_the_newest_of_each_part_counts(offers: Offers) -> None:
    offers.take(0, head=b"1", layer=ours(b"1"))
    offers.take(0, head=b"2")

    assert offers.due(0) == offer_of(b"2", b"1")


def test_what_was_accepted_is_not_verified_again(offers: Offers) -> None:
    offers.take(0, head=b"1", layer=ours(b"1"))
    offers.accepted(offer_of(b"1", b"1"), 100)
    offers.take(0, head=b"1", layer=ours(b"1"))

    assert (offers.due(10_000), offers.due_in_s(10_000)) == (None, None)


def test_what_was_refused_once_and_accepted_later_rests_too(offers: Offers) -> None:
    offers.take(0, head=b"1", layer=ours(b"1"))
    offers.refused(offer_of(b"1", b"1"), 100)
    offers.accepted(offer_of(b"1", b"1"), 100)

    assert (offers.due(10_000), offers.due_in_s(10_000)) == (None, None)


def test_what_was_refused_is_tried_again_after_a_while_and_not_before(offers: Offers) -> None:
    offers.take(0, head=b"1", layer=ours(b"1"))
    offers.refused(offer_of(b"1", b"1"), 100)
    offers.take(0, head=b"1", layer=ours(b"1"))

    assert (offers.due(100 + RETRY_S - 1), offers.due_in_s(100)) == (None, RETRY_S)
    assert offers.due(100 + RETRY_S) == offer_of(b"1", b"1")


def test_after_a_refusal_another_offer_waits_a_moment_only(offers: Offers) -> None:
    offers.take(0, head=b"bad", layer=ours(b"1"))
    offers.refused(offer_of(b"bad", b"1"), 100)
    offers.take(0, head=b"good")

    assert (offers.due(100), offers.due_in_s(100)) == (None, FIRST_PAUSE_S)
    assert offers.due(100 + FIRST_PAUSE_S) == offer_of(b"good", b"1")


def test_a_flood_of_forgeries_has_hardly_one_verified_a_minute(offers: Offers) -> None:
    now, verified = 0.0, 0
    for n in range(36_000):
        offers.take(now, head=b"%d" % n, layer=ours(b"1"))
        offer = offers.due(now)
        if offer is not None:
            verified += 1
            offers.refused(offer, now)
        now += 0.1

    assert verified < 3600 / MOST_PAUSE_S + 10


def test_one_that_is_accepted_ends_the_waiting_but_for_a_moment(offers: Offers) -> None:
    for n in range(10):
        offers.refused(offer_of(b"%d" % n, b"1"), 100)
    offers.accepted(offer_of(b"good", b"1"), 100)
    offers.take(0, head=b"next", layer=ours(b"1"))

    assert (offers.due(100), offers.due_in_s(100)) == (None, FIRST_PAUSE_S)
    assert offers.due(100 + FIRST_PAUSE_S) == offer_of(b"next", b"1")


def test_offers_that_are_all_acceptable_are_verified_one_a_moment_and_not_one_after_another(offers: Offers) -> None:
    now, verified = 0.0, 0
    for n in range(6000):
        offers.take(now, head=b"%d" % (n % 2), layer=ours(b"1"))
        offer = offers.due(now)
        if offer is not None:
            verified += 1
            offers.accepted(offer, now)
        now += 0.1

    assert verified <= 600 / FIRST_PAUSE_S + 1


def test_what_is_larger_than_a_bundle_is_refused_and_changes_nothing(offers: Offers) -> None:
    offers.take(0, head=b"1", layer=ours(b"1"))
    with pytest.raises(Malformed):
        offers.take(0, head=bytes(MAX_HEAD_BYTES + 1))

    assert offers.due(0) == offer_of(b"1", b"1")


def test_each_layer_has_a_place_of_its_own_and_the_newest_counts(many: Offers) -> None:
    many.take(0, head=b"head", layer=layer("organisation", b"1"))
    for content in (b"1", b"2"):
        many.take(0, layer=layer("modality-ct", content))
        many.take(0, layer=layer("site-north", content))

    assert many.due(GATHER_S) == offer_of(b"head", b"1", b"2", b"2")


def test_parts_alone_are_not_due_and_the_organisations_layer_alone_is(many: Offers) -> None:
    many.take(0, head=b"head", layer=layer("site-north"))
    parts = many.due_in_s(GATHER_S)
    many.take(0, layer=layer("organisation"))

    assert (parts, many.due(GATHER_S)) == (None, offer_of(b"head", b"", b""))


def test_what_goes_together_is_waited_for_a_moment_however_much_comes(many: Offers) -> None:
    due = []
    for n in range(30):
        now = n * GATHER_S / 10
        many.take(now, head=b"%d" % n, layer=layer("organisation"))
        if (offer := many.due(now)) is not None:
            due.append((now, offer))
            many.accepted(offer, now)

    # The second moment begins with the first that came after what was accepted.
    assert [at for at, _ in due] == pytest.approx([GATHER_S, 1.1 * GATHER_S + GATHER_S])


@pytest.mark.parametrize("is_refused", [False, True])
def test_after_what_was_judged_before_came_again_the_next_offer_is_waited_for_too(
    many: Offers, is_refused: bool
) -> None:
    many.take(0, head=b"head", layer=layer("organisation"))
    judged = many.due(GATHER_S)
    assert judged is not None
    (many.refused if is_refused else many.accepted)(judged, GATHER_S)
    many.take(10, head=b"other")
    many.take(10.5, head=b"head")

    many.take(100, layer=layer("site-north"))
    assert many.due_in_s(100) == GATHER_S
    many.take(100.5, head=b"new")
    assert many.due(100 + GATHER_S) == offer_of(b"new", b"", b"")


def test_where_there_is_one_layer_nothing_is_waited_for(offers: Offers) -> None:
    offers.take(5, head=b"head", layer=ours(b"1"))

    assert offers.due_in_s(5) == 0


def test_a_part_that_was_missing_has_the_offer_tried_again_in_a_moment_and_not_after_the_rest_for_refusals(
    many: Offers,
) -> None:
    many.take(0, head=b"head", layer=layer("organisation"))
    incomplete = many.due(GATHER_S)
    assert incomplete is not None
    many.refused(incomplete, GATHER_S)
    many.take(GATHER_S + 1, layer=layer("site-north"))

    assert many.due_in_s(GATHER_S + 1) == max(GATHER_S, FIRST_PAUSE_S)
    assert many.due(GATHER_S + 1 + max(GATHER_S, FIRST_PAUSE_S)) == offer_of(b"head", b"", b"")


@pytest.mark.parametrize("name", ["site-south", "modality-mr", "organisation2", "site"])
def test_a_layer_of_others_is_refused_at_once_and_takes_no_room(many: Offers, name: str) -> None:
    for each in LAYERS:
        many.take(0, head=b"head", layer=layer(each))
    for n in range(1000):
        with pytest.raises(WrongLayer, match=f"for layer {name}, expected organisation or site-north or modality-ct"):
            many.take(0, head=b"other", layer=layer(name, b"%d" % n))

    assert many.due(GATHER_S) == offer_of(b"head", b"", b"", b"")


@pytest.mark.parametrize(
    "bundle", [b"\xff", b"{}", b'{"kind":"head"', b'{"kind":"layer","layer":"Site",', b' {"kind":"layer","layer":"a",']
)
def test_what_begins_as_no_layers_bundle_is_refused_at_once(many: Offers, bundle: bytes) -> None:
    with pytest.raises(Malformed):
        many.take(0, head=b"head", layer=bundle)

    assert many.due_in_s(0) is None
