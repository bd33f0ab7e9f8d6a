"""Signing in by a provider that is not ours: oidc-provider-mock, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from shared.clock import SystemClock
from tests.control_plane.http.conftest import Answer
from tests.control_plane.http.test_signing_in import FORM, Centre, centre, cookie_of, hidden
from tests.fakes.ports import free_port

__all__ = ["centre"]
SUBJECT = "248289761001"


@pytest.fixture
def provider() -> Iterator[str]:
    port = free_port()
    claims = json.dumps({"sub": SUBJECT, "email": "ada@hospital.example", "amr": ["mfa"]})
    program = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--user-claims", claims]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "Uvicorn running" in line:
            break
    else:
        raise AssertionError(process.communicate()[1])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=120)


def consented(url: str) -> str:
    """Have somebody sign in at the provider, and return the address that it sends the browser back to."""
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=20)
    connection.request("POST", f"{where.path}?{where.query}", urlencode({"sub": SUBJECT}), FORM)
    answer = connection.getresponse()
    assert answer.status == 302, answer.read()
    location = answer.headers["Location"]
    connection.close()
    return location


def came_back(centre: Centre, provider: str, *amr: str) -> tuple[Answer, str, str]:
    """Return how a browser is received that comes back from the provider, its path, and the cookie of its state."""
    # The provider goes by this machine's clock.
    centre.clock.advance(SystemClock().now() - centre.clock.now())
    body = {"issuer": provider, "client_id": "leadglass", "secret": "of the client", "amr": [*amr]}
    centre.ok("POST", "/api/v1/identity-provider", body)
    if not centre.ok("GET", "/api/v1/identity-provider")["bound"]:
        centre.ok("POST", "/api/v1/identity-provider/bind", {"name": "ada", "subject": SUBJECT})
    assert provider.encode() in centre.door.people("GET", "/sign-in").body
    sent = centre.door.people("GET", "/sign-in/provider")
    back = urlsplit(consented(sent.headers["Location"]))
    state = cookie_of(sent)
    return centre.door.people("GET", f"{back.path}?{back.query}", Cookie=state), f"{back.path}?{back.query}", state


def test_a_person_signs_in_by_a_provider_that_saw_a_second_factor(centre: Centre, provider: str) -> None:
    answer, path, state = came_back(centre, provider, "mfa")

    assert answer.status == 200, answer.body
    session = answer.headers["Set-Cookie"].split(";")[0]
    assert centre.door.people("GET", "/", Cookie=session).status == 200
    assert centre.door.people("GET", path, Cookie=state).status == 401


def test_where_the_provider_is_not_asked_ours_is(centre: Centre, provider: str) -> None:
    centre.set_up_phone()
    answer, _, _ = came_back(centre, provider)

    assert "Set-Cookie" not in answer.headers
    shown = centre.form("/sign-in/second", step=hidden(answer, "step"), code=centre.fresh_code())
    assert centre.door.people("GET", "/", Cookie=cookie_of(shown)).status == 200


def test_another_browsers_answer_signs_nobody_in(centre: Centre, provider: str) -> None:
    came_back(centre, provider, "mfa")
    sent = centre.door.people("GET", "/sign-in/provider")
    back = urlsplit(consented(sent.headers["Location"]))
    assert set(parse_qs(back.query)) >= {"state", "code"}

    for cookie in ("", "leadglass_provider=another"):
        assert centre.door.people("GET", f"{back.path}?{back.query}", Cookie=cookie).status == 401
