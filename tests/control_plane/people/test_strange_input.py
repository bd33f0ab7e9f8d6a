"""Whatever is typed, sent or answered is refused in our words or taken for what it is, and nothing else happens."""

import base64
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from control_plane.http.limits import TooManyFailures
from control_plane.people import recovery, totp
from control_plane.people.accounts import NewSession, NotSignedIn
from control_plane.people.attempts import NotProved
from control_plane.people.delay import OF_AN_ACCOUNT, OF_AN_ADDRESS, Patience, wait
from control_plane.people.security_keys import KeyPresented, KeyRefused, SecurityKeys
from control_plane.people.signing_in import Shown
from control_plane.people.tokens import ScopeRefused, verified_scope
from tests.control_plane.people.bench import HERE, ORIGIN, PASSWORD, START, Bench
from tests.fakes.security_key import SecurityKey

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=200)
KEYS, KEY = SecurityKeys(lambda: ORIGIN), SecurityKey(ORIGIN)
OPTIONS, CHALLENGE = KEYS.to_register("ada", [])
REGISTERED = KEY.register(OPTIONS)
HELD = KEYS.registered(REGISTERED, CHALLENGE)
PRESENTED = KEY.present(KEYS.to_present(CHALLENGE))


@pytest.fixture(scope="module")
def shared_bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.with_phone("ada")
        yield bench


@given(text=ANY_TEXT | ANY_TEXT.map(lambda text: "lgp_" + text))
def test_a_token_is_one_or_refused(shared_bench: Bench, text: str) -> None:
    with pytest.raises(NotSignedIn):
        shared_bench.accounts.by_token(text)
    with pytest.raises(NotSignedIn):
        shared_bench.accounts.by_session(text)


@settings(max_examples=30)
@example(name="\ud800", password="\ud800", step="\ud800", code="\ud800", key="\ud800")
@example(name="a\0b", password="\0", step="\0", code="\0", key="\0")
@given(name=ANY_TEXT, password=ANY_TEXT, step=ANY_TEXT, code=ANY_TEXT, key=ANY_TEXT)
def test_whatever_is_typed_signs_nobody_in(
    shared_bench: Bench, name: str, password: str, step: str, code: str, key: str
) -> None:
    shared_bench.clock.advance(timedelta(days=2))
    begun = shared_bench.signing_in.begin(name, password, HERE)
    for one in (step, begun.secret, shared_bench.signing_in.begin("ada", PASSWORD, HERE).secret):
        with pytest.raises(NotProved):
            shared_bench.signing_in.finish(one, Shown(code, key), HERE, code)


@given(text=ANY_TEXT)
def test_a_recovery_code_is_one_however_it_is_typed_or_none(text: str) -> None:
    assert recovery.digest_of(text) is None or len("".join(text.split()).replace("-", "")) == 16
    for code in recovery.new_codes()[:1]:
        typed = code.lower().replace("0", "o").replace("1", "l").replace("-", " ")
        assert recovery.digest_of(typed) == recovery.digest_of(code) is not None


@given(code=ANY_TEXT | st.text("0123456789", min_size=6, max_size=6), last=st.integers(0, 1 << 40))
def test_a_code_is_of_a_step_that_is_near_and_newer_or_of_none(code: str, last: int) -> None:
    accepted = totp.accepted_step(bytes(20), code, START, last)

    assert accepted is None or (accepted > last and abs(accepted - int(START.timestamp()) // 30) <= 1)


def test_a_step_that_was_accepted_is_accepted_no_more_nor_one_before_it() -> None:
    generator = pyotp.TOTP(base64.b32encode(bytes(20)).decode())
    now = int(START.timestamp()) // 30
    codes = [generator.generate_otp(now + off) for off in (-1, 0, 1)]
    accepted = [[totp.accepted_step(bytes(20), code, START, last) for code in codes] for last in (0, now)]

    assert accepted == [[now - 1, now, now + 1], [None, None, now + 1]]


MEMBERS = st.sampled_from(["id", "rawId", "type", "response", "clientDataJSON"])
JSON = st.recursive(
    st.none() | ANY_TEXT | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner)
)


@given(text=ANY_TEXT | JSON.map(json.dumps))
def test_what_a_security_key_answers_is_proved_or_refused(text: str) -> None:
    with pytest.raises(KeyRefused):
        KEYS.registered(text, CHALLENGE)
    with pytest.raises(KeyRefused):
        KEYS.verify(text, CHALLENGE, HELD)


@given(data=st.data(), answer=st.sampled_from([REGISTERED, PRESENTED]))
def test_an_answer_of_a_security_key_that_was_altered_is_refused_or_says_the_same(
    data: st.DataObject, answer: str
) -> None:
    fields = json.loads(answer)
    inner = fields["response"]
    name = data.draw(st.sampled_from(sorted(key for key, value in inner.items() if value)))
    place = data.draw(st.integers(0, len(inner[name]) - 1))
    put = data.draw(st.sampled_from(["", "A", "_", "AAAA", "=", "\ud800", "€"]))
    inner[name] = inner[name][:place] + put + inner[name][place + 1 :]
    text = json.dumps(fields)

    try:
        if answer is REGISTERED:
            KEYS.registered(text, CHALLENGE)
        else:
            assert KEYS.verify(text, CHALLENGE, HELD) == KEY.counter
    except KeyRefused:
        pass


def test_what_a_security_key_answered_unaltered_is_proved() -> None:
    assert KEYS.verify(PRESENTED, CHALLENGE, KeyPresented(HELD.credential_id, HELD.public_key, 0)) == KEY.counter


@given(
    scope=st.lists(st.sampled_from(["status:read", "audit:read", "object:open", "account:own"]) | ANY_TEXT, max_size=4)
)
def test_a_scope_is_what_the_role_holds_or_refused(scope: list[str]) -> None:
    try:
        assert verified_scope("auditor", scope) <= {"status:read", "audit:read"}
    except ScopeRefused:
        assert not scope or set(scope) - {"status:read", "audit:read", "person:list"}


@given(
    patience=st.sampled_from([OF_AN_ACCOUNT, OF_AN_ADDRESS]),
    count=st.integers(0, 1 << 62),
    since=st.integers(-10, 10**6),
)
def test_a_wait_grows_with_failures_and_never_beyond_its_bound(patience: Patience, count: int, since: int) -> None:
    now, last = START + timedelta(seconds=since), START
    left = wait(patience, count, last, now)

    assert left <= patience.most - (now - last) or count < patience.free
    assert max(wait(patience, count + 1, last, now), timedelta(0)) >= left
    assert (left > timedelta(0)) <= (count >= patience.free)


def test_many_guesses_at_once_are_no_more_than_one_after_another(bench: Bench) -> None:
    bench.with_phone("ada")
    steps = [bench.signing_in.begin("ada", PASSWORD, HERE).secret for _ in range(24)]

    def guess(step: str) -> bool:
        try:
            bench.signing_in.finish(step, Shown("no code"), HERE)
        except NotProved:
            return True
        except TooManyFailures:
            return False
        raise AssertionError("signed in")

    with ThreadPoolExecutor(8) as threads:
        judged = list(threads.map(guess, steps))
    assert sum(judged) == OF_AN_ACCOUNT.free


def test_one_code_shown_at_once_by_several_signs_one_of_them_in(bench: Bench) -> None:
    _, phone, _ = bench.with_phone("ada")
    bench.clock.advance(timedelta(seconds=30))
    steps = [bench.signing_in.begin("ada", PASSWORD, HERE).secret for _ in range(OF_AN_ACCOUNT.free)]

    def sign_in(step: str) -> NewSession | None:
        try:
            return bench.signing_in.finish(step, Shown(phone.code()), HERE)
        except NotProved:
            return None

    with ThreadPoolExecutor(len(steps)) as threads:
        begun = list(threads.map(sign_in, steps))
    assert len([one for one in begun if one is not None]) == 1
