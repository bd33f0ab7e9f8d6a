"""Signing in as a person meets it: our pages in Chromium, with a security key and at the keyboard."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.common.virtual_authenticator import Credential

from shared.clock import SystemClock
from tests.control_plane.http.test_signing_in import PASSWORD, Centre
from tests.control_plane.web.chromium import Browser, chromium
from tests.fakes.clock import FakeClock

STATUS, SIGN_IN, SECOND, ACCOUNT = "Leadglass", "Sign in to Leadglass", "Second factor", "ada, administrator"
SIGNED_OUT, DEVICES, NEW_KEY = "Not signed in", "What is plugged in", "New security key"
WRONG = "name, password or second factor is not right"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """A browser whose console has nothing to say of any page that a test opens."""
    started.forget()
    yield started
    assert started.complaints() == []


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    # Cookies end by the browser's own clock.
    centre = Centre(tmp_path, FakeClock(SystemClock().now()))
    try:
        yield centre
    finally:
        centre.plane.stop()


def at_localhost(link: object) -> str:
    return str(link).replace("127.0.0.1", "localhost")


def sign_in_page(centre: Centre) -> str:
    return f"http://localhost:{centre.port}/sign-in"


def add_key(centre: Centre, browser: Browser, password: str = PASSWORD) -> str:
    """Sign in by a link of whoever has a password, add the key that is plugged in, and return the page after that."""
    browser.open(at_localhost(centre.ok("POST", "/api/v1/sign-in-links")["link"]))
    browser.shows(STATUS)
    browser.press("Your account")
    browser.shows(ACCOUNT)
    browser.fill(password=password)
    browser.press("Add a security key")
    browser.shows(NEW_KEY)
    browser.fill(name="blue")
    browser.type(Keys.ENTER)
    return browser.shows(ACCOUNT)


def key_only(centre: Centre, browser: Browser) -> None:
    """Leave somebody signed out who has a password and the key that is plugged in."""
    centre.ok("POST", "/api/v1/account/password", {"new": PASSWORD})
    browser.plug_in()
    add_key(centre, browser)
    browser.press("Sign out here")
    browser.shows(SIGN_IN)


def show_password(centre: Centre, browser: Browser, password: str = PASSWORD) -> None:
    browser.open(sign_in_page(centre))
    browser.shows(SIGN_IN)
    browser.fill(name="ada", password=password)
    browser.press("Go on to the second factor")
    browser.shows(SECOND)


def show_code(centre: Centre, browser: Browser, code: str) -> None:
    show_password(centre, browser)
    browser.fill(code=code)
    browser.press("Sign in")


def refused(browser: Browser) -> str:
    browser.press("Use a security key")
    browser.shows(SIGN_IN)
    return browser.comes_to_say("alert")


def of_another_person() -> Credential:
    """Return what a key holds that signs for our page and that the centre never saw."""
    private = ec.generate_private_key(ec.SECP256R1())
    pkcs8 = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return Credential.create_resident_credential(secrets.token_bytes(32), "localhost", b"somebody else", pkcs8, 0)


def test_from_the_first_link_to_a_password_and_a_key_by_which_alone_one_gets_in(
    centre: Centre, browser: Browser
) -> None:
    first = at_localhost(centre.plane.addresses()["sign_in_url"])
    browser.open(first)
    browser.shows(STATUS)
    browser.press("What is plugged into them")
    browser.shows(DEVICES)
    browser.press("Status")
    browser.shows(STATUS)
    browser.press("Your account")
    assert "Password: none" in browser.shows(ACCOUNT)
    # At a terminal, where there is a credential; it ends what else opened the door.
    centre.ok("POST", "/api/v1/account/password", {"new": PASSWORD})
    browser.press("Status")
    browser.shows(SIGNED_OUT)

    browser.plug_in()
    tool = centre.ok("POST", "/api/v1/tokens", {"name": "monitoring", "scope": ["status:read"], "days": 1})["token"]
    account = add_key(centre, browser)
    assert "blue (security key)" in account
    assert "Recovery codes left: 10" in account
    # The session goes on, and so does the credential that its link came from; what else there was is ended.
    assert [centre.api("GET", "/api/v1/status", token=one).status for one in ("", tool)] == [200, 401]
    assert centre.plane.addresses()["sign_in_url"] is None
    browser.press("Sign out here")
    browser.shows(SIGN_IN)
    browser.open(first)
    browser.shows(SIGNED_OUT)

    show_password(centre, browser)
    browser.press("Use a security key")
    browser.shows(STATUS)
    browser.press("Your account")
    assert "by password and security key" in browser.shows(ACCOUNT)


def test_a_wrong_password_and_a_key_of_somebody_else_are_told_the_same(centre: Centre, browser: Browser) -> None:
    key_only(centre, browser)
    show_password(centre, browser, "not the password")
    assert refused(browser) == WRONG
    own = browser.unplug()
    browser.plug_in(of_another_person())
    show_password(centre, browser)
    assert refused(browser) == WRONG
    browser.open(f"http://localhost:{centre.port}/")
    browser.shows(SIGNED_OUT)

    browser.unplug()
    browser.plug_in(*own)
    show_password(centre, browser)
    browser.press("Use a security key")
    browser.shows(STATUS)  # control: the right password with the key that was added


def test_without_a_security_key_there_the_page_says_so_and_nobody_is_signed_in(
    centre: Centre, browser: Browser
) -> None:
    key_only(centre, browser)
    own = browser.unplug()
    show_password(centre, browser)
    # Chromium waits as long as the page says; ours says two minutes.
    browser.run(
        "const form = document.querySelector('form[data-present]');"
        "form.dataset.present = JSON.stringify({...JSON.parse(form.dataset.present), timeout: 2000});"
        "const waits = form.querySelector('[role=status]');"
        "window.told = [];"
        "new MutationObserver(() => told.push(waits.textContent)).observe(waits, {childList: true});"
    )
    browser.press("Use a security key")
    assert "No security key answered" in browser.comes_to_say("alert")
    assert browser.run("return told;") == ["Touch your security key now.", ""]
    browser.plug_in(*own)
    browser.press("Use a security key")
    browser.shows(STATUS)  # control: the same page, and the key is there


def test_a_key_that_is_registered_already_is_not_added_again(centre: Centre, browser: Browser) -> None:
    key_only(centre, browser)
    show_password(centre, browser)
    browser.press("Use a security key")
    browser.shows(STATUS)
    browser.press("Your account")
    browser.shows(ACCOUNT)
    browser.fill(password=PASSWORD)
    browser.press("Add a security key")
    browser.shows(NEW_KEY)
    browser.fill(name="again")
    browser.press("Register the key")
    assert browser.comes_to_say("alert") == "This security key is registered already."


def test_by_keyboard_alone_a_code_signs_in_once_and_a_recovery_code_in_its_place(
    centre: Centre, browser: Browser
) -> None:
    spare, code = centre.set_up_phone()[0], centre.fresh_code()
    browser.open(sign_in_page(centre))
    browser.shows(SIGN_IN)
    browser.type("ada", Keys.TAB, PASSWORD, Keys.ENTER)
    browser.shows(SECOND)
    browser.type(code, Keys.ENTER)
    browser.shows(STATUS)

    show_code(centre, browser, code)
    browser.shows(SIGN_IN)
    assert browser.comes_to_say("alert") == WRONG
    show_code(centre, browser, spare)
    browser.shows(STATUS)


def test_ending_another_session_signs_that_browser_out_at_its_next_click(
    centre: Centre, browser: Browser, tmp_path: Path
) -> None:
    centre.set_up_phone()
    with chromium(tmp_path / "other") as other:
        for one in (other, browser):
            show_code(centre, one, centre.fresh_code())
            one.shows(STATUS)
            one.press("Your account")
            one.shows(ACCOUNT)
        browser.press("End this session")
        browser.loses("End this session")
        other.press("Sign out here")
        other.shows(SIGNED_OUT)
        assert other.complaints() == []
    assert "This browser" in browser.shows(ACCOUNT)
    browser.press("Status")
    browser.shows(STATUS)  # control: the one that is left


def test_the_console_tells_of_a_script_that_fails_and_of_one_that_the_page_may_not_run(
    centre: Centre, browser: Browser
) -> None:
    browser.open(sign_in_page(centre))
    browser.shows(SIGN_IN)
    assert browser.complaints() == []
    browser.run("document.head.append(Object.assign(document.createElement('script'), {textContent: 'let one'}))")
    browser.run("addEventListener('click', () => { throw new TypeError('of this test'); }, {once: true})")
    browser.press("Go on to the second factor")

    browser.comes_to_complain("Content Security Policy", "of this test")
