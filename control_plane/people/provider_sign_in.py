"""Signs people in by an OpenID Connect provider: whom an administrator bound to issuer and subject, never an e-mail."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import Fact, Person, ProviderBinding
from control_plane.db.transactions import in_one_commit
from control_plane.keys.store import KeyStore
from control_plane.people import factor_rows
from control_plane.people.accounts import NewSession, begin_session
from control_plane.people.attempts import NotProved, Wrong
from control_plane.people.people import PersonUnknown
from control_plane.people.provider import Provider
from control_plane.people.provider_settings import (
    FACT,
    Identity,
    ProviderRefused,
    ProviderSettings,
    saw_second_factor,
    verify_url,
)
from control_plane.people.secret_text import new_secret
from control_plane.people.security_keys import CHALLENGE_BYTES, SecurityKeys
from control_plane.people.signing_in import Step
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused

_SECRET_NAME = "oidc/client-secret/1"  # noqa: S105 (a name)
_PURPOSE, _HOW = "oidc", "oidc"
_SEPARATOR = b"\x00"


class NoProvider(Refused):
    def __init__(self) -> None:
        super().__init__("there is no identity provider to sign in by; an administrator sets one with `oidc set`")


class BoundAlready(Refused):
    def __init__(self, subject: str) -> None:
        super().__init__(f"subject {subject} of this identity provider is bound to a person already")
        self.subject = subject


class NotBound(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is bound to no such subject of an identity provider")
        self.name = name


@dataclass(frozen=True)
class Begun:
    """Where the browser goes, and the state that only this browser knows."""

    url: str
    state: str


class ProviderSignIn:
    def __init__(
        self,
        database: sessionmaker[Session],
        journal: CentreJournal,
        keys: KeyStore,
        security_keys: SecurityKeys,
        clock: Clock,
        provider: Callable[[ProviderSettings], Provider] = Provider,
    ) -> None:
        self._database, self._journal, self._keys = database, journal, keys
        self._security_keys, self._clock, self._provider = security_keys, clock, provider

    def set(self, settings: ProviderSettings, by: str) -> None:
        """Raises ProviderRefused: an address without TLS, or a certificate that is none."""
        verify_url(settings.issuer, "the issuer")
        self._provider(settings)
        sealed = self._keys.seal(_SECRET_NAME, settings.secret.encode()) if settings.secret else b""
        members = {
            "issuer": settings.issuer, "client_id": settings.client_id, "ca": settings.ca, "amr": settings.amr,
            "acr": settings.acr, "secret": base64.b64encode(sealed).decode(),
        }  # fmt: skip

        def keep(session: Session) -> None:
            session.merge(Fact(name=FACT, value=json.dumps(members)))
            self._record(session, Event.PROVIDER_SET, Action.UPDATE, by, Subject("issuer", settings.issuer))

        in_one_commit(self._database, keep)

    def remove(self, by: str) -> None:
        """Have nobody sign in by a provider any more. Whom it was bound to stays known. Raises NoProvider."""

        def remove(session: Session) -> None:
            fact = session.get(Fact, FACT)
            if fact is None:
                raise NoProvider
            session.delete(fact)
            self._record(session, Event.PROVIDER_SET, Action.DELETE, by)

        in_one_commit(self._database, remove)

    def settings(self) -> ProviderSettings | None:
        with self._database() as session:
            fact = session.get(Fact, FACT)
        if fact is None:
            return None
        members = json.loads(fact.value)
        sealed = base64.b64decode(members["secret"])
        secret = self._keys.unseal(_SECRET_NAME, sealed).decode() if sealed else ""
        return ProviderSettings(
            members["issuer"], members["client_id"], secret, members["ca"], tuple(members["amr"]), tuple(members["acr"])
        )

    def shown(self) -> dict[str, Json]:
        """Return the provider and who is bound to it; not its secret."""
        settings = self.settings()
        with self._database() as session:
            bound = session.scalars(select(ProviderBinding).order_by(ProviderBinding.person)).all()
        return {
            "issuer": settings.issuer if settings else None,
            "client_id": settings.client_id if settings else None,
            "amr": [*settings.amr] if settings else [],
            "acr": [*settings.acr] if settings else [],
            "bound": [{"person": one.person, "issuer": one.issuer, "subject": one.subject} for one in bound],
        }

    def bind(self, name: str, subject: str, by: str) -> None:
        """Let whom the provider calls `subject` sign in as `name`. Raises NoProvider, PersonUnknown, BoundAlready."""
        settings = self._configured()

        def bind(session: Session) -> None:
            person = session.get(Person, name)
            if person is None or person.removed is not None:
                raise PersonUnknown(name)
            if session.get(ProviderBinding, (settings.issuer, subject)) is not None:
                raise BoundAlready(subject)
            session.add(ProviderBinding(issuer=settings.issuer, subject=subject, person=name))
            what = (Subject("person", name), Subject("kind", _HOW), Subject("subject", subject[:200]))
            self._record(session, Event.FACTOR_ADDED, Action.CREATE, by, *what)

        in_one_commit(self._database, bind)

    def unbind(self, name: str, subject: str, by: str) -> None:
        """Raises NotBound."""

        def unbind(session: Session) -> None:
            rows = session.scalars(
                select(ProviderBinding).where(ProviderBinding.person == name, ProviderBinding.subject == subject)
            ).all()
            if not rows:
                raise NotBound(name)
            for row in rows:
                session.delete(row)
            what = (Subject("person", name), Subject("kind", _HOW), Subject("subject", subject[:200]))
            self._record(session, Event.FACTOR_REMOVED, Action.DELETE, by, *what)

        in_one_commit(self._database, unbind)

    def begin(self, redirect_uri: str) -> Begun:
        """Raises NoProvider, ProviderUnavailable, ProviderRefused."""
        settings, nonce, verifier = self._configured(), new_secret(), new_secret()
        challenge = nonce.encode() + _SEPARATOR + verifier.encode()
        state = in_one_commit(
            self._database,
            lambda session: factor_rows.insert_step(
                session, "", _PURPOSE, challenge, self._clock.now(), password_right=False
            ),
        )
        url = self._provider(settings).authorization_url(
            redirect_uri=redirect_uri, state=state, nonce=nonce, verifier=verifier
        )
        return Begun(url, state)

    def finish(self, state: str, code: str, redirect_uri: str) -> NewSession | Step:
        """Return a session; or a step, where our own second factor has to be shown beside the provider's word.

        Raises NoProvider, NotProved, ProviderUnavailable.
        """
        try:
            identity = self._identified(state, code, redirect_uri)
            enough = saw_second_factor(self._configured(), identity)
            return in_one_commit(self._database, lambda session: self._let_in(session, identity, enough=enough))
        except NotProved as exc:
            refused = Happening(Event.SIGN_IN_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, reason=exc.wrong)
            self._journal.record(refused)
            raise

    def _identified(self, state: str, code: str, redirect_uri: str) -> Identity:
        now = self._clock.now()
        taken = in_one_commit(self._database, lambda session: factor_rows.take_step(session, state, _PURPOSE, now))
        if taken is None:
            raise NotProved(Wrong.STEP)
        nonce, _, verifier = taken.challenge.partition(_SEPARATOR)
        try:
            return self._provider(self._configured()).identify(
                code=code, redirect_uri=redirect_uri, nonce=nonce.decode(), verifier=verifier.decode(), now=now
            )
        except ProviderRefused as exc:
            raise NotProved(Wrong.PROVIDER) from exc

    def _let_in(self, session: Session, identity: Identity, *, enough: bool) -> NewSession | Step:
        row = session.get(ProviderBinding, (identity.issuer, identity.subject))
        person = session.get(Person, row.person) if row is not None else None
        if person is None or person.removed is not None:
            raise NotProved(Wrong.PERSON)
        now = self._clock.now()
        if enough:
            begun = begin_session(session, person, _HOW, now)
            who, what = (Participant("person", person.name, True),), (Subject("session", begun.person.session_id),)
            self._journal.append(session, Happening(Event.SIGNED_IN, Action.EXECUTE, Outcome.SUCCESS, who, what, _HOW))
            return begun
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        # The provider's word stands in the place of the password.
        step = factor_rows.insert_step(session, person.name, factor_rows.SIGN_IN, challenge, now, password_right=True)
        return Step(step, self._security_keys.to_present(challenge))

    def _configured(self) -> ProviderSettings:
        settings = self.settings()
        if settings is None:
            raise NoProvider
        return settings

    def _record(self, session: Session, event: Event, action: Action, by: str, *what: Subject) -> None:
        who = (Participant("person", by, True),)
        self._journal.append(session, Happening(event, action, Outcome.SUCCESS, who, what))
