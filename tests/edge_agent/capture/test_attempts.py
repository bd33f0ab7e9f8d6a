"""Attempts of strangers: seen at once, counted whole, and never a flood of records."""

import random
from collections import Counter
from pathlib import Path

import pytest

from edge_agent.capture.attempts import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_KINDS,
    MAX_NEW_A_MINUTE,
    AttemptTable,
    Kind,
    Reason,
    Told,
)
from edge_agent.capture.crowd import Crowd, Limits
from edge_agent.capture.interception import Interception
from edge_agent.database import DatabaseUnavailable
from shared.audit.events import Event
from tests.fakes.host import Host

KIND = Kind("STRANGER", "192.0.2.1", Reason.NOT_LISTED)


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


def test_the_first_is_told_at_once_and_repeats_as_a_number_a_minute_later() -> None:
    table = AttemptTable()

    first = table.note(KIND, 0.0)
    repeats = [table.note(KIND, second) for second in (1.0, 2.0, 50.0)]
    assert first == Told(KIND, 1, first=True)
    assert repeats == [None] * 3
    assert table.due(FIRST_PAUSE_S - 1) == []
    assert table.due(FIRST_PAUSE_S) == [Told(KIND, 3, first=False)]
    assert table.due(FIRST_PAUSE_S + 1) == []


def test_what_could_not_be_told_is_told_the_next_time_the_first_one_as_the_first() -> None:
    table = AttemptTable()
    first = table.note(KIND, 0.0)
    assert first is not None
    table.note(KIND, 1.0)
    table.give_back(first, 2.0)

    assert table.due(2.0) == [Told(KIND, 1, first=True), Told(KIND, 1, first=False)]
    assert table.due(10_000.0) == []


def test_a_number_that_could_not_be_told_is_added_to_the_next_one() -> None:
    table = AttemptTable()
    table.note(KIND, 0.0)
    table.note(KIND, 1.0)
    (number,) = table.due(FIRST_PAUSE_S)
    table.note(KIND, FIRST_PAUSE_S)
    table.give_back(number, FIRST_PAUSE_S)

    assert table.rest() == [Told(KIND, 2, first=False)]


def test_one_that_never_stops_is_told_less_and_less_often() -> None:
    table, told = AttemptTable(), 0
    table.note(KIND, 0.0)
    day = 24 * 3600
    for second in range(0, day, 5):
        table.note(KIND, float(second))
        told += len(table.due(float(second)))

    assert 10 < told < 2 * day / LONGEST_PAUSE_S


def test_a_kind_that_fell_silent_is_new_again() -> None:
    table = AttemptTable()
    table.note(KIND, 0.0)
    table.due(FIRST_PAUSE_S)

    assert table.note(KIND, 2 * FIRST_PAUSE_S) == Told(KIND, 1, first=True)


@pytest.mark.parametrize("seed", range(5))
def test_whoever_makes_up_names_is_counted_whole_and_told_in_few_records(seed: int) -> None:
    table, dice, now, told, noted = AttemptTable(), random.Random(seed), 0.0, list[Told](), 20_000
    for number in range(noted):
        now += dice.random() / 10
        if at_once := table.note(Kind(f"AE{number}", f"192.0.2.{dice.randrange(250)}", Reason.NOT_LISTED), now):
            told.append(at_once)
        told += table.due(now)
        assert len(table._entries) <= MAX_KINDS
    told += table.rest()

    assert sum(each.count for each in told) == noted
    assert len(told) <= (now / FIRST_PAUSE_S + 2) * (MAX_NEW_A_MINUTE + 1)


def test_the_journal_and_the_count_hold_it_over_a_restart(host: Host) -> None:
    seconds = Seconds()
    interception = Interception(host.database, host.journal, host.host_id, monotonic=seconds)
    for _ in range(100):
        interception.note("192.0.2.1", Reason.NOT_LISTED, calling="STRANGER", why="calling AE title is not listed")
    seconds.now = FIRST_PAUSE_S
    interception.tell()
    interception.note("192.0.2.1", Reason.NOT_LISTED, calling="STRANGER")
    interception.tell_all()
    host.restart()

    records = host.records()
    assert [record.event for record in records] == [
        Event.ASSOCIATION_REFUSED,
        Event.INTERCEPTION_ATTEMPTED,
        Event.INTERCEPTION_ATTEMPTED,
    ]
    assert records[1].reason.startswith("99 more")
    assert records[1].what[0].name == "192.0.2.1"
    assert Interception(host.database, host.journal, host.host_id).count() == 101


def test_a_kill_takes_nothing_from_the_count_while_its_number_is_not_due_yet(host: Host) -> None:
    interception = Interception(host.database, host.journal, host.host_id, monotonic=Seconds())
    for _ in range(5):
        interception.note("192.0.2.1", Reason.NOT_LISTED, calling="STRANGER")
    interception.tell()
    host.restart()

    assert Interception(host.database, host.journal, host.host_id).count() == 5
    assert [record.event for record in host.records()] == [Event.ASSOCIATION_REFUSED]


def test_what_the_journal_would_not_take_is_counted_with_the_next(host: Host) -> None:
    interception = Interception(host.database, host.journal, host.host_id)
    host.database.close()
    with pytest.raises(DatabaseUnavailable):
        interception.note("192.0.2.1", Reason.NOT_LISTED)

    assert interception._uncounted == 1


def test_what_a_full_disk_kept_from_the_journal_is_told_later_and_the_first_one_as_the_first(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = Seconds()
    interception = Interception(host.database, host.journal, host.host_id, monotonic=seconds)

    def full(*_: object) -> None:
        raise DatabaseUnavailable("disk full")

    def note() -> None:
        interception.note(
            "192.0.2.1", Reason.NOT_LISTED, calling="EVIL", why="not listed, said at once", certificate="c1"
        )

    with monkeypatch.context() as patched:
        patched.setattr(host.journal, "record", full)
        for attempt in (note, interception.tell, interception.tell_all):
            with pytest.raises(DatabaseUnavailable):
                attempt()
        note()
    interception.tell()
    seconds.now = 10_000.0
    interception.tell()

    first, number = host.records()
    assert (first.event, first.reason) == (Event.ASSOCIATION_REFUSED, "not listed, said at once")
    assert (first.who[0].name, first.what[-1].name) == ("EVIL", "c1")
    assert (number.event, number.reason.startswith("1 more")) == (Event.INTERCEPTION_ATTEMPTED, True)
    assert interception.count() == 2


def test_one_address_cannot_take_every_place_and_known_ones_have_their_own() -> None:
    crowd = Crowd(Limits(connections=6, connections_of_one=4, associations=3, associations_of_one=2))
    took = Counter[str]()
    for address in ["flooder"] * 10 + ["other"] * 10:
        took[address] += crowd.connect(object(), address, known=False)
    known = [crowd.connect(object(), "modality", known=True) for _ in range(4)]

    assert took == {"flooder": 4, "other": 2}
    assert known == [True] * 4


def test_places_are_given_back() -> None:
    crowd, who, next_one = Crowd(Limits(1, 1, 1, 1)), object(), object()
    assert crowd.connect(who, "a", known=False)
    assert not crowd.connect(next_one, "a", known=False)
    assert crowd.associate(who, bound=False)
    assert crowd.connect(next_one, "a", known=False)
    assert not crowd.associate(next_one, bound=False)
    crowd.leave(who)

    assert crowd.associate(next_one, bound=False)
