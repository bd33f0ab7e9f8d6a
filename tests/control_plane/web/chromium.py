"""Chromium as somebody's browser, with a security key of software that it takes for one that is plugged in."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import Credential, VirtualAuthenticatorOptions
from selenium.webdriver.support.wait import WebDriverWait

WIDTH = 400
PATIENCE_S = 60
_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 40[13]\b")
_FLAGS = (
    "--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)  # fmt: skip


class Browser:
    """A window as wide as a phone. Where a page needs more, it is not one that people can use."""

    def __init__(self, driver: WebDriver) -> None:
        self._driver = driver
        size = {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, url: str) -> None:
        self._driver.get(url)

    def shows(self, heading: str) -> str:
        """Return the words of the page of that heading, once it is there."""
        self._until(lambda: self._text("h1") == heading, f"a page {heading!r}")
        assert self._driver.execute_script("return document.documentElement.scrollWidth") <= WIDTH, heading
        return self._text("body")

    def comes_to_say(self, role: str) -> str:
        """Return what the page says in an element of that role, once it says anything there."""
        self._until(lambda: bool(self._text(f"[role={role}]:not(:empty)")), f"words of role {role!r}")
        return self._text(f"[role={role}]:not(:empty)")

    def loses(self, words: str) -> None:
        self._until(lambda: words not in self._text("body"), f"a page without {words!r}")

    def press(self, words: str) -> None:
        pressed = f'//button[normalize-space()="{words}"] | //a[normalize-space()="{words}"]'
        self._driver.find_element(By.XPATH, pressed).click()

    def fill(self, **fields: str) -> None:
        for name, text in fields.items():
            field = self._driver.find_element(By.ID, name)
            field.clear()
            field.send_keys(text)

    def type(self, *keys: str) -> None:
        """Send keys to whatever has the focus."""
        ActionChains(self._driver).send_keys(*keys).perform()

    def run(self, script: str) -> object:
        """Run what no page of ours holds, past its security policy, and return what it returns."""
        answer: object = self._driver.execute_script(script)
        return answer

    def comes_to_complain(self, *of: str) -> None:
        """Return once the console has said all of this."""
        said: list[str] = []

        def has_said() -> bool:
            said.extend(self.complaints())
            return all(any(words in one for one in said) for words in of)

        self._until(has_said, f"complaints of {of}")

    def complaints(self) -> list[str]:
        """Return what the console says since it was asked last, but for refusals, which are answers."""
        entries = self._driver.execute("getLog", {"type": "browser"})["value"]
        return [entry["message"] for entry in entries if not _REFUSED.search(entry["message"])]

    def plug_in(self, *held: Credential) -> None:
        """Have a security key there whose person touches it at once."""
        options = VirtualAuthenticatorOptions(has_resident_key=True, has_user_verification=True, is_user_verified=True)
        self._driver.add_virtual_authenticator(options)
        for credential in held:
            self._driver.add_credential(credential)

    def unplug(self) -> list[Credential]:
        """Take the security key away, and return what it holds."""
        held = self._driver.get_credentials()
        self._driver.remove_virtual_authenticator()
        return held

    def forget(self) -> None:
        """Be as new again."""
        if self._driver.virtual_authenticator_id:
            self.unplug()
        self._driver.get("about:blank")
        self._driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.complaints()

    def _text(self, selector: str) -> str:
        # In one question: between two the page may have become another.
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        found: str = self._driver.execute_script(script, selector)
        return found.strip()

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        try:
            WebDriverWait(self._driver, PATIENCE_S, 0.05).until(lambda _: holds())
        except TimeoutException as exc:
            raise AssertionError(f"{what} did not come; there is: {self._text('body')}") from exc


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Run Chromium with a profile of its own, and without a way to anything but this machine."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium is not installed (Debian packages chromium, chromium-driver)")
    options = Options()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}", *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = WebDriver(options, Service(driver, env={**os.environ, "HOME": str(folder)}))
    try:
        yield Browser(started)
    finally:
        started.quit()
