"""Pages on which people sign in and see what opens the door for them. Forms of these pages alone act by a cookie."""

from apiflask import APIFlask
from flask import Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from control_plane.http.limits import TooManyFailures
from control_plane.http.people_pages import (
    browser,
    or_signed_out,
    second_step,
    shown,
    signed_in,
    signed_out,
    typed,
    where_keys_work,
)
from control_plane.http.people_services import (
    PeopleServices,
    address_of_request,
    by_own_page,
    count_failure,
    permitted,
    verify_own_page,
)
from control_plane.people.accounts import NotSignedIn, SignedIn
from control_plane.people.attempts import NotProved
from control_plane.people.decide import Permission
from control_plane.people.factors import PasswordMissing, TooManyFactors
from control_plane.people.passwords import PasswordsBusy
from control_plane.people.permissions import verify_permitted
from control_plane.people.security_keys import MAX_PRESENTED_CHARS, KeyRefused
from control_plane.people.sessions import SessionUnknown
from control_plane.people.signing_in import Shown
from control_plane.web import page
from shared.audit.events import Action, Event, Happening, Outcome
from shared.errors import Refused


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
            return shown(_form(services))
        try:
            begun = services.signing_in.by_link(token)
        except NotSignedIn:
            count_failure(services)
            why = "link unknown, used or expired"
            services.journal.record(
                Happening(Event.SIGN_IN_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, reason=why)
            )
            return shown(page.render_signed_out(), 401)
        return signed_in(begun)


def _add_password(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/sign-in")
    def password() -> AnyResponse:
        """Take name and password and ask for the second factor, whether they are right or not."""
        verify_own_page()
        try:
            step = services.signing_in.begin(typed("name"), typed("password"), address_of_request(), browser())
        except TooManyFailures as exc:
            return _too_early(services, exc)
        except PasswordsBusy as exc:
            return shown(_form(services, str(exc)), 503)
        return second_step(step)

    @app.post("/sign-in/second")
    def second_factor() -> AnyResponse:
        """Judge name, password and second factor together."""
        verify_own_page()
        factor = Shown(code=typed("code"), key=typed("key", MAX_PRESENTED_CHARS))
        try:
            begun = services.signing_in.finish(typed("step"), factor, address_of_request(), browser())
        except NotProved as exc:
            return shown(_form(services, str(exc)), 401)
        except TooManyFailures as exc:
            return _too_early(services, exc)
        return signed_in(begun)


def _add_account(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/account")
    @or_signed_out
    def account_page() -> AnyResponse:
        """Show somebody their second factors, sessions and tokens."""
        return _account(services, permitted(services, Permission.ACCOUNT_OWN))

    @app.post("/account/sign-out")
    @or_signed_out
    def sign_out() -> AnyResponse:
        """End the session that this comes in."""
        person = _acting(services)
        services.sessions.end(person, person.session_id, of_anybody=False)
        return signed_out()

    @app.post("/account/end-session")
    @or_signed_out
    def end_one_session() -> AnyResponse:
        """End another session of whoever asks."""
        person = _acting(services)
        try:
            services.sessions.end(person, typed("session"), of_anybody=False)
        except SessionUnknown as exc:
            return _account(services, person, exc)
        return redirect("/account")

    @app.post("/account/end-sessions")
    @or_signed_out
    def end_sessions() -> AnyResponse:
        """End every session of whoever asks."""
        person = _acting(services)
        services.sessions.end_all(person)
        return signed_out()


def _add_keys(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/account/keys/offer")
    @or_signed_out
    def offer_key() -> AnyResponse:
        """Ask the browser for a new security key, once the password was shown."""
        person = _acting(services)
        try:
            step, options = services.factors.offer_key(person, typed("password"), address_of_request())
        except (NotProved, PasswordMissing, TooManyFactors, TooManyFailures) as exc:
            return _account(services, person, exc)
        return shown(page.render_new_key(step, options, where_keys_work()))

    @app.post("/account/keys")
    @or_signed_out
    def add_key() -> AnyResponse:
        """Take what a new security key answered."""
        person = _acting(services)
        name = "".join(one for one in typed("name", 64) if one.isprintable()) or "security key"
        try:
            added = services.factors.add_key(person, typed("step"), name, typed("key", MAX_PRESENTED_CHARS))
        except (NotProved, KeyRefused) as exc:
            return _account(services, person, exc)
        return _account(services, person, codes=added.recovery_codes)


def _form(services: PeopleServices, said: str = "") -> str:
    settings = services.provider.settings()
    return page.render_sign_in(said, settings.issuer if settings else "")


def _too_early(services: PeopleServices, exc: TooManyFailures) -> Response:
    response = shown(_form(services, str(exc)), 429)
    response.headers["Retry-After"] = str(exc.retry_after_s)
    return response


def _acting(services: PeopleServices) -> SignedIn:
    """Return who sent a form of our own pages. Raises NotSignedIn, NotPermitted."""
    person = by_own_page(services)
    verify_permitted(person, Permission.ACCOUNT_OWN)
    return person


def _account(
    services: PeopleServices, person: SignedIn, refused: Refused | None = None, codes: tuple[str, ...] = ()
) -> Response:
    text = page.render_account(
        services.people.shown(person.name),
        services.sessions.listed(person.name),
        services.tokens.listed(person.name),
        said="" if refused is None else str(refused),
        here=person.session_id,
        codes=codes,
        localhost=where_keys_work(),
    )
    return shown(text, 200 if refused is None else 403)
