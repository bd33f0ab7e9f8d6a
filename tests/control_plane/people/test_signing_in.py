"""Password and second factor: what opens, what does not, and what guessing costs."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event as Signal
from threading import Semaphore
from typing import Literal

import pytest
from argon2 import PasswordHasher
from argon2.profiles import RFC_9106_LOW_MEMORY
from sqlalchemy import select

from control_plane.db.models import PasswordRow, PersonSession, SecondFactor, SignInLink, SignInStep
from control_plane.db.transactions import in_one_commit
from control_plane.http.limits import TooManyFailures
from control_plane.people import failures
from control_plane.people.accounts import NotSignedIn
from control_plane.people.attempts import NotProved, Wrong
from control_plane.people.delay import FORGOTTEN_AFTER, OF_AN_ACCOUNT, OF_AN_ADDRESS
from control_plane.people.factors import FactorUnknown, PasswordMissing
from control_plane.people.passwords import Asker, Passwords, PasswordsBusy, PasswordUnfit
from control_plane.people.purging import purge
from control_plane.people.signing_in import Shown
from shared.audit.events import Event
from tests.control_plane.people.bench import ELSEWHERE, HERE, ORIGIN, PASSWORD, QUICK, Bench, Phone
from tests.fakes.security_key import SecurityKey

A_STEP = timedelta(seconds=30)


def wrong_code(phone: Phone) -> str:
    return f"{(int(phone.code()) + 500_000) % 1_000_000:06}"


def test_password_and_code_of_the_phone_sign_in(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.clock.advance(A_STEP)

    begun = bench.sign_in("ada", phone.code())
    assert bench.accounts.by_session(begun.secret).name == "ada"


def test_a_code_that_was_accepted_once_is_refused(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    with pytest.raises(NotProved):  # the one that set the phone up
        bench.sign_in("ada", phone.code())
    bench.clock.advance(A_STEP)
    bench.sign_in("ada", phone.code())

    with pytest.raises(NotProved):
        bench.sign_in("ada", phone.code())
    bench.clock.advance(A_STEP)
    bench.sign_in("ada", phone.code())  # control: the next one is good


@pytest.mark.parametrize("off, right", [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_is_good_for_a_step_before_and_after_its_own(bench: Bench, off: int, right: bool) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.clock.advance(A_STEP * (10 + off))
    code = phone.code()
    bench.clock.advance(A_STEP * -off)

    if right:
        bench.sign_in("ada", code)
    else:
        with pytest.raises(NotProved):
            bench.sign_in("ada", code)


def test_whatever_is_wrong_the_words_are_the_same_and_the_log_alone_knows(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.factors.set_password(bench.person("bob"), "", PASSWORD, HERE)
    bench.clock.advance(A_STEP)
    code = phone.code()
    said = []
    for name, password, shown in (
        ("nobody", PASSWORD, code), ("ada", "not the password", code), ("ada", PASSWORD, wrong_code(phone)),
        ("bob", PASSWORD, code),
    ):  # fmt: skip
        with pytest.raises(NotProved) as refused:
            bench.sign_in(name, shown, password=password)
        said.append(str(refused.value))

    assert len(set(said)) == 1
    logged = [one for one in bench.records() if one.event is Event.SIGN_IN_REFUSED]
    assert [one.reason for one in logged] == [Wrong.PERSON, Wrong.PASSWORD, Wrong.FACTOR, Wrong.NO_FACTOR]
    assert [[who.name for who in one.who] for one in logged] == [[], ["ada"], ["ada"], ["bob"]]


def test_the_first_step_answers_the_same_whether_the_password_is_right_or_not(bench: Bench) -> None:
    bench.with_phone("ada")
    answers = [
        bench.signing_in.begin(name, password, HERE)
        for name, password in (("ada", PASSWORD), ("ada", "wrong"), ("nobody", PASSWORD))
    ]

    assert len({len(answer.secret) for answer in answers}) == 1
    assert len({len(answer.key_options) for answer in answers}) == 1
    assert all('"allowCredentials": []' in answer.key_options for answer in answers)


def test_a_wrong_password_uses_up_no_code(bench: Bench) -> None:
    _, phone, codes = bench.with_phone("ada")
    bench.clock.advance(A_STEP)
    for code in (phone.code(), codes[0]):
        with pytest.raises(NotProved):
            bench.sign_in("ada", code, password="not the password")
        bench.sign_in("ada", code)


def test_a_password_alone_opens_nothing(bench: Bench) -> None:
    bench.factors.set_password(bench.person("ada"), "", PASSWORD, HERE)

    for code in ("", "000000"):
        with pytest.raises(NotProved):
            bench.sign_in("ada", code)


def test_guessing_the_second_factor_is_slowed_down_until_it_is_hopeless(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    guesses = 0
    until = bench.clock.now() + timedelta(days=1)
    while bench.clock.now() < until and guesses < 200:
        try:
            bench.sign_in("ada", wrong_code(phone))
        except NotProved:
            guesses += 1
        except TooManyFailures as exc:
            bench.clock.advance(timedelta(seconds=exc.retry_after_s))

    # A hundred tries a day of which each hits 3 of a million codes: 1 in 3,000 days for somebody who has the password.
    assert guesses <= 24 * 4 + 20


def test_without_the_wait_every_guess_is_judged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this as the control: what makes guessing hopeless is the wait."""
    monkeypatch.setattr(failures, "wait", lambda *_: timedelta(0))
    _, phone, _ = bench.with_phone("ada")
    for _ in range(4 * OF_AN_ACCOUNT.free):
        with pytest.raises(NotProved):
            bench.sign_in("ada", wrong_code(phone))


def test_a_restart_gives_nobody_more_guesses(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    for _ in range(OF_AN_ACCOUNT.free):
        with pytest.raises(NotProved):
            bench.sign_in("ada", wrong_code(phone))
        bench.clock.advance(timedelta(milliseconds=1))
        bench.restart()

    with pytest.raises(TooManyFailures):
        bench.sign_in("ada", wrong_code(phone))


def test_a_right_password_does_not_take_failures_of_the_second_factor_back(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    right = bench.signing_in.begin("ada", PASSWORD, HERE)
    for _ in range(OF_AN_ACCOUNT.free):
        with pytest.raises(NotProved):
            bench.sign_in("ada", wrong_code(phone))
    with pytest.raises(TooManyFailures):
        bench.signing_in.finish(right.secret, Shown(phone.code()), HERE)
    with pytest.raises(TooManyFailures):
        bench.sign_in("ada", phone.code())


def test_whoever_guesses_all_day_keeps_the_right_person_out_for_a_quarter_of_an_hour_at_most(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    for _ in range(200):
        with pytest.raises((NotProved, TooManyFailures)):
            bench.sign_in("ada", wrong_code(phone))
        bench.clock.advance(timedelta(minutes=7))

    bench.sign_in("ada", phone.code(), address=ELSEWHERE)  # from where nobody guessed it is none
    bench.clock.advance(OF_AN_ACCOUNT.most)
    bench.sign_in("ada", phone.code())
    bench.clock.advance(A_STEP)
    bench.sign_in("ada", phone.code())


def test_a_browser_in_which_somebody_was_signed_in_is_kept_out_by_nobody_elses_guesses(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.clock.advance(A_STEP)
    known = bench.sign_in("ada", phone.code()).secret
    _, evas_phone, _ = bench.with_phone("eva")
    bench.clock.advance(A_STEP)
    evas = bench.sign_in("eva", evas_phone.code()).secret
    for _ in range(OF_AN_ACCOUNT.free):
        with pytest.raises(NotProved):
            bench.sign_in("ada", wrong_code(phone))
    for browser in ("", "junk", evas):  # control: no other browser is let through
        with pytest.raises(TooManyFailures):
            bench.signing_in.begin("ada", PASSWORD, HERE, browser)

    step = bench.signing_in.begin("ada", PASSWORD, HERE, known)
    bench.signing_in.finish(step.secret, Shown(phone.code()), HERE, known)


class Watched(Passwords):
    """Counts how often a password is looked at, which costs 64 MiB each time."""

    looks = 0

    def is_right(self, password: str, stored: str | None, asker: Asker) -> bool:
        self.looks += 1
        return super().is_right(password, stored, asker)


def test_during_a_wait_no_password_is_looked_at(bench: Bench) -> None:
    ada, phone, _ = bench.with_phone("ada")
    watched = Watched(QUICK)
    bench.restart(watched)
    for _ in range(OF_AN_ACCOUNT.free):
        with pytest.raises(NotProved):
            bench.sign_in("ada", wrong_code(phone))
    before = watched.looks
    assert before == OF_AN_ACCOUNT.free  # control

    for _ in range(3):
        with pytest.raises(TooManyFailures):
            bench.signing_in.begin("ada", PASSWORD, HERE)
        with pytest.raises(TooManyFailures):
            bench.signing_in.new_credential_token("ada", PASSWORD, phone.code(), HERE)
        with pytest.raises(TooManyFailures):
            bench.factors.renew_recovery_codes(ada, PASSWORD, HERE)
    assert watched.looks == before


class HeldUp(PasswordHasher):
    """Looks at a password only when it is let go on, as a flood of them does on a small machine."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.entered, self.go_on = Semaphore(0), Signal()

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 (its name there)
        self.entered.release()
        assert self.go_on.wait(60)
        return super().verify(hash, password)


def test_a_flood_of_strangers_keeps_nobody_out_whom_we_know_and_holds_no_thread(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.clock.advance(A_STEP)
    known = bench.sign_in("ada", phone.code()).secret
    bench.clock.advance(A_STEP)
    slow = HeldUp()
    bench.restart(Passwords(slow))
    with ThreadPoolExecutor(3) as pool:
        flood = [pool.submit(bench.signing_in.begin, f"person {n}", PASSWORD, HERE) for n in range(2)]
        for _ in flood:
            assert slow.entered.acquire(timeout=180)
        with pytest.raises(PasswordsBusy):
            bench.signing_in.begin("person 3", PASSWORD, HERE)
        with pytest.raises(PasswordsBusy):
            bench.signing_in.new_credential_token("ada", PASSWORD, phone.code(), ELSEWHERE)
        ours = pool.submit(bench.signing_in.begin, "ada", PASSWORD, HERE, known)
        assert slow.entered.acquire(timeout=180)
        slow.go_on.set()
        bench.signing_in.finish(ours.result(timeout=180).secret, Shown(phone.code()), HERE, known)
        assert all(one.result(timeout=180).secret for one in flood)
    bench.signing_in.begin("person 3", PASSWORD, HERE)  # control: there is room again


def test_what_opens_nothing_any_more_is_taken_away_after_its_time(bench: Bench) -> None:
    ada, phone, _ = bench.with_phone("ada")
    bench.clock.advance(A_STEP)
    over = bench.sign_in("ada", phone.code())
    bench.signing_in.new_link(ada)
    bench.signing_in.begin("ada", PASSWORD, HERE)
    bench.sessions.end(ada, over.person.session_id, of_anybody=False)

    def left(days: int) -> tuple[int, ...]:
        bench.clock.advance(timedelta(days=days))
        in_one_commit(bench.database, lambda session: purge(session, bench.clock.now()))
        with bench.database() as session:
            return tuple(len(session.scalars(select(table)).all()) for table in (PersonSession, SignInLink, SignInStep))

    assert left(0) == (1, 1, 1)
    assert left(2) == (1, 0, 0)
    assert left(177) == (1, 0, 0)  # by which a browser is known
    assert left(2) == (0, 0, 0)


def test_a_credential_opens_whatever_was_guessed(bench: Bench) -> None:
    ada, phone, _ = bench.with_phone("ada")
    for _ in range(OF_AN_ACCOUNT.free + 2):
        with pytest.raises((NotProved, TooManyFailures)):
            bench.sign_in("ada", wrong_code(phone))

    assert bench.signing_in.by_link(bench.signing_in.new_link(ada)).person.name == "ada"


def test_many_accounts_tried_from_one_address_are_slowed_down_together(bench: Bench) -> None:
    for number in range(OF_AN_ADDRESS.free):
        with pytest.raises(NotProved):
            bench.sign_in(f"person {number}", "123456")
    with pytest.raises(TooManyFailures):
        bench.sign_in("person 40", "123456")

    bench.clock.advance(FORGOTTEN_AFTER)
    with pytest.raises(NotProved):
        bench.sign_in("person 41", "123456")


def test_a_step_serves_one_attempt_and_five_minutes(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    step = bench.signing_in.begin("ada", PASSWORD, HERE)
    with pytest.raises(NotProved):
        bench.signing_in.finish(step.secret, Shown(code=wrong_code(phone)), HERE)
    bench.clock.advance(A_STEP)
    with pytest.raises(NotProved):
        bench.signing_in.finish(step.secret, Shown(code=phone.code()), HERE)

    late = bench.signing_in.begin("ada", PASSWORD, HERE)
    bench.clock.advance(timedelta(minutes=5))
    with pytest.raises(NotProved):
        bench.signing_in.finish(late.secret, Shown(code=phone.code()), HERE)


def test_a_recovery_code_signs_in_once(bench: Bench) -> None:
    _, _, codes = bench.with_phone("ada")

    assert len(set(codes)) == 10
    bench.sign_in("ada", codes[3].lower().replace("-", " "))
    with pytest.raises(NotProved):
        bench.sign_in("ada", codes[3])
    bench.sign_in("ada", codes[4])
    assert bench.people.shown("ada")["recovery_codes_left"] == 8


def test_new_recovery_codes_void_those_of_before_and_a_phones_second_app_makes_none(bench: Bench) -> None:
    ada, _, codes = bench.with_phone("ada")
    offer = bench.factors.offer_totp(ada, PASSWORD, "tablet", HERE)
    added = bench.factors.confirm_totp(ada, offer.factor_id, Phone(offer.uri, bench.clock).code(), HERE)
    fresh = bench.factors.renew_recovery_codes(ada, PASSWORD, HERE)

    assert added.recovery_codes == ()
    with pytest.raises(NotProved):
        bench.sign_in("ada", codes[0])
    bench.sign_in("ada", fresh[0])


def test_what_was_set_up_and_never_confirmed_is_no_second_factor(bench: Bench) -> None:
    ada = bench.person("ada")
    bench.factors.set_password(ada, "", PASSWORD, HERE)
    phone = Phone(bench.factors.offer_totp(ada, PASSWORD, "phone", HERE).uri, bench.clock)

    with pytest.raises(NotProved):
        bench.sign_in("ada", phone.code())


def test_no_secret_of_a_person_lies_in_clear_in_the_database_or_the_log(bench: Bench) -> None:
    _, phone, codes = bench.with_phone("ada")
    bench.clock.advance(A_STEP)
    bench.sign_in("ada", phone.code())
    stored = bench.stored()

    secrets = [PASSWORD, phone.secret, *codes, *(code.replace("-", "") for code in codes)]
    assert not [one for one in secrets if one.encode() in stored]
    assert base64.b32decode(phone.secret) not in stored
    with bench.database() as session:
        row = session.scalars(select(SecondFactor)).one()
        assert session.scalars(select(PasswordRow.argon2)).one().startswith("$argon2id$")
    assert row.sealed_seed is not None
    assert base64.b32decode(phone.secret) == bench.keys.unseal(f"totp/{row.factor_id}/1", row.sealed_seed)  # control


def test_a_seed_that_was_moved_to_another_persons_row_opens_nothing(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.with_phone("eve")
    with bench.database.begin() as session:
        rows = {row.person: row for row in session.scalars(select(SecondFactor))}
        rows["ada"].sealed_seed = rows["eve"].sealed_seed
    bench.clock.advance(A_STEP)

    with pytest.raises(Exception, match="does not open under this root key"):
        bench.sign_in("ada", phone.code())


def test_passwords_are_hashed_as_rfc_9106_recommends_and_anew_when_that_rises(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.restart(Passwords(PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)))
    bench.clock.advance(A_STEP)
    bench.sign_in("ada", phone.code())

    with bench.database() as session:
        assert session.scalars(select(PasswordRow.argon2)).one().startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    bench.clock.advance(A_STEP)
    bench.sign_in("ada", phone.code())


class Slow(Passwords):
    """Takes so long for a hash that somebody else has done something by then."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__(PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY))
        self._meanwhile: list[Callable[[], object]] = [meanwhile]

    def is_outdated(self, stored: str) -> bool:
        while self._meanwhile:
            self._meanwhile.pop()()
        return super().is_outdated(stored)


def test_a_password_that_was_reset_while_it_is_hashed_anew_does_not_come_back(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.restart(Slow(lambda: bench.people.reset("ada", by="ben")))
    bench.clock.advance(A_STEP)

    with pytest.raises(NotProved):
        bench.sign_in("ada", phone.code())
    with bench.database() as session:
        assert session.scalars(select(PasswordRow)).all() == []


def test_passwords_that_are_easily_guessed_are_not_taken(bench: Bench) -> None:
    ada = bench.person("ada")

    for unfit in ("eleven char", "aaaaaaaaaaaaaaaa", "the password of ada", "x" * 129):
        with pytest.raises(PasswordUnfit):
            bench.factors.set_password(ada, "", unfit, HERE)


def test_a_password_typed_on_another_keyboard_is_the_same() -> None:
    passwords = Passwords(QUICK)

    assert passwords.is_right("Mu\u0308nchen im Regen", passwords.hash("M\u00fcnchen im Regen"), Asker.KNOWN)


def test_whoever_holds_a_token_and_not_the_password_changes_nothing_of_how_one_signs_in(bench: Bench) -> None:
    ada, _, _ = bench.with_phone("ada")
    factor = str(bench.people.shown("ada")["second_factors"][0]["factor"])  # type: ignore[index,call-overload]

    for act in (
        lambda: bench.factors.set_password(ada, "a guess at it", "another long password", HERE),
        lambda: bench.factors.offer_totp(ada, "a guess at it", "mine", ELSEWHERE),
        lambda: bench.factors.remove(ada, factor, "a guess at it", ELSEWHERE),
        lambda: bench.factors.renew_recovery_codes(ada, "a guess at it", ELSEWHERE),
    ):
        with pytest.raises(NotProved):
            act()
    with pytest.raises(PasswordMissing):
        bench.factors.offer_totp(bench.person("bob"), "", "mine", HERE)
    with pytest.raises(FactorUnknown):
        bench.factors.remove(ada, "0" * 16, PASSWORD, HERE)


def test_a_changed_factor_ends_every_way_in_but_the_one_in_hand(bench: Bench) -> None:
    ada, phone, _ = bench.with_phone("ada")
    tool = bench.tokens.make(ada, "tool", None, timedelta(days=1)).secret
    bench.clock.advance(A_STEP)
    session = bench.sign_in("ada", phone.code()).secret
    bench.accounts.by_session(session)  # control
    bench.factors.set_password(ada, PASSWORD, "another long password", HERE)

    with pytest.raises(NotSignedIn):
        bench.accounts.by_token(tool)
    with pytest.raises(NotSignedIn):
        bench.accounts.by_session(session)
    bench.factors.set_password(ada, "another long password", PASSWORD, HERE)


def test_who_has_no_good_token_gets_one_by_password_and_code(bench: Bench) -> None:
    ada, phone, _ = bench.with_phone("ada")
    bench.clock.advance(timedelta(days=400))
    with pytest.raises(NotProved):
        bench.signing_in.new_credential_token("ada", PASSWORD, wrong_code(phone), HERE)

    token = bench.signing_in.new_credential_token("ada", PASSWORD, phone.code(), HERE)
    assert bench.accounts.by_token(token) == ada


def test_everything_about_how_people_sign_in_stands_in_the_log(bench: Bench) -> None:
    ada, phone, _ = bench.with_phone("ada")
    bench.clock.advance(A_STEP)
    begun = bench.sign_in("ada", phone.code())
    bench.sessions.end(ada, begun.person.session_id, of_anybody=False)
    factor = str(bench.people.shown("ada")["second_factors"][0]["factor"])  # type: ignore[index,call-overload]
    bench.factors.remove(ada, factor, PASSWORD, HERE)
    bench.people.change_role("ada", "auditor", by="bob")

    assert [one.event for one in bench.records()] == [
        Event.PERSON_ADDED, Event.PASSWORD_SET, Event.FACTOR_ADDED, Event.SIGNED_IN, Event.SESSION_ENDED,
        Event.FACTOR_REMOVED, Event.PERSON_CHANGED, Event.TOKEN_MADE,
    ]  # fmt: skip


def with_key(bench: Bench, name: str, origin: str = ORIGIN) -> SecurityKey:
    person, key = bench.person(name), SecurityKey(origin)
    bench.factors.set_password(person, "", PASSWORD, HERE)
    step, options = bench.factors.offer_key(person, PASSWORD, HERE)
    bench.factors.add_key(person, step, "blue key", key.register(options))
    return key


def test_a_security_key_signs_in_beside_the_password(bench: Bench) -> None:
    key = with_key(bench, "ada")
    step = bench.signing_in.begin("ada", PASSWORD, HERE)

    begun = bench.signing_in.finish(step.secret, Shown(key=key.present(step.key_options)), HERE)
    assert begun.person.name == "ada"


def test_what_a_security_key_answered_elsewhere_or_before_opens_nothing(bench: Bench) -> None:
    key, another = with_key(bench, "ada"), with_key(bench, "eve")
    earlier = bench.signing_in.begin("ada", PASSWORD, HERE)
    replayed = key.present(earlier.key_options)
    bench.signing_in.finish(earlier.secret, Shown(key=replayed), HERE)
    phished = SecurityKey("http://localhost:9999")
    phished.__dict__.update({**key.__dict__, "origin": "http://localhost:9999"})

    def attempts(options: str) -> dict[str, str]:
        return {
            "replayed": replayed, "of eve": another.present(options), "on another page": phished.present(options),
            "junk": "{}", "no json": "x",
        }  # fmt: skip

    for name in attempts(earlier.key_options):
        step = bench.signing_in.begin("ada", PASSWORD, HERE)
        with pytest.raises(NotProved):
            bench.signing_in.finish(step.secret, Shown(key=attempts(step.key_options)[name]), name)
    step = bench.signing_in.begin("ada", "not the password", HERE)
    with pytest.raises(NotProved):
        bench.signing_in.finish(step.secret, Shown(key=key.present(step.key_options)), HERE)


def test_a_copied_security_key_is_found_by_its_counter(bench: Bench) -> None:
    key = with_key(bench, "ada")
    for _ in range(3):
        step = bench.signing_in.begin("ada", PASSWORD, HERE)
        bench.signing_in.finish(step.secret, Shown(key=key.present(step.key_options)), HERE)
    key.counter = 1
    step = bench.signing_in.begin("ada", PASSWORD, HERE)

    with pytest.raises(NotProved):
        bench.signing_in.finish(step.secret, Shown(key=key.present(step.key_options)), HERE)
