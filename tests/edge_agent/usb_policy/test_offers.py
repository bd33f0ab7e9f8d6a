"""Which offer is verified when: as often as needed, and however much a hostile peer offers, hardly more often."""

import pytest

from edge_agent.usb_policy.exchange import Offer
from edge_agent.usb_policy.offers import FIRST_PAUSE_S, MOST_PAUSE_S, RETRY_S, Offers
from shared.errors import Malformed
from shared.policy.bundle import MAX_HEAD_BYTES


@pytest.fixture
def offers() -> Offers:
    return Offers()


def test_an_offer_is_due_once_both_parts_are_there_in_any_order(offers: Offers) -> None:
    nothing = (offers.due(0), offers.due_in_s(0))
    offers.take(layer=b"layer")
    half = (offers.due(0), offers.due_in_s(0))
    offers.take(head=b"head")

    assert (nothing, half) == ((None, None), (None, None))
    assert (offers.due(0), offers.due_in_s(0)) == (Offer(b"head", b"layer"), 0)


def test_the_newest_of_each_part_counts(offers: Offers) -> None:
    offers.take(head=b"1", layer=b"1")
    offers.take(head=b"2")

    assert offers.due(0) == Offer(b"2", b"1")


def test_what_was_accepted_is_not_verified_again(offers: Offers) -> None:
    offers.take(head=b"1", layer=b"1")
    offers.accepted(Offer(b"1", b"1"), 100)
    offers.take(head=b"1", layer=b"1")

    assert (offers.due(10_000), offers.due_in_s(10_000)) == (None, None)


def test_what_was_refused_once_and_accepted_later_rests_too(offers: Offers) -> None:
    offers.take(head=b"1", layer=b"1")
    offers.refused(Offer(b"1", b"1"), 100)
    offers.accepted(Offer(b"1", b"1"), 100)

    assert (offers.due(10_000), offers.due_in_s(10_000)) == (None, None)


def test_what_was_refused_is_tried_again_after_a_while_and_not_before(offers: Offers) -> None:
    offers.take(head=b"1", layer=b"1")
    offers.refused(Offer(b"1", b"1"), 100)
    offers.take(head=b"1", layer=b"1")

    assert (offers.due(100 + RETRY_S - 1), offers.due_in_s(100)) == (None, RETRY_S)
    assert offers.due(100 + RETRY_S) == Offer(b"1", b"1")


def test_after_a_refusal_another_offer_waits_a_moment_only(offers: Offers) -> None:
    offers.take(head=b"bad", layer=b"1")
    offers.refused(Offer(b"bad", b"1"), 100)
    offers.take(head=b"good")

    assert (offers.due(100), offers.due_in_s(100)) == (None, FIRST_PAUSE_S)
    assert offers.due(100 + FIRST_PAUSE_S) == Offer(b"good", b"1")


def test_a_flood_of_forgeries_has_hardly_one_verified_a_minute(offers: Offers) -> None:
    now, verified = 0.0, 0
    for n in range(36_000):
        offers.take(head=b"%d" % n, layer=b"1")
        offer = offers.due(now)
        if offer is not None:
            verified += 1
            offers.refused(offer, now)
        now += 0.1

    assert verified < 3600 / MOST_PAUSE_S + 10


def test_one_that_is_accepted_ends_the_waiting_but_for_a_moment(offers: Offers) -> None:
    for n in range(10):
        offers.refused(Offer(b"%d" % n, b"1"), 100)
    offers.accepted(Offer(b"good", b"1"), 100)
    offers.take(head=b"next", layer=b"1")

    assert (offers.due(100), offers.due_in_s(100)) == (None, FIRST_PAUSE_S)
    assert offers.due(100 + FIRST_PAUSE_S) == Offer(b"next", b"1")


def test_offers_that_are_all_acceptable_are_verified_one_a_moment_and_not_one_after_another(offers: Offers) -> None:
    now, verified = 0.0, 0
    for n in range(6000):
        offers.take(head=b"%d" % (n % 2), layer=b"1")
        offer = offers.due(now)
        if offer is not None:
            verified += 1
            offers.accepted(offer, now)
        now += 0.1

    assert verified <= 600 / FIRST_PAUSE_S + 1


def test_what_is_larger_than_a_bundle_is_refused_and_changes_nothing(offers: Offers) -> None:
    offers.take(head=b"1", layer=b"1")
    with pytest.raises(Malformed):
        offers.take(head=bytes(MAX_HEAD_BYTES + 1))

    assert offers.due(0) == Offer(b"1", b"1")
