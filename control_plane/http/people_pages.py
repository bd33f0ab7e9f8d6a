"""What the pages of signing in have in common: how they are answered, and the cookies that they leave."""

from collections.abc import Callable
from functools import wraps

from flask import Response, make_response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from control_plane.http.people_services import COOKIE
from control_plane.people.accounts import NewSession, NotSignedIn
from control_plane.people.security_keys import RELYING_PARTY
from control_plane.people.signing_in import BROWSER_LIFE, Step
from control_plane.web import page

MAX_TYPED = 1024
_BROWSER = "leadglass_browser"


def shown(text: str, status: int = 200) -> Response:
    response = make_response(text, status)
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    response.headers["Content-Security-Policy"] = page.FORMS_SECURITY_POLICY
    # With no-referrer a browser would send "Origin: null" with our own forms.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def or_signed_out(view: Callable[[], AnyResponse]) -> Callable[[], AnyResponse]:
    """Return a view that shows whoever is not signed in a page that says so, and no document for tools."""

    @wraps(view)
    def page_for_a_browser() -> AnyResponse:
        try:
            return view()
        except NotSignedIn:
            return shown(page.render_signed_out(), 401)

    return page_for_a_browser


def second_step(step: Step) -> Response:
    return shown(page.render_second_step(step.secret, step.key_options, where_keys_work()))


def typed(name: str, most: int = MAX_TYPED) -> str:
    # Of NUL, which PostgreSQL keeps none of, something is made that is in no name, id or code.
    return request.form.get(name, "")[:most].replace("\x00", "\N{REPLACEMENT CHARACTER}")


def where_keys_work() -> str:
    """Return where this page has to be opened for security keys to work; empty: it is."""
    host, _, port = request.host.rpartition(":")
    return "" if host == RELYING_PARTY else f"http://{RELYING_PARTY}:{port}/sign-in"


def browser() -> str:
    """Return the secret of a session that this browser had before, if any."""
    return request.cookies.get(_BROWSER, "")[:MAX_TYPED]


def signed_in(begun: NewSession, *, came_from_elsewhere: bool = False) -> AnyResponse:
    """Leave the session's cookie and go to the status page.

    `came_from_elsewhere`: another site sent the browser here, and what it follows from there has no cookie of ours yet.
    """
    response: AnyResponse = shown(page.render_signed_in()) if came_from_elsewhere else redirect("/")
    response.set_cookie(COOKIE, begun.secret, expires=begun.expires, httponly=True, samesite="Strict")
    # Opens nothing once the session is over; it says that somebody was signed in here.
    response.set_cookie(_BROWSER, begun.secret, max_age=BROWSER_LIFE, path="/sign-in", httponly=True, samesite="Strict")
    return response


def signed_out() -> AnyResponse:
    response = redirect("/sign-in")
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")
    return response
