"""The people's door, as far as an identity provider goes: signing in by one, and which one and for whom."""

import hmac

from apiflask import APIFlask
from flask import redirect, request
from werkzeug.wrappers import Response as AnyResponse

from control_plane.http.people_account_models import BindingRequest, Done, ProviderAnswer, ProviderRequest
from control_plane.http.people_pages import MAX_TYPED, second_step, shown, signed_in
from control_plane.http.people_services import PeopleServices, count_failure, permitted
from control_plane.people.attempts import NotProved
from control_plane.people.decide import Permission
from control_plane.people.provider_settings import ProviderRefused, ProviderSettings
from control_plane.people.provider_sign_in import NoProvider
from control_plane.people.signing_in import Step
from control_plane.web import page
from shared.canonical import Json
from shared.errors import Unavailable

_STATE = "leadglass_provider"
_STATE_LIFE_S = 300
_PATH = "/sign-in/callback"


def add_provider(app: APIFlask, services: PeopleServices) -> None:
    _add_sign_in(app, services)
    _add_settings(app, services)


def _add_sign_in(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/sign-in/provider")
    def to_provider() -> AnyResponse:
        """Send the browser to the identity provider, with a state that it alone knows."""
        try:
            begun = services.provider.begin(_redirect_uri())
        except (NoProvider, ProviderRefused, Unavailable) as exc:
            return shown(page.render_sign_in(str(exc)), 503)
        response = redirect(begun.url)
        # Lax: the provider's site sends the browser back, and a strict cookie would not come along.
        response.set_cookie(_STATE, begun.state, max_age=_STATE_LIFE_S, path=_PATH, httponly=True, samesite="Lax")
        return response

    @app.get(_PATH)
    def from_provider() -> AnyResponse:
        """Take the provider's word for who somebody is, and ask for our second factor where it saw none."""
        state, code = (request.args.get(name, "")[:MAX_TYPED] for name in ("state", "code"))
        try:
            # A state of another browser would sign its owner in here, or whoever is here in there.
            if not hmac.compare_digest(state.encode(), request.cookies.get(_STATE, "").encode()):
                state = ""
            let_in = services.provider.finish(state, code, _redirect_uri())
        except NotProved as exc:
            count_failure(services)
            return shown(page.render_sign_in(str(exc)), 401)
        except (NoProvider, Unavailable) as exc:
            return shown(page.render_sign_in(str(exc)), 503)
        return second_step(let_in) if isinstance(let_in, Step) else signed_in(let_in, came_from_elsewhere=True)


def _add_settings(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/identity-provider")
    @app.output(ProviderAnswer)
    def provider() -> dict[str, Json]:
        """Return by which identity provider people may sign in, and who is bound to it."""
        permitted(services, Permission.PERSON_LIST)
        return services.provider.shown()

    @app.post("/api/v1/identity-provider")
    @app.input(ProviderRequest, location="json", arg_name="wanted")
    @app.output(Done)
    def set_provider(wanted: ProviderRequest) -> dict[str, Json]:
        """Have people sign in by an identity provider too."""
        person = permitted(services, Permission.PERSON_CHANGE)
        settings = ProviderSettings(
            wanted.issuer, wanted.client_id, wanted.secret, wanted.ca, tuple(wanted.amr), tuple(wanted.acr)
        )
        services.provider.set(settings, person.name)
        return {"done": wanted.issuer}

    @app.post("/api/v1/identity-provider/remove")
    @app.output(Done)
    def remove_provider() -> dict[str, Json]:
        """Have nobody sign in by the identity provider any more."""
        person = permitted(services, Permission.PERSON_CHANGE)
        services.provider.remove(person.name)
        return {"done": "removed"}

    @app.post("/api/v1/identity-provider/bind")
    @app.input(BindingRequest, location="json", arg_name="wanted")
    @app.output(Done)
    def bind(wanted: BindingRequest) -> dict[str, Json]:
        """Let whom the identity provider calls by a subject sign in as a person."""
        person = permitted(services, Permission.PERSON_CHANGE)
        services.provider.bind(wanted.name, wanted.subject, person.name)
        return {"done": wanted.name}

    @app.post("/api/v1/identity-provider/unbind")
    @app.input(BindingRequest, location="json", arg_name="wanted")
    @app.output(Done)
    def unbind(wanted: BindingRequest) -> dict[str, Json]:
        """Take that back."""
        person = permitted(services, Permission.PERSON_CHANGE)
        services.provider.unbind(wanted.name, wanted.subject, person.name)
        return {"done": wanted.name}


def _redirect_uri() -> str:
    return f"{request.host_url.rstrip('/')}{_PATH}"
