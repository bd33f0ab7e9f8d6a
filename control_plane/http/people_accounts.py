"""The people's door, as far as people themselves go: accounts, proofs, tokens, sessions."""

from datetime import timedelta

from apiflask import APIFlask
from flask import request

from control_plane.http.people_account_models import (
    CertificateAnswer,
    CertificateRequest,
    Done,
    FactorRemoval,
    LinkAnswer,
    NamedPerson,
    PasswordProof,
    PasswordRequest,
    PeopleAnswer,
    PersonRemoved,
    PersonRequest,
    PersonShown,
    PromotionRequest,
    RecoveryCodesAnswer,
    RenewedToken,
    RoleRequest,
    SessionEnd,
    SessionsAnswer,
    SignInRequest,
    TokenAnswer,
    TokenEnd,
    TokenOfPerson,
    TokenRequest,
    TokensAnswer,
    TotpAnswer,
    TotpConfirmation,
    TotpRequest,
)
from control_plane.http.people_hosts_models import PendingRequest
from control_plane.http.people_services import PeopleServices, address_of_request, permitted
from control_plane.people.accounts import SignedIn
from control_plane.people.decide import Permission, decide
from control_plane.people.promotion import PROMOTE
from control_plane.people.tokens import NewToken
from shared import clock as clocks
from shared.canonical import Json


def add_accounts(app: APIFlask, services: PeopleServices) -> None:
    _add_people(app, services)
    _add_proofs(app, services)
    _add_tokens(app, services)
    _add_sessions(app, services)


def _add_people(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/people")
    @app.output(PeopleAnswer)
    def people() -> dict[str, Json]:
        """Return everybody who has or had an account, and what they prove themselves with."""
        permitted(services, Permission.PERSON_LIST)
        return {"people": list(services.people.listed())}

    @app.post("/api/v1/people")
    @app.input(PersonRequest, location="json", arg_name="wanted")
    @app.output(TokenOfPerson)
    def add_person(wanted: PersonRequest) -> dict[str, Json]:
        """Give somebody an account; what they sign counts only once a policy root names their key."""
        person = permitted(services, Permission.PERSON_ADD)
        return {"name": wanted.name, "token": services.people.add(wanted.name, wanted.role, person.name)}

    @app.post("/api/v1/people/remove")
    @app.input(NamedPerson, location="json", arg_name="wanted")
    @app.output(PersonRemoved)
    def remove_person(wanted: NamedPerson) -> dict[str, Json]:
        """End somebody's account; their key signs on until a policy root leaves it out."""
        person = permitted(services, Permission.PERSON_ADD)
        services.people.remove(wanted.name, person.name)
        return {"removed": wanted.name}

    @app.post("/api/v1/people/role")
    @app.input(RoleRequest, location="json", arg_name="wanted")
    @app.output(TokenOfPerson)
    def change_role(wanted: RoleRequest) -> dict[str, Json]:
        """Give somebody another role; what they had to get in is ended, and the token answered takes its place."""
        person = permitted(services, Permission.PERSON_CHANGE)
        return {"name": wanted.name, "token": services.people.change_role(wanted.name, wanted.role, person.name)}

    @app.post("/api/v1/people/reset")
    @app.input(NamedPerson, location="json", arg_name="wanted")
    @app.output(TokenOfPerson)
    def reset_person(wanted: NamedPerson) -> dict[str, Json]:
        """Take password and second factors from somebody who lost theirs; the token answered lets them set new ones."""
        person = permitted(services, Permission.PERSON_CHANGE)
        return {"name": wanted.name, "token": services.people.reset(wanted.name, person.name)}

    @app.post("/api/v1/people/administrators")
    @app.input(PromotionRequest, location="json", arg_name="wanted")
    @app.output(PendingRequest, status_code=202)
    def propose_administrator(wanted: PromotionRequest) -> dict[str, Json]:
        """Ask that somebody be an administrator; another one approves it."""
        person = permitted(services, Permission.PERSON_CHANGE)
        return services.two_persons.ask(person.name, PROMOTE, wanted.name, wanted.reason).json()

    @app.post("/api/v1/people/vouch")
    @app.input(NamedPerson, location="json", arg_name="wanted")
    @app.output(Done)
    def vouch(wanted: NamedPerson) -> dict[str, Json]:
        """Say that an account to which another administrator gave a way in is that of a person of its own."""
        person = permitted(services, Permission.REQUEST_DECIDE)
        services.people.vouch(wanted.name, person.name)
        return {"done": wanted.name}


def _add_proofs(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/account")
    @app.output(PersonShown)
    def account() -> dict[str, Json]:
        """Return who is asking, and what they can prove it with."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        return services.people.shown(person.name)

    @app.post("/api/v1/account/password")
    @app.input(PasswordRequest, location="json", arg_name="wanted")
    @app.output(Done)
    def set_password(wanted: PasswordRequest) -> dict[str, Json]:
        """Set one's password; whoever has one shows it."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        services.factors.set_password(person, wanted.current, wanted.new, address_of_request())
        return {"done": "password"}

    @app.post("/api/v1/account/totp")
    @app.input(TotpRequest, location="json", arg_name="wanted")
    @app.output(TotpAnswer)
    def offer_totp(wanted: TotpRequest) -> dict[str, Json]:
        """Make a generator of one-time passwords, which counts once a code of it was confirmed."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        offer = services.factors.offer_totp(person, wanted.password, wanted.name, address_of_request())
        return {"factor": offer.factor_id, "uri": offer.uri}

    @app.post("/api/v1/account/totp/confirm")
    @app.input(TotpConfirmation, location="json", arg_name="wanted")
    @app.output(RecoveryCodesAnswer)
    def confirm_totp(wanted: TotpConfirmation) -> dict[str, Json]:
        """Have a generator count, by a code that it shows now."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        added = services.factors.confirm_totp(person, wanted.factor, wanted.code, address_of_request())
        return {"recovery_codes": list(added.recovery_codes)}

    @app.post("/api/v1/account/second-factors/remove")
    @app.input(FactorRemoval, location="json", arg_name="wanted")
    @app.output(Done)
    def remove_factor(wanted: FactorRemoval) -> dict[str, Json]:
        """Have one of one's own second factors count no more."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        services.factors.remove(person, wanted.factor, wanted.password, address_of_request())
        return {"done": wanted.factor}

    @app.post("/api/v1/account/recovery-codes")
    @app.input(PasswordProof, location="json", arg_name="wanted")
    @app.output(RecoveryCodesAnswer)
    def recovery_codes(wanted: PasswordProof) -> dict[str, Json]:
        """Make ten new recovery codes; those of before are void."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        codes = services.factors.renew_recovery_codes(person, wanted.password, address_of_request())
        return {"recovery_codes": list(codes)}


def _add_tokens(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/sign-in")
    @app.input(SignInRequest, location="json", arg_name="wanted")
    @app.output(TokenOfPerson)
    def sign_in_for_token(wanted: SignInRequest) -> dict[str, Json]:
        """Return a token for a credential whose own is no good, by name, password and second factor."""
        token = services.signing_in.new_credential_token(
            wanted.name, wanted.password, wanted.code, address_of_request()
        )
        return {"name": wanted.name, "token": token}

    @app.post("/api/v1/sign-in/certificate")
    @app.input(CertificateRequest, location="json", arg_name="wanted")
    @app.output(CertificateAnswer, status_code=201)
    def sign_in_for_certificate(wanted: CertificateRequest) -> dict[str, Json]:
        """Certify a key for some hours, by name, password and second factor; requests are then signed with it."""
        made = services.certificates.issue(wanted.name, wanted.password, wanted.code, wanted.csr, address_of_request())
        return {"certificate": made.pem, "session": made.session_id, "expires": clocks.text(made.expires)}

    @app.get("/api/v1/tokens")
    @app.output(TokensAnswer)
    def tokens() -> dict[str, Json]:
        """Return the tokens that are good: one's own, or everybody's for whoever may see people."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        return {"tokens": list(services.tokens.listed(_whose(person)))}

    @app.post("/api/v1/tokens")
    @app.input(TokenRequest, location="json", arg_name="wanted")
    @app.output(TokenAnswer, status_code=201)
    def new_token(wanted: TokenRequest) -> dict[str, Json]:
        """Make a token for a tool, with a scope and an end."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        return _token(services.tokens.make(person, wanted.name, wanted.scope, timedelta(days=wanted.days)))

    @app.post("/api/v1/tokens/renew")
    @app.output(RenewedToken)
    def renew_token() -> dict[str, Json]:
        """Return a token for a year in the place of the one that this was asked with, which ends in ten minutes."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        return {**_token(services.tokens.renew(person)), "before": person.token_id}

    @app.post("/api/v1/tokens/end")
    @app.input(TokenEnd, location="json", arg_name="wanted")
    @app.output(Done)
    def end_token(wanted: TokenEnd) -> dict[str, Json]:
        """Have a token open nothing any more."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        services.tokens.end(person, wanted.token, of_anybody=_changes_others(person))
        return {"done": wanted.token}


def _add_sessions(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/sign-in-links")
    @app.output(LinkAnswer)
    def new_link() -> dict[str, Json]:
        """Return a one-time sign-in link for whoever asks, for their browser."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        return {"link": f"{request.host_url}sign-in?token={services.signing_in.new_link(person)}"}

    @app.get("/api/v1/sessions")
    @app.output(SessionsAnswer)
    def sessions() -> dict[str, Json]:
        """Return the sessions of browsers that go on: one's own, or everybody's for whoever may see people."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        return {"sessions": list(services.sessions.listed(_whose(person)))}

    @app.post("/api/v1/sessions/end")
    @app.input(SessionEnd, location="json", arg_name="wanted")
    @app.output(Done)
    def end_session(wanted: SessionEnd) -> dict[str, Json]:
        """End a session, or all of one's own, from its next request on."""
        person = permitted(services, Permission.ACCOUNT_OWN)
        if wanted.session is None:
            return {"done": f"{services.sessions.end_all(person)} sessions"}
        services.sessions.end(person, wanted.session, of_anybody=_changes_others(person))
        return {"done": wanted.session}


def _whose(person: SignedIn) -> str | None:
    return None if decide(person.role, Permission.PERSON_LIST, person.scope).allowed else person.name


def _changes_others(person: SignedIn) -> bool:
    return decide(person.role, Permission.PERSON_CHANGE, person.scope).allowed


def _token(made: NewToken) -> dict[str, Json]:
    return {"id": made.token_id, "token": made.secret, "expires": clocks.text(made.expires)}
