"""Signing in over a real socket: pages, cookies, roles and tokens."""

import html
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pyotp
import pytest
from apiflask import APIFlask

from control_plane.app import ControlPlane
from control_plane.http.people_services import address_of_request
from control_plane.people.passwords import Passwords
from control_plane.policy.authoring import load_credential
from control_plane.settings import Settings
from tests.control_plane.begun import begun
from tests.control_plane.http.conftest import Answer, Open, ask
from tests.control_plane.people.bench import QUICK
from tests.fakes.clock import FakeClock
from tests.fakes.security_key import SecurityKey

PASSWORD = "four plain words here"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Centre:
    """An open control plane whose clock stands still, and one administrator of it with a phone."""

    def __init__(self, folder: Path, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        folders, made = begun(folder, at=self.clock.now())
        settings = Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False)
        self.plane = ControlPlane(settings, self.clock, Passwords(QUICK))
        self.plane.start()
        credential = load_credential(made.credential)
        self.door = Open(self.plane, folders, made, credential, self.plane.addresses())
        self.port = urlsplit(str(self.door.addresses["people_url"])).port
        self.here = f"127.0.0.1:{self.port}"
        self.seed = ""

    def api(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Answer:
        headers = {"Authorization": f"Bearer {token or self.door.credential.token}", "Content-Type": "application/json"}
        return self.door.people(method, path, None if body is None else json.dumps(body).encode(), **headers)

    def ok(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
        answer = self.api(method, path, body, token)
        assert answer.status in (200, 201), answer.body
        return json.loads(answer.body)

    def set_up_phone(self) -> list[str]:
        self.ok("POST", "/api/v1/account/password", {"new": PASSWORD})
        offer = self.ok("POST", "/api/v1/account/totp", {"password": PASSWORD, "name": "phone"})
        self.seed = parse_qs(urlsplit(offer["uri"]).query)["secret"][0]
        confirmed = self.ok(
            "POST", "/api/v1/account/totp/confirm", {"factor": offer["factor"], "code": self.fresh_code()}
        )
        codes: list[str] = confirmed["recovery_codes"]
        return codes

    def fresh_code(self) -> str:
        self.clock.advance(timedelta(seconds=30))
        return pyotp.TOTP(self.seed).at(self.clock.now())

    def form(self, path: str, host: str = "", cookie: str = "", **fields: str) -> Answer:
        host = host or self.here
        headers = {**FORM, "Host": host, "Origin": f"http://{host}", "Cookie": cookie}
        return self.door.people("POST", path, urlencode(fields).encode(), **headers)

    def sign_in(self, *, host: str = "", password: str = PASSWORD, name: str = "ada", **second: str) -> Answer:
        step = self.form("/sign-in", host, name=name, password=password)
        return self.form("/sign-in/second", host, step=hidden(step, "step"), **second)


def hidden(answer: Answer, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', answer.body.decode())
    assert found, answer.body
    return html.unescape(found[1])


def cookie_of(answer: Answer) -> str:
    assert answer.status == 302, answer.body
    return answer.headers["Set-Cookie"].split(";")[0]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path)
    try:
        yield centre
    finally:
        centre.plane.stop()


def test_a_person_signs_in_on_the_page_and_a_session_that_ended_is_refused_on_the_next_request(centre: Centre) -> None:
    centre.set_up_phone()
    page = centre.door.people("GET", "/sign-in")
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "same-origin"
    cookie = cookie_of(centre.sign_in(code=centre.fresh_code()))
    assert centre.door.people("GET", "/", Cookie=cookie).status == 200
    sessions = centre.ok("GET", "/api/v1/sessions")["sessions"]
    centre.ok("POST", "/api/v1/sessions/end", {"session": sessions[0]["session"]})

    assert centre.door.people("GET", "/", Cookie=cookie).status == 401
    assert centre.door.people("GET", "/api/v1/status", Cookie=cookie).status == 401


def test_whoever_is_signed_in_ends_all_their_sessions_on_the_page(centre: Centre) -> None:
    centre.set_up_phone()
    cookies = [cookie_of(centre.sign_in(code=centre.fresh_code())) for _ in range(2)]
    assert b"End all of mine" in centre.door.people("GET", "/account", Cookie=cookies[0]).body

    assert centre.form("/account/end-sessions", cookie=cookies[0]).status == 302
    assert [centre.door.people("GET", "/", Cookie=cookie).status for cookie in cookies] == [401, 401]


def test_a_page_that_renews_itself_keeps_no_session_open(centre: Centre) -> None:
    centre.set_up_phone()
    idle, busy = (cookie_of(centre.sign_in(code=centre.fresh_code())) for _ in range(2))
    shown = centre.door.people("GET", "/", Cookie=idle).body.decode()
    again = re.findall(r'http-equiv="refresh" content="\d+; url=([^"]*)"', shown)[0]
    answers = []
    for _ in range(3):
        centre.clock.advance(timedelta(minutes=12))
        answers.append(centre.door.people("GET", again, Cookie=idle).status)
        assert centre.door.people("GET", "/account", Cookie=busy).status == 200

    assert answers == [200, 200, 401]


def test_a_form_of_another_page_acts_for_nobody(centre: Centre) -> None:
    centre.set_up_phone()
    cookie = cookie_of(centre.sign_in(code=centre.fresh_code()))
    for origin in ("http://127.0.0.1:9999", "http://evil.example", "null", f"http://localhost:{centre.port}"):
        headers = {**FORM, "Host": centre.here, "Origin": origin, "Cookie": cookie}
        assert centre.door.people("POST", "/account/end-sessions", b"", **headers).status == 401

    assert centre.door.people("GET", "/", Cookie=cookie).status == 200
    assert centre.form("/account/end-sessions", cookie=cookie).status == 302  # control: that of our own page


def test_wrong_names_passwords_and_codes_are_answered_with_the_same_page(centre: Centre) -> None:
    centre.set_up_phone()
    answers = [
        centre.sign_in(name="nobody", code=centre.fresh_code()),
        centre.sign_in(password="not the password", code=centre.fresh_code()),
        centre.sign_in(code="no code"),
    ]

    assert {(answer.status, answer.body) for answer in answers} == {(401, answers[0].body)}
    assert b"name, password or second factor is not right" in answers[0].body


def test_guessing_on_the_page_is_answered_with_when_to_come_back(centre: Centre) -> None:
    centre.set_up_phone()
    answers = [centre.sign_in(code="000000") for _ in range(5)]
    answers.append(centre.form("/sign-in", name="ada", password=PASSWORD))

    assert [answer.status for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert centre.api("GET", "/api/v1/status").status == 200


def test_a_security_key_is_added_and_used_at_localhost_and_the_page_elsewhere_says_where(centre: Centre) -> None:
    centre.set_up_phone()
    localhost = f"localhost:{centre.port}"
    key = SecurityKey(f"http://{localhost}")
    cookie = cookie_of(centre.sign_in(host=localhost, code=centre.fresh_code()))
    offered = centre.form("/account/keys/offer", localhost, cookie, password=PASSWORD)
    options = html.unescape(re.findall(r'data-register="([^"]*)"', offered.body.decode())[0])
    added = centre.form(
        "/account/keys", localhost, cookie, step=hidden(offered, "step"), name="blue", key=key.register(options)
    )
    assert b"blue (security key)" in added.body

    step = centre.form("/sign-in", localhost, name="ada", password=PASSWORD)
    asked = html.unescape(re.findall(r'data-present="([^"]*)"', step.body.decode())[0])
    shown = centre.form("/sign-in/second", localhost, step=hidden(step, "step"), key=key.present(asked))
    assert centre.door.people("GET", "/", Cookie=cookie_of(shown), Host=localhost).status == 200
    elsewhere = centre.form("/sign-in", name="ada", password=PASSWORD)
    assert f"http://{localhost}/sign-in".encode() in elsewhere.body
    assert b"data-present" not in elsewhere.body


def test_the_first_link_retires(centre: Centre) -> None:
    assert centre.plane.addresses()["sign_in_url"] is not None
    centre.set_up_phone()

    assert centre.plane.addresses()["sign_in_url"] is None
    link = urlsplit(centre.ok("POST", "/api/v1/sign-in-links")["link"])
    assert centre.door.people("GET", f"{link.path}?{link.query}").status == 302


def test_a_token_does_what_its_scope_says_until_its_end(centre: Centre) -> None:
    made = centre.ok("POST", "/api/v1/tokens", {"name": "monitoring", "scope": ["status:read"], "days": 1})

    assert centre.api("GET", "/api/v1/status", token=made["token"]).status == 200
    for method, path, body in (
        ("POST", "/api/v1/enrolment/codes", {"asset": "CT 2"}),
        ("POST", "/api/v1/tokens", {"name": "more"}),
        ("POST", "/api/v1/sign-in-links", None),
        ("POST", "/api/v1/tokens/renew", None),
        ("POST", "/api/v1/account/password", {"new": PASSWORD}),
    ):
        assert centre.api(method, path, body, made["token"]).status == 403
    centre.clock.advance(timedelta(days=1))
    assert centre.api("GET", "/api/v1/status", token=made["token"]).status == 401


def test_an_auditor_reads_the_log_and_opens_no_image(centre: Centre) -> None:
    token = centre.ok("POST", "/api/v1/people", {"name": "eve", "role": "auditor"})["token"]

    assert centre.api("GET", "/api/v1/audit/records", token=token).status == 200
    for path, body in (
        (f"/api/v1/objects/{'0' * 32}/open", {"reason": "curious"}),
        ("/api/v1/objects/find", {"patient_id": "1"}),
        ("/api/v1/people", {"name": "mallory", "role": "administrator"}),
    ):
        answer = centre.api("POST", path, body, token)
        assert (answer.status, json.loads(answer.body)["error"]) == (403, "NotPermitted")


def test_a_credential_whose_token_ran_out_is_renewed_by_password_and_code(centre: Centre) -> None:
    centre.set_up_phone()
    centre.clock.advance(timedelta(days=340))
    assert [one["name"] for one in centre.ok("GET", "/api/v1/status")["tokens_running_out"]] == ["credential"]
    centre.clock.advance(timedelta(days=30))
    assert centre.api("GET", "/api/v1/status").status == 401

    body = {"name": "ada", "password": PASSWORD, "code": centre.fresh_code()}
    token = centre.ok("POST", "/api/v1/sign-in", body)["token"]
    assert centre.api("GET", "/api/v1/status", token=token).status == 200
    assert centre.api("POST", "/api/v1/sign-in", body).status == 403


def test_whoever_guesses_on_the_machine_itself_is_slowed_down_from_whichever_of_its_addresses(centre: Centre) -> None:
    """All of 127.0.0.0/8 is this machine; with each address counted by itself six digits are guessed within hours."""
    centre.set_up_phone()
    wrong = json.dumps({"name": "ada", "password": PASSWORD, "code": "000000"}).encode()

    def guess(number: int) -> int:
        connection = HTTPConnection("127.0.0.1", centre.port, timeout=20, source_address=(f"127.0.0.{number}", 0))
        return ask(connection, "POST", "/api/v1/sign-in", wrong, {"Content-Type": "application/json"}).status

    assert [guess(number) for number in range(2, 9)] == [403] * 5 + [429] * 2


@pytest.mark.parametrize(
    "address, counts_as",
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.7.7.7", "127.0.0.1"),
        ("::1", "127.0.0.1"),
        ("::ffff:127.0.0.9", "127.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("", ""),
    ],
)
def test_where_a_request_comes_from(address: str, counts_as: str) -> None:
    with APIFlask("test").test_request_context(environ_base={"REMOTE_ADDR": address}):
        assert address_of_request() == counts_as
