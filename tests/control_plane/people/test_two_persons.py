"""An act that takes two persons: one asks, another one approves, and nothing happens in between."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal, Sealing
from control_plane.db.models import AuditRow, PasswordRow, Person, ProviderBinding, SecondFactor
from control_plane.keys import store
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from control_plane.people.accounts import Accounts, NotSignedIn
from control_plane.people.people import NotForThemselves, People, TakesTwo
from control_plane.people.promotion import PROMOTE, NotYetAdministrator, Promotion
from control_plane.people.two_persons import (
    LIFE,
    AlreadyAsked,
    OnePerson,
    OwnRequest,
    PerhapsOne,
    Request,
    RequestOver,
    RequestUnknown,
    TwoPersons,
    gaps,
)
from control_plane.people.ways_in import LATELY
from control_plane.tlog.sequencer import Sequencer
from shared.audit.events import Action, Event, EventName, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord
from shared.errors import Refused
from shared.identity import HostId
from tests.control_plane.begun import database_at
from tests.fakes.clock import FakeClock

HOST, OTHER = (str(HostId(bytes([one] * 16))) for one in (0, 1))


class InTheWay(Refused):
    pass


class Act:
    """Remembers that it was done, and by whom."""

    action, kind = "act", "host"

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.followed: list[str] = []
        self.is_in_the_way = False

    def verify(self, session: Session, subject: str) -> None:
        if self.is_in_the_way:
            raise InTheWay

    def perform(self, session: Session, request: Request, approver: str) -> None:
        self.verify(session, request.subject)
        self.done.append((request.asked_by, approver))

    def afterwards(self, subject: str) -> None:
        self.followed.append(subject)


class Office:
    def __init__(self, folder: Path) -> None:
        self.clock, self.act = FakeClock(), Act()
        self.database: sessionmaker[Session] = database_at(folder / "centre.sqlite")
        keys = KeyStore(self.database, RootKey(bytes(32)), self.clock)
        keys.create_p256(store.JOURNAL)
        self.journal = CentreJournal(
            self.database,
            keys.signer(store.JOURNAL),
            Sequencer(keys.log_signer()),
            lambda *_: Sealing(None),
            self.clock,
        )
        self.accounts = Accounts(self.database, self.clock)
        self.people = People(self.database, self.journal, self.clock)
        self.accounts.create("ada", "administrator")
        self.two = TwoPersons(self.database, self.journal, self.clock, [self.act, Promotion(self.journal, self.clock)])

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
    assert with_ben.act.followed == [HOST]
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


def test_a_second_account_of_one_person_is_no_second_person(office: Office) -> None:
    """Whoever adds a person holds that one's token. The control is a week later, when ben had long seen of it."""
    office.people.add("ben", "administrator", by="ada")
    request = office.asked()
    with pytest.raises(PerhapsOne, match="ada gave ben a way in at "):
        office.two.approve("ben", request.request_id)
    assert office.act.done == []
    assert (Event.REQUEST_APPROVED, Outcome.MINOR_FAILURE) in office.records()
    (said,) = office.two.not_yet_another()
    assert said.startswith("ben does not count as another person yet")

    office.clock.advance(LATELY - timedelta(seconds=1))
    with pytest.raises(PerhapsOne):
        office.two.approve("ben", office.two.ask("ada", "act", OTHER, "there is a reason").request_id)
    office.clock.advance(timedelta(seconds=1))
    office.two.approve("ben", office.asked().request_id)
    assert office.two.not_yet_another() == []


@pytest.mark.parametrize("asker", ["ada", "ben"])
def test_nor_is_one_who_was_reset_by_the_other_whichever_of_them_asks(with_ben: Office, asker: str) -> None:
    approver = "ben" if asker == "ada" else "ada"
    with_ben.people.reset("ben", by="ada")
    request = with_ben.two.ask(asker, "act", HOST, "there is a reason")
    with pytest.raises(PerhapsOne):
        with_ben.two.approve(approver, request.request_id)

    with_ben.accounts.create("cleo", "administrator")
    with_ben.people.vouch("ben", by="cleo")
    with_ben.two.approve(approver, request.request_id)


@pytest.mark.parametrize("issuer", ["https://login.example", "https://login.example/" + 300 * "t"])
def test_nor_is_one_of_a_provider_that_the_other_set(with_ben: Office, issuer: str) -> None:
    with with_ben.database.begin() as session:
        session.add(ProviderBinding(issuer=issuer, subject="1", person="ben"))
    who, what = (Participant("person", "ada", True),), (Subject("issuer", issuer),)
    request = with_ben.asked()
    with_ben.journal.record(Happening(Event.PROVIDER_SET, Action.UPDATE, Outcome.SUCCESS, who, what))

    with pytest.raises(PerhapsOne):
        with_ben.two.approve("ben", request.request_id)


def test_a_clock_that_is_put_right_hides_no_way_in(with_ben: Office) -> None:
    with_ben.clock.advance(timedelta(days=1))
    with_ben.people.reset("ben", by="ada")
    with_ben.clock.advance(-timedelta(days=1))
    assert any(said.startswith("ben does not") for said in with_ben.two.not_yet_another())

    with_ben.clock.advance(-timedelta(days=9))
    with_ben.accounts.create("cleo", "administrator")
    with_ben.people.reset("ben", by="cleo")  # recorded by a clock that is a week behind
    with_ben.clock.advance(timedelta(days=9))
    assert any(said.startswith("ben does not") for said in with_ben.two.not_yet_another())


def test_only_a_third_person_who_counts_themselves_vouches(with_ben: Office) -> None:
    people = with_ben.people
    with pytest.raises(NotForThemselves, match="not needed"):
        people.vouch("ben", by="ada")
    people.reset("ben", by="ada")
    with_ben.accounts.create("cleo", "administrator")
    for by, why in (("ada", "you gave them"), ("ben", "that is you")):
        with pytest.raises(NotForThemselves, match=why):
            people.vouch("ben", by=by)
    people.reset("cleo", by="ada")
    with pytest.raises(NotForThemselves, match="you do not count"):
        people.vouch("ben", by="cleo")

    with_ben.clock.advance(timedelta(minutes=1))
    with_ben.accounts.create("dan", "administrator")
    people.vouch("ben", by="dan")
    assert all("ben" not in said.split(" does not")[0] for said in with_ben.two.not_yet_another())
    people.reset("ben", by="dan")  # whoever vouched gives a way in after that
    assert any(said.startswith("ben does not") for said in with_ben.two.not_yet_another())


def test_an_administrator_is_made_by_one_only_as_long_as_there_is_one(office: Office) -> None:
    office.people.add("ben", "administrator", by="ada")
    assert office.reason_of(Event.PERSON_ADDED) == "by the only administrator, alone"
    office.clock.advance(LATELY)
    with pytest.raises(TakesTwo):
        office.people.add("cleo", "administrator", by="ada")
    office.people.add("cleo", "technician", by="ada")
    with pytest.raises(TakesTwo):
        office.people.change_role("cleo", "administrator", by="ada")

    with pytest.raises(NotYetAdministrator, match="no password and second factor"):
        office.two.ask("ada", PROMOTE, "cleo", "she joins us")
    token = office.people.reset("cleo", by="ada")
    with office.database.begin() as session:
        session.add(PasswordRow(person="cleo", argon2="of hers", changed=office.clock.now()))
        now = office.clock.now()
        session.add(
            SecondFactor(
                factor_id="1", person="cleo", kind="totp", name="phone", created=now, confirmed=now, last_step=0,
                sign_count=0,
            )
        )  # fmt: skip
    request = office.two.ask("ada", PROMOTE, "cleo", "she joins us")
    assert office.accounts.by_token(token).role == "technician"
    office.two.approve("ben", request.request_id)

    with office.database() as session:
        assert session.get_one(Person, "cleo").role == "administrator"
    with pytest.raises(NotSignedIn):  # a token that somebody else had
        office.accounts.by_token(token)
    # And she counts only once she could not be ada: the reset above.
    with pytest.raises(PerhapsOne):
        office.two.approve("cleo", office.asked().request_id)
