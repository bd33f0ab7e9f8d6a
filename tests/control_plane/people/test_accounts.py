"""Tokens, one-time links, sessions, and the default deny."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from control_plane.db.engine import open_database, sqlite_url
from control_plane.first_start import first_start
from control_plane.people.accounts import (
    LINK_LIFE,
    SESSION_LIFE,
    Accounts,
    NameOfAService,
    NotSignedIn,
    PersonExists,
    PersonUnknown,
    RemovesThemselves,
    SignedIn,
)
from control_plane.people.decide import Permission, decide
from control_plane.people.permissions import NotPermitted, verify_permitted
from control_plane.settings import Folders, SettingRefused
from tests.fakes.clock import FakeClock

START = datetime(2026, 11, 24, 8, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def accounts(tmp_path: Path, clock: FakeClock) -> Accounts:
    return Accounts(open_database(sqlite_url(tmp_path / "people.sqlite")), clock)


@pytest.mark.parametrize("name", ["control-plane", "Control-Plane", "control-plane "])
def test_nobody_is_called_what_the_audit_log_calls_the_control_plane(accounts: Accounts, name: str) -> None:
    with pytest.raises(NameOfAService, match="take another name"):
        accounts.create(name, "administrator")
    accounts.create("control plane technician", "administrator")  # control


def test_nor_is_the_first_administrator(tmp_path: Path, clock: FakeClock) -> None:
    folders = Folders(tmp_path / "data")
    with pytest.raises(SettingRefused, match="is what the audit log calls the control plane itself"):
        first_start(
            folders, tmp_path / "out", "control-plane", host="127.0.0.1", people_url="http://127.0.0.1:1", clock=clock
        )

    assert not folders.data.exists()


def test_a_token_names_its_person_and_is_stored_only_as_a_digest(accounts: Accounts, tmp_path: Path) -> None:
    token = accounts.create("ada", "administrator")

    assert accounts.by_token(token) == SignedIn("ada", "administrator")
    assert token.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(NotSignedIn):
        accounts.by_token(token[:-1])


def test_a_person_is_never_made_twice(accounts: Accounts) -> None:
    accounts.create("ada", "administrator")

    with pytest.raises(PersonExists):
        accounts.create("ada", "administrator")


def test_a_sign_in_link_works_once(accounts: Accounts) -> None:
    accounts.create("ada", "administrator")
    link = accounts.new_link("ada")

    session, person, _ = accounts.use_link(link)
    assert person.name == "ada"
    assert accounts.by_session(session) == person
    with pytest.raises(NotSignedIn):
        accounts.use_link(link)


def test_a_sign_in_link_expires(accounts: Accounts, clock: FakeClock) -> None:
    accounts.create("ada", "administrator")
    link = accounts.new_link("ada")
    clock.advance(LINK_LIFE)

    with pytest.raises(NotSignedIn):
        accounts.use_link(link)


def test_a_session_ends(accounts: Accounts, clock: FakeClock) -> None:
    accounts.create("ada", "administrator")
    session, _, _ = accounts.use_link(accounts.new_link("ada"))
    clock.advance(SESSION_LIFE - timedelta(seconds=1))
    accounts.by_session(session)
    clock.advance(timedelta(seconds=1))

    with pytest.raises(NotSignedIn):
        accounts.by_session(session)


@pytest.mark.parametrize("permission", list(Permission))
def test_a_role_that_nobody_defined_may_do_nothing(permission: Permission) -> None:
    assert not decide("radiographer", permission).allowed
    with pytest.raises(NotPermitted, match="radiographer does not hold"):
        verify_permitted(SignedIn("bob", "radiographer"), permission)


def test_the_first_administrator_stays_the_first_when_there_is_a_second(accounts: Accounts, clock: FakeClock) -> None:
    accounts.create("zoe", "administrator")
    clock.advance(timedelta(days=1))
    accounts.create("ada", "administrator")

    assert accounts.first_administrator() == "zoe"


def test_whose_account_is_closed_has_no_token_link_or_session(accounts: Accounts) -> None:
    token, other = accounts.create("grace", "administrator"), accounts.create("ada", "administrator")
    link, (session, _, _) = accounts.new_link("grace"), accounts.use_link(accounts.new_link("grace"))

    accounts.remove("grace", by="ada")
    for act in (
        lambda: accounts.by_token(token),
        lambda: accounts.use_link(link),
        lambda: accounts.by_session(session),
    ):
        with pytest.raises(NotSignedIn):
            act()
    assert accounts.by_token(other).name == "ada"


def test_a_closed_account_keeps_its_name_for_what_the_log_says_of_it(accounts: Accounts) -> None:
    accounts.create("grace", "administrator")
    accounts.remove("grace", by="ada")

    with pytest.raises(PersonExists):
        accounts.create("grace", "administrator")


def test_nobody_closes_their_own_account_or_one_that_is_not_there(accounts: Accounts) -> None:
    token = accounts.create("ada", "administrator")

    with pytest.raises(RemovesThemselves):
        accounts.remove("ada", by="ada")
    with pytest.raises(PersonUnknown):
        accounts.remove("nobody", by="ada")
    assert accounts.by_token(token).name == "ada"
