"""An act that takes two persons: one asks, another one approves, and nothing happens in between."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import AuditRow
from control_plane.keys import store
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from control_plane.people.accounts import Accounts
from control_plane.people.people import People
from control_plane.people.two_persons import (
    LIFE,
    AlreadyAsked,
    OnePerson,
    OwnRequest,
    Request,
    RequestOver,
    RequestUnknown,
    TwoPersons,
    gaps,
)
from control_plane.people.ways_in import LATELY
from shared.audit.record import AuditRecord, Event, EventName, Outcome
from shared.errors import Refused
from shared.identity import HostId
from tests.fakes.clock import FakeClock

HOST = str(HostId(bytes(16)))


class InTheWay(Refused):
    pass


class Act:
    """Remembers that it was done, and by whom."""

    action = "act"

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.followed: list[HostId] = []
        self.is_in_the_way = False

    def verify(self, session: Session, subject: str) -> None:
        if self.is_in_the_way:
            raise InTheWay

    def perform(self, session: Session, request: Request, approver: str) -> None:
        self.verify(session, request.subject)
        self.done.append((request.asked_by, approver))

    def afterwards(self, host_id: HostId) -> None:
        self.followed.append(host_id)


class Office:
    def __init__(self, folder: Path) -> None:
        self.clock, self.act = FakeClock(), Act()
        self.database: sessionmaker[Session] = open_database(sqlite_url(folder / "centre.sqlite"))
        keys = KeyStore(self.database, RootKey(bytes(32)), self.clock)
        keys.create_p256(store.JOURNAL)
        self.journal = CentreJournal(self.database, keys.signer(store.JOURNAL), lambda: None, self.clock)
        self.accounts = Accounts(self.database, self.clock)
        self.people = People(self.database, self.journal, self.clock)
        self.accounts.create("ada", "administrator")
        self.two = TwoPersons(self.database, self.journal, self.clock, [self.act])

    def asked(self) -> Request:
        return self.two.ask("ada", "act", HOST, "there is a reason")

    def records(self) -> list[tuple[EventName, Outcome]]:
        with self.database() as session:
            records = [AuditRecord.parse(public) for public in session.scalars(select(AuditRow.public))]
        return [(record.event, record.outcome) for record in records]

    def reason_of(self, event: Event) -> str:
        with self.database() as session:
            records = [AuditRecord.parse(public) for public in session.scalars(select(AuditRow.public))]
        return next(record.reason for record in records if record.event is event)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def with_ben(office: Office) -> Office:
    office.accounts.create("ben", "administrator")
    return office


def test_two_person_rule_with_one_person(office: Office) -> None:
    """The control is that the same is asked for once there is a second person."""
    with pytest.raises(OnePerson, match="nobody but ada"):
        office.asked()
    assert office.records() == [(Event.REQUEST_MADE, Outcome.MINOR_FAILURE)]
    office.accounts.create("ben", "administrator")
    assert office.asked().asked_by == "ada"


def test_a_person_who_was_removed_is_no_second_person(with_ben: Office) -> None:
    with_ben.people.remove("ben", "ada")

    with pytest.raises(OnePerson):
        with_ben.asked()


def test_who_asked_cannot_approve(with_ben: Office) -> None:
    """The control is that another person can."""
    request = with_ben.asked()

    with pytest.raises(OwnRequest):
        with_ben.two.approve("ada", request.request_id)
    assert with_ben.act.done == []
    with_ben.two.approve("ben", request.request_id)
    assert with_ben.act.done == [("ada", "ben")]
    assert with_ben.act.followed == [HostId.parse(HOST)]
    assert [event for event, outcome in with_ben.records() if outcome is Outcome.SUCCESS] == [
        Event.REQUEST_MADE, Event.REQUEST_APPROVED,
    ]  # fmt: skip


def test_a_request_is_approved_once_and_within_its_days(with_ben: Office) -> None:
    once, late = with_ben.asked(), None
    with_ben.two.approve("ben", once.request_id)
    late = with_ben.asked()
    with_ben.clock.advance(LIFE)

    for request in (once, late):
        with pytest.raises(RequestOver):
            with_ben.two.approve("ben", request.request_id)
    assert with_ben.act.done == [("ada", "ben")]
    with pytest.raises(RequestUnknown):
        with_ben.two.approve("ben", "00000000")


def test_what_a_removed_person_asked_for_is_not_done(with_ben: Office) -> None:
    request = with_ben.asked()
    with_ben.people.remove("ada", "ben")

    with pytest.raises(RequestOver, match="ada"):
        with_ben.two.approve("ben", request.request_id)
    assert with_ben.act.done == []


def test_what_came_in_the_way_meanwhile_leaves_the_request_open(with_ben: Office) -> None:
    request = with_ben.asked()
    with_ben.act.is_in_the_way = True

    with pytest.raises(InTheWay):
        with_ben.two.approve("ben", request.request_id)
    assert with_ben.two.open() == [request]
    with_ben.act.is_in_the_way = False
    with_ben.two.approve("ben", request.request_id)


def test_one_thing_is_asked_for_once_and_whoever_asked_may_take_it_back(with_ben: Office) -> None:
    request = with_ben.asked()
    with pytest.raises(AlreadyAsked, match=request.request_id):
        with_ben.asked()
    assert request.request_id in next(gaps(with_ben.two.open()))

    with_ben.two.refuse("ada", request.request_id)
    assert with_ben.two.open() == []
    with pytest.raises(RequestOver):
        with_ben.two.approve("ben", request.request_id)
    with_ben.clock.advance(timedelta(minutes=1))
    assert with_ben.asked() != request


def test_one_person_with_a_second_account_is_told_of_in_the_record_and_in_the_status(office: Office) -> None:
    """Whoever adds a person holds that one's token, so what both did may be the act of one."""
    office.people.add("ben", "administrator", by="ada")
    request = office.asked()
    office.two.approve("ben", request.request_id)

    assert "ada gave ben a way in at " in office.reason_of(Event.REQUEST_APPROVED)
    (said,) = office.two.perhaps_by_one()
    assert f"request {request.request_id}, act of {HOST}, which ada made and ben approved" in said
    office.clock.advance(timedelta(days=31))
    assert office.two.perhaps_by_one() == []


@pytest.mark.parametrize("asker", ["ada", "ben"])
def test_so_is_one_who_reset_the_other(with_ben: Office, asker: str) -> None:
    approver = "ben" if asker == "ada" else "ada"
    with_ben.people.reset("ben", by="ada")
    with_ben.two.approve(approver, with_ben.two.ask(asker, "act", HOST, "there is a reason").request_id)

    assert "ada gave ben a way in at " in with_ben.reason_of(Event.REQUEST_APPROVED)
    assert len(with_ben.two.perhaps_by_one()) == 1


def test_two_who_have_had_their_own_ways_in_for_a_week_are_two(office: Office) -> None:
    """The control for the two above."""
    office.people.add("ben", "administrator", by="ada")
    office.clock.advance(LATELY)
    office.two.approve("ben", office.asked().request_id)

    assert "a way in" not in office.reason_of(Event.REQUEST_APPROVED)
    assert office.two.perhaps_by_one() == []
