"""Writes the pages of the people door from what the API says. Nothing here reads a database or a clock.

Every value is escaped. No page but those of signing in needs a script, and the only other asset is the style sheet
beside this module, so `CONTENT_SECURITY_POLICY` can forbid everything else. A value that the API left out is an error
and never a blank: a page that silently shows less would be a false green.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from control_plane.web.status_words import LANGUAGES, words_of
from shared import clock
from shared.policy.document import ORGANISATION

STATIC = Path(__file__).parent / "static"
STYLE_SHEET = "status.css"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
FORMS_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""Of the pages on which people sign in: they have forms, and the one script that speaks to security keys."""
REFRESH_S = 5

_COMMAND = re.compile("`([^`]+)`")


def render_status(status: Mapping[str, Any], language: str = LANGUAGES[0], *, refresh_s: int = REFRESH_S) -> str:
    """Return the status page for the JSON of `/api/v1/status`, whose members the template names, in one language."""
    other = next(one for one in LANGUAGES if one != language)
    told = {"status": status, "refresh_s": refresh_s, "lang": language, "other": other}
    return _pages().get_template("status.html").render(**told, **words_of(language))


def render_devices(devices: Mapping[str, Any], host: str | None = None, *, refresh_s: int = REFRESH_S) -> str:
    """Return the page of what is plugged in, for the JSON of `/api/v1/devices` of one host or all."""
    again = "/devices?" + urlencode({"renewed": "1"} | ({} if host is None else {"host": host}))
    return _pages().get_template("devices.html").render(devices=devices, refresh_s=refresh_s, again=again)


def render_signed_out() -> str:
    """Return what somebody sees who has no session: how to get one, and nothing about this installation."""
    return _pages().get_template("signed_out.html").render()


def render_sign_in(said: str = "", provider: str = "") -> str:
    """Return the form for name and password, under what was said of the last attempt, and the way to a provider."""
    return _pages().get_template("sign_in.html").render(said=said, provider=provider)


def render_signed_in() -> str:
    """Return a page that goes on to the status page by itself."""
    return _pages().get_template("signed_in.html").render()


def render_second_step(step: str, options: str, localhost: str) -> str:
    """Return the form for the second factor. `localhost`: where it has to be opened for a security key, if not here."""
    return _pages().get_template("second_step.html").render(step=step, options=options, localhost=localhost)


def render_new_key(step: str, options: str, localhost: str) -> str:
    """Return the form that has a new security key answer."""
    return _pages().get_template("new_key.html").render(step=step, options=options, localhost=localhost)


def render_account(
    person: Mapping[str, Any],
    sessions: Sequence[Mapping[str, Any]],
    tokens: Sequence[Mapping[str, Any]],
    *,
    said: str,
    here: str,
    codes: Sequence[str],
    localhost: str,
) -> str:
    """Return somebody's own page. `here`: the session of this browser. `codes`: recovery codes, shown this once."""
    return (
        _pages()
        .get_template("account.html")
        .render(person=person, sessions=sessions, tokens=tokens, said=said, here=here, codes=codes, localhost=localhost)
    )


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("control_plane.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters["age"] = age
    pages.filters["commands"] = commands
    pages.filters["instant"] = instant
    pages.filters["waits_for_ring"] = waits_for_ring
    return pages


def commands(text: str) -> Markup:
    """Return a sentence with what it names in backticks shown as a command; all of it is escaped first."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704


def instant(value: str | None) -> str:
    """Return an instant to the second, in UTC as it came; nothing is rounded up to look fresher."""
    if value is None:
        return "never"
    when: datetime = clock.parse(value)
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def age(value: str | None, now: str) -> str:
    """Return how long ago an instant was, in whole units and rounded up, so that nothing looks fresher than it is."""
    if value is None:
        return "no report yet"
    seconds = max(0, -((clock.parse(value) - clock.parse(now)) // timedelta(seconds=1)))
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = -(-seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return f"{seconds} s ago"


def waits_for_ring(host: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Return whether a host that acts by another version than it accepted does so because of a roll-out."""
    is_open = any(rollout["layer"] == ORGANISATION and rollout["state"] != "finished" for rollout in status["rollouts"])
    drifts = [one for one in status["drift"] if (one["part"], one["layer"]) == ("agent", ORGANISATION)]
    return is_open and not host["policy_error"] and host["host"] not in [one["host"] for one in drifts]
