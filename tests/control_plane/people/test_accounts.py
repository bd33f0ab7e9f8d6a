"""Tokens, one-time links, sessions, and the default deny."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.backup.restored import end_what_opens_again
from control_plane.db.models import Fact, ProviderBinding
from control_plane.enrolment.code_service import EnrolmentCodes, WantedCode
from control_plane.first_start import first_start
from control_plane.people.accounts import (
    CREDENTIAL_LIFE,
    IDLE_LIFE,
    LINK_LIFE,
    SESSION_LIFE,
    NameOfAService,
    NotSignedIn,
    PersonExists,
    SignedIn,
)
from control_plane.people.attempts import NotProved
from control_plane.people.decide import Permission, decide
from control_plane.people.people import ChangesThemselves, PersonUnknown, RemovesThemselves
from control_plane.people.permissions import NotPermitted, verify_permitted
from control_plane.people.provider_settings import FACT
from control_plane.settings import Folders, SettingRefused
from shared.audit.events import Event
from tests.control_plane.people.bench import ELSEWHERE, HERE, PASSWORD, Bench
from tests.fakes.clock import FakeClock


@pytest.mark.parametrize("name", ["control-plane", "Control-Plane", "control-plane "])
def test_nobody_is_called_what_the_audit_log_calls_the_control_plane(bench: Bench, name: str) -> None:
    with pytest.raises(NameOfAService, match="take another name"):
        bench.people.add(name, "administrator", by="ada")
    bench.people.add("control plane technician", "administrator", by="ada")  # control


def test_nor_is_the_first_administrator(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "data")
    with pytest.raises(SettingRefused, match="is what the audit log calls the control plane itself"):
        first_start(
            folders, tmp_path / "out", "control-plane", host="127.0.0.1", people_url="http://127.0.0.1:1",
            clock=FakeClock(),
        )  # fmt: skip

    assert not folders.data.exists()


def test_a_token_names_its_person_and_is_stored_only_as_a_digest(bench: Bench) -> None:
    token = bench.accounts.create("ada", "administrator")

    assert bench.accounts.by_token(token) == SignedIn("ada", "administrator")
    assert token.encode() not in bench.stored()
    for wrong in (token[:-1], token[:-1] + "\ud800", token.replace("lgp_", "lgx_"), ""):
        with pytest.raises(NotSignedIn):
            bench.accounts.by_token(wrong)


def test_a_credentials_token_is_good_for_a_year_and_no_longer(bench: Bench) -> None:
    token = bench.accounts.create("ada", "administrator")
    bench.clock.advance(CREDENTIAL_LIFE - timedelta(seconds=1))
    bench.accounts.by_token(token)
    bench.clock.advance(timedelta(seconds=1))

    with pytest.raises(NotSignedIn):
        bench.accounts.by_token(token)


def test_a_person_is_never_made_twice(bench: Bench) -> None:
    bench.person("ada")

    with pytest.raises(PersonExists):
        bench.person("ada")


def test_a_sign_in_link_works_once(bench: Bench) -> None:
    link = bench.signing_in.new_link(bench.person("ada"))

    begun = bench.signing_in.by_link(link)
    assert begun.person.name == "ada"
    assert bench.accounts.by_session(begun.secret) == begun.person
    with pytest.raises(NotSignedIn):
        bench.signing_in.by_link(link)


def test_a_sign_in_link_expires(bench: Bench) -> None:
    link = bench.signing_in.new_link(bench.person("ada"))
    bench.clock.advance(LINK_LIFE)

    with pytest.raises(NotSignedIn):
        bench.signing_in.by_link(link)


def test_a_session_ends_after_eight_hours_however_busy(bench: Bench) -> None:
    secret = bench.signing_in.by_link(bench.signing_in.new_link(bench.person("ada"))).secret
    for _ in range(SESSION_LIFE // timedelta(minutes=20) - 1):
        bench.clock.advance(timedelta(minutes=20))
        bench.accounts.by_session(secret)
    bench.clock.advance(timedelta(minutes=20))

    with pytest.raises(NotSignedIn):
        bench.accounts.by_session(secret)


def test_a_session_in_which_nobody_does_anything_ends_after_half_an_hour(bench: Bench) -> None:
    secret = bench.signing_in.by_link(bench.signing_in.new_link(bench.person("ada"))).secret
    bench.clock.advance(IDLE_LIFE - timedelta(seconds=1))
    bench.accounts.by_session(secret)
    bench.clock.advance(IDLE_LIFE / 2)
    bench.accounts.by_session(secret, acted=False)  # a page that its browser fetched again by itself
    bench.clock.advance(IDLE_LIFE / 2)

    with pytest.raises(NotSignedIn):
        bench.accounts.by_session(secret, acted=False)


def test_a_session_does_not_outlive_the_token_whose_link_it_began_with(bench: Bench) -> None:
    ada = bench.person("ada")
    secret = bench.signing_in.by_link(bench.signing_in.new_link(ada)).secret
    bench.tokens.end(ada, ada.token_id, of_anybody=False)

    with pytest.raises(NotSignedIn):
        bench.accounts.by_session(secret)


@pytest.mark.parametrize("permission", list(Permission))
def test_a_role_that_nobody_defined_may_do_nothing(permission: Permission) -> None:
    assert not decide("radiographer", permission).allowed
    with pytest.raises(NotPermitted, match="radiographer does not hold"):
        verify_permitted(SignedIn("bob", "radiographer"), permission)


def test_the_first_administrator_stays_the_first_when_there_is_a_second(bench: Bench) -> None:
    bench.person("zoe")
    bench.clock.advance(timedelta(days=1))
    bench.person("ada")

    assert bench.accounts.first_administrator() == "zoe"


def test_the_first_link_is_not_for_somebody_whose_account_is_closed(bench: Bench) -> None:
    bench.person("zoe")
    bench.clock.advance(timedelta(days=1))
    bench.person("ada")
    bench.people.remove("zoe", by="ada")

    assert bench.accounts.first_administrator() == "ada"


def test_the_first_link_retires_once_an_administrator_can_sign_in_without_one(bench: Bench) -> None:
    ada = bench.person("ada")
    bench.with_phone("bob", role="technician")
    bench.factors.set_password(ada, "", PASSWORD, ELSEWHERE)
    assert bench.accounts.first_administrator() == "ada"  # control: a technician's is no reason, nor a password alone
    bench.with_phone("zoe")

    assert bench.accounts.first_administrator() is None


@pytest.mark.parametrize("amr, enough", [(["mfa"], True), ([], False)])
def test_it_retires_for_one_who_signs_in_by_a_provider_alone(bench: Bench, amr: list[str], *, enough: bool) -> None:
    bench.person("ada")
    settings = {"issuer": "https://login.example", "amr": amr, "acr": []}
    with bench.database.begin() as session:
        session.add(ProviderBinding(issuer="https://another.example", subject="1", person="ada"))
        session.add(Fact(name=FACT, value=json.dumps(settings)))
    assert bench.accounts.first_administrator() == "ada"  # control: of another provider
    with bench.database.begin() as session:
        session.add(ProviderBinding(issuer="https://login.example", subject="1", person="ada"))

    assert (bench.accounts.first_administrator() is None) == enough


def test_what_an_older_database_calls_good_and_may_have_been_used_or_ended_since_is_good_no_more(bench: Bench) -> None:
    ada, _, codes = bench.with_phone("ada")
    tool = bench.tokens.make(ada, "monitoring", None, timedelta(days=30))
    with bench.database.begin() as session:
        end_what_opens_again(session, bench.clock.now())

    with pytest.raises(NotSignedIn):
        bench.accounts.by_token(tool.secret)
    assert bench.tokens.listed("ada")  # control: a credential's stays, or nobody could look into it
    with pytest.raises(NotProved):
        bench.sign_in("ada", codes[0])
    bench.sign_in("ada", bench.factors.renew_recovery_codes(ada, PASSWORD, HERE)[0])


def everything_of(bench: Bench, name: str) -> list[Callable[[], object]]:
    """Return every way in that somebody has."""
    token = bench.accounts.create(name, "administrator")
    person = bench.accounts.by_token(token)
    tool = bench.tokens.make(person, "tool", ["status:read"], timedelta(days=1)).secret
    link, session = (bench.signing_in.new_link(person) for _ in range(2))
    secret = bench.signing_in.by_link(session).secret
    return [
        lambda: bench.accounts.by_token(token),
        lambda: bench.accounts.by_token(tool),
        lambda: bench.accounts.by_session(secret),
        lambda: bench.signing_in.by_link(link),
    ]


@pytest.mark.parametrize("act", ["remove", "role", "reset"])
def test_who_is_removed_changed_or_reset_has_nothing_left_that_opens_the_door(bench: Bench, act: str) -> None:
    other = bench.accounts.create("ada", "administrator")
    for way in everything_of(bench, "grace")[:3]:
        way()  # control: they are good until then
    ways = everything_of(bench, "heidi")
    acts: dict[str, Callable[[], object]] = {
        "remove": lambda: bench.people.remove("heidi", by="ada"),
        "role": lambda: bench.people.change_role("heidi", "technician", by="ada"),
        "reset": lambda: bench.people.reset("heidi", by="ada"),
    }
    acts[act]()

    for way in ways:
        with pytest.raises(NotSignedIn):
            way()
    assert bench.accounts.by_token(other).name == "ada"


def test_a_changed_role_counts_from_the_token_on_that_takes_the_others_place(bench: Bench) -> None:
    bench.person("grace")
    token = bench.people.change_role("grace", "technician", by="ada")

    assert bench.accounts.by_token(token) == SignedIn("grace", "technician")


def test_a_closed_account_keeps_its_name_for_what_the_log_says_of_it(bench: Bench) -> None:
    bench.person("grace")
    bench.people.remove("grace", by="ada")

    with pytest.raises(PersonExists):
        bench.person("grace")
    with pytest.raises(PersonUnknown):
        bench.people.change_role("grace", "auditor", by="ada")


def test_nobody_closes_or_changes_their_own_account_or_one_that_is_not_there(bench: Bench) -> None:
    token = bench.accounts.create("ada", "administrator")

    with pytest.raises(RemovesThemselves):
        bench.people.remove("ada", by="ada")
    for act in (bench.people.reset, lambda name, by: bench.people.change_role(name, "auditor", by)):
        with pytest.raises(ChangesThemselves):
            act("ada", "ada")
    with pytest.raises(PersonUnknown):
        bench.people.remove("nobody", by="ada")
    assert bench.accounts.by_token(token).name == "ada"


@pytest.mark.parametrize("end", ["removed", "technician"])
def test_a_code_of_somebody_who_may_issue_none_any_more_enrols_nothing(bench: Bench, end: str) -> None:
    """The control is the code of somebody who still may, and one role that may."""
    codes = EnrolmentCodes(bench.database, bench.journal, bench.clock, bytes(32))
    for name in ("ada", "eve"):
        bench.person(name, role="field-engineer")
        codes.issue(name, WantedCode(f"CT of {name}"), timedelta(days=30))
    bench.people.change_role("eve", "administrator", by="ada")
    before = {code["issued_by"]: code["state"] for code in codes.listed()}

    if end == "removed":
        bench.people.remove("eve", by="ada")
    else:
        bench.people.change_role("eve", end, by="ada")

    assert before == {"ada": "open", "eve": "open"}
    assert {code["issued_by"]: code["state"] for code in codes.listed()} == {"ada": "open", "eve": "cancelled"}
    cancelled = [record for record in bench.records() if record.event is Event.CODE_CANCELLED]
    assert [record.who[0].name for record in cancelled] == ["ada"]
