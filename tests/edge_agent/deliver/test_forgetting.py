"""What a host remembers of delivered images is bounded, and what somebody still waits for is not forgotten."""

from collections.abc import Collection, Set

import pytest

from edge_agent.capture.store import MOST_DELIVERED
from edge_agent.database import DatabaseUnavailable
from edge_agent.deliver.uploader import Delivery, DeliveryUploader
from edge_agent.https import HttpsDoor
from shared.identity import ObjectId
from tests.edge_agent.deliver.test_uploader import door, host, uploader
from tests.fakes.centre import Centre
from tests.fakes.host import Host

__all__ = ["door", "host"]

_IN_A_FILE_OF_ITS_OWN = 2 << 20  # so that the catalogue forgets it as soon as it has left


def dataset(number: int) -> bytes:
    return bytes([number]) * _IN_A_FILE_OF_ITS_OWN


def delivered(host: Host, deliver: DeliveryUploader, count: int) -> list[ObjectId]:
    objects = []
    for number in range(count):
        objects.append(host.capture(dataset(number), uid=f"1.2.{number}"))
        assert deliver.deliver_oldest() is Delivery.DELIVERED
    return objects


def forget_old(host: Host, newest: int, named_elsewhere: Set[ObjectId] = frozenset()) -> None:
    vars(host.captures)["_most_delivered"] = newest
    host.captures.forget_old(lambda objects: {one for one in objects if one in named_elsewhere})


def remembered(host: Host) -> list[list[str]]:
    tables = ("receipt", "instance")
    return [[name for (name,) in host.database.read(f"SELECT object FROM {table}")] for table in tables]  # noqa: S608


def sets(objects: list[ObjectId]) -> list[set[str]]:
    return [{str(name) for name in objects}] * 2


def test_those_delivered_longest_ago_are_forgotten_and_the_newest_are_not(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    objects = delivered(host, uploader(host, door), 5)

    forget_old(host, 2)

    assert [set(names) for names in remembered(host)] == sets(objects[3:])


def test_control_below_the_bound_nothing_is_forgotten_and_nobody_is_asked(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    objects = delivered(host, uploader(host, door), 3)

    def nobody(_objects: Collection[ObjectId]) -> set[ObjectId]:
        raise AssertionError("there is nothing to forget")

    host.captures.forget_old(nobody)
    assert MOST_DELIVERED >= 1_000_000
    assert [set(names) for names in remembered(host)] == sets(objects)


def test_what_was_forgotten_is_captured_and_delivered_again_when_it_is_sent_again(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    deliver = uploader(host, door)
    first, second = delivered(host, deliver, 2)
    forget_old(host, 1)

    kept, again = host.capture(dataset(1), uid="1.2.1"), host.capture(dataset(0), uid="1.2.0")

    assert kept == second
    assert again != first
    assert deliver.deliver_oldest() is Delivery.DELIVERED
    assert centre.open(str(again))[0] == centre.open(str(first))[0]


def test_what_is_in_doubt_owed_or_named_elsewhere_stays_and_keeps_no_other(
    centre: Centre, host: Host, door: HttpsDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.capture.store._FORGOTTEN_AT_ONCE", 1)
    owed = set[ObjectId]()
    deliver = uploader(host, door, is_owed=lambda name: name in owed)
    owed.add(host.capture(dataset(9), uid="1.2.9"))
    deliver.deliver_oldest()
    doubted, named, old, new = delivered(host, deliver, 4)
    host.captures.receipts.doubt([str(doubted)])

    for _ in range(2):
        forget_old(host, 1, {named})

    assert [set(names) for names in remembered(host)] == sets([*owed, doubted, named, new])
    assert not host.captures.receipts.mentions(old)
    assert host.spool.holds(*owed)


def test_what_stayed_is_forgotten_once_nobody_waits_for_it_any_more(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    named, new = delivered(host, uploader(host, door), 2)
    forget_old(host, 1, {named})
    for _ in range(2):
        forget_old(host, 1)

    assert [set(names) for names in remembered(host)] == sets([new])


def test_who_is_asked_what_is_named_elsewhere_hears_of_some_alone_and_of_a_moment_in_which_nothing_changes(
    centre: Centre, host: Host, door: HttpsDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.capture.store._FORGOTTEN_AT_ONCE", 2)
    objects = delivered(host, uploader(host, door), 4)
    vars(host.captures)["_most_delivered"] = 1

    def breaks_off(asked: Collection[ObjectId]) -> set[ObjectId]:
        host.captures.receipts.forget(objects[3])
        raise DatabaseUnavailable(f"asked of {len(asked)}")

    with pytest.raises(DatabaseUnavailable, match="asked of 2"):
        host.captures.forget_old(breaks_off)

    assert [set(names) for names in remembered(host)] == sets(objects)


def test_a_receipt_that_was_given_again_makes_an_old_image_no_newer(
    centre: Centre, host: Host, door: HttpsDoor
) -> None:
    deliver = uploader(host, door)
    objects = delivered(host, deliver, 3)
    host.captures.receipts.doubt([str(objects[0])])
    deliver.ask_about_doubted()

    forget_old(host, 2)

    assert [set(names) for names in remembered(host)] == sets(objects[1:])
