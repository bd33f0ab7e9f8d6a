"""Pages on which people sign in and see what opens the door for them. Forms of these pages alone act by a cookie."""

from apiflask import APIFlask
from flask import Response, make_response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from control_plane.http.limits import TooManyFailures
from control_plane.http.people_services import (
    COOKIE,
    PeopleServices,
    address_of_request,
    by_own_page,
    count_failure,
    permitted,
    verify_own_page,
)
from control_plane.people.accounts import NewSession, NotSignedIn, SignedIn
from control_plane.people.attempts import NotProved
from control_plane.people.decide import Permission
from control_plane.people.factors import PasswordMissing, TooManyFactors
from control_plane.people.permissions import verify_permitted
from control_plane.people.security_keys import MAX_PRESENTED_CHARS, RELYING_PARTY, KeyRefused
from control_plane.people.signing_in import BROWSER_LIFE, Shown
from control_plane.web import page
from shared.audit.record import Action, Event, Happening, Outcome
from shared.errors import Refused

_MAX_TYPED = 1024
_BROWSER = "leadglass_browser"


def add_sign_in(app: APIFlask, services: PeopleServices) -> None:
    _add_link(app, services)
    _add_password(app, services)
    _add_account(app, services)
    _add_keys(app, services)


def _add_link(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/sign-in")
    def sign_in() -> AnyResponse:
        """Show the form, or turn a one-time link into a session."""
        token = request.args.get("token")
        if token is None:
            return _shown(page.render_sign_in())
        try:
            begun = services.signing_in.by_link(token)
        except NotSignedIn:
            count_failure(services)
            services.journal.record(Happening(Event.SIGN_IN_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE))
            return _shown(page.render_signed_out(), 401)
        return _signed_in(begun)


def _add_password(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/sign-in")
    def password() -> AnyResponse:
        """Take name and password and ask for the second factor, whether they are right or not."""
        verify_own_page()
        step = services.signing_in.begin(_typed("name"), _typed("password"))
        return _shown(page.render_second_step(step.secret, step.key_options, _localhost()))

    @app.post("/sign-in/second")
    def second_step() -> AnyResponse:
        """Judge name, password and second factor together."""
        verify_own_page()
        shown = Shown(code=_typed("code"), key=_typed("key", MAX_PRESENTED_CHARS))
        try:
            begun = services.signing_in.finish(_typed("step"), shown, address_of_request(), _browser())
        except NotProved as exc:
            return _shown(page.render_sign_in(str(exc)), 401)
        except TooManyFailures as exc:
            response = _shown(page.render_sign_in(str(exc)), 429)
            response.headers["Retry-After"] = str(exc.retry_after_s)
            return response
        return _signed_in(begun)


def _add_account(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/account")
    def account_page() -> AnyResponse:
        """Show somebody their second factors, sessions and tokens."""
        try:
            person = permitted(services, Permission.ACCOUNT_OWN)
        except NotSignedIn:
            return _shown(page.render_signed_out(), 401)
        return _account(services, person)

    @app.post("/account/sign-out")
    def sign_out() -> AnyResponse:
        """End the session that this comes in."""
        person = _acting(services)
        services.sessions.end(person, person.session_id, of_anybody=False)
        return _signed_out()

    @app.post("/account/end-sessions")
    def end_sessions() -> AnyResponse:
        """End every session of whoever asks."""
        person = _acting(services)
        services.sessions.end_all(person)
        return _signed_out()


def _add_keys(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/account/keys/offer")
    def offer_key() -> AnyResponse:
        """Ask the browser for a new security key, once the password was shown."""
        person = _acting(services)
        try:
            step, options = services.factors.offer_key(person, _typed("password"), address_of_request())
        except (NotProved, PasswordMissing, TooManyFactors, TooManyFailures) as exc:
            return _account(services, person, exc)
        return _shown(page.render_new_key(step, options, _localhost()))

    @app.post("/account/keys")
    def add_key() -> AnyResponse:
        """Take what a new security key answered."""
        person = _acting(services)
        name = "".join(one for one in _typed("name", 64) if one.isprintable()) or "security key"
        try:
            added = services.factors.add_key(person, _typed("step"), name, _typed("key", MAX_PRESENTED_CHARS))
        except (NotProved, KeyRefused) as exc:
            return _account(services, person, exc)
        return _account(services, person, codes=added.recovery_codes)


def _acting(services: PeopleServices) -> SignedIn:
    """Return who sent a form of our own pages. Raises NotSignedIn, NotPermitted."""
    person = by_own_page(services)
    verify_permitted(person, Permission.ACCOUNT_OWN)
    return person


def _account(
    services: PeopleServices, person: SignedIn, refused: Refused | None = None, codes: tuple[str, ...] = ()
) -> Response:
    shown = page.render_account(
        services.people.shown(person.name),
        services.sessions.listed(person.name),
        services.tokens.listed(person.name),
        said="" if refused is None else str(refused),
        codes=codes,
        localhost=_localhost(),
    )
    return _shown(shown, 200 if refused is None else 403)


def _browser() -> str:
    return request.cookies.get(_BROWSER, "")[:_MAX_TYPED]


def _typed(name: str, most: int = _MAX_TYPED) -> str:
    return request.form.get(name, "")[:most]


def _localhost() -> str:
    """Return where this page has to be opened for security keys to work; empty: it is."""
    host, _, port = request.host.rpartition(":")
    return "" if host == RELYING_PARTY else f"http://{RELYING_PARTY}:{port}/sign-in"


def _shown(text: str, status: int = 200) -> Response:
    response = make_response(text, status)
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    response.headers["Content-Security-Policy"] = page.FORMS_SECURITY_POLICY
    # With no-referrer a browser would send "Origin: null" with our own forms.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _signed_in(begun: NewSession) -> AnyResponse:
    response = redirect("/")
    response.set_cookie(COOKIE, begun.secret, expires=begun.expires, httponly=True, samesite="Strict")
    # Opens nothing once the session is over; it says that somebody was signed in here.
    response.set_cookie(_BROWSER, begun.secret, max_age=BROWSER_LIFE, path="/sign-in", httponly=True, samesite="Strict")
    return response


def _signed_out() -> AnyResponse:
    response = redirect("/sign-in")
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")
    return response
