"""Who is asking: by a bearer token, by the cookie of a session, or once by a link. Only digests are stored."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import (
    ApiToken,
    Fact,
    PasswordRow,
    Person,
    PersonSession,
    ProviderBinding,
    SecondFactor,
    SignInLink,
)
from control_plane.db.transactions import in_one_commit
from control_plane.people.decide import ADMINISTRATOR, Permission, Scope
from control_plane.people.name import is_of_a_service
from control_plane.people.provider_settings import FACT
from control_plane.people.secret_text import TOKEN_PATTERN, digest, new_id, new_secret, new_token
from shared.clock import Clock
from shared.errors import Refused

LINK_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(hours=8)
IDLE_LIFE = timedelta(minutes=30)
CREDENTIAL_LIFE = timedelta(days=365)
CREDENTIAL, ALL = "credential", "all"
CERTIFICATE = "certificate"
"""How a session began that is one of requests signed with a certificate's key, and of no cookie."""
_TOUCHED_EVERY = timedelta(minutes=1)


class NotSignedIn(Refused):
    def __init__(self) -> None:
        super().__init__("no valid sign-in: the link, session or token is unknown, used, ended or expired")


class PersonExists(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"a person named {name} exists already")
        self.name = name


class NameOfAService(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"nobody can be called {name}: the audit log calls the control plane itself so, and what a person did "
            "would look like what it did by itself; take another name"
        )
        self.name = name


@dataclass(frozen=True)
class SignedIn:
    """A person whom the door has recognised, and what they hold: the id of a token or a session."""

    name: str
    role: str
    scope: Scope = None
    token_id: str = field(default="", compare=False)
    session_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class NewSession:
    """A session that has just begun. Its `secret` is the cookie's value, known to nobody else."""

    secret: str
    person: SignedIn
    expires: datetime


class Accounts:
    def __init__(self, database: sessionmaker[Session], clock: Clock) -> None:
        self._database, self._clock = database, clock

    def create(self, name: str, role: str) -> str:
        """Return the new person's bearer token, which is shown this once. Raises PersonExists, NameOfAService."""
        return in_one_commit(self._database, lambda session: insert(session, name, role, self._clock.now()))

    def by_token(self, token: str) -> SignedIn:
        """Raises NotSignedIn: unknown, ended or expired, or its person's account is."""
        if not TOKEN_PATTERN.fullmatch(token):
            raise NotSignedIn
        asked = (
            select(Person, ApiToken)
            .join(ApiToken, ApiToken.person == Person.name)
            .where(ApiToken.secret_sha256 == digest(token), valid_token(self._clock.now()), Person.removed.is_(None))
        )
        with self._database() as session:
            found = session.execute(asked).one_or_none()
        if found is None:
            raise NotSignedIn
        person, row = found
        return SignedIn(person.name, person.role, parse_scope(row.scope), token_id=row.token_id)

    def first_administrator(self) -> str | None:
        """Return who may sign in by the link of a start: nobody, once an administrator has all it takes without one."""
        administrators = (Person.role == ADMINISTRATOR, Person.removed.is_(None))
        with self._database() as session:
            complete = select(Person.name).where(*administrators, _signs_in_alone(session))
            if session.scalar(complete.limit(1)) is not None:
                return None
            return session.scalar(select(Person.name).where(*administrators).order_by(Person.created).limit(1))

    def new_link(self, person: str, token_id: str | None = None) -> str:
        """Return the secret of a sign-in link that works once, within 15 minutes."""
        with self._database.begin() as session:
            return insert_link(session, person, self._clock.now(), token_id)

    def by_session(self, secret: str, *, acted: bool = True) -> SignedIn:
        """Return whose session it is. `acted`: a person did something, so that the time until it ends begins anew.

        Raises NotSignedIn: unknown, ended, or nobody did anything in it for too long.
        """
        now = self._clock.now()
        asked = (
            select(Person, PersonSession)
            .join(PersonSession, PersonSession.person == Person.name)
            .where(PersonSession.secret_sha256 == digest(secret), PersonSession.how != CERTIFICATE)
            .where(valid_session(now), Person.removed.is_(None))
        )
        with self._database() as session:
            found = session.execute(asked).one_or_none()
        if found is None:
            raise NotSignedIn
        person, row = found
        if acted and now - row.used >= _TOUCHED_EVERY:
            with self._database.begin() as session:
                session.execute(
                    update(PersonSession).where(PersonSession.session_id == row.session_id).values(used=now)
                )
        return SignedIn(person.name, person.role, session_id=row.session_id)


def _signs_in_alone(session: Session) -> ColumnElement[bool]:
    """Return whether somebody has all it takes without a link: password or a provider's word, and a second factor.

    The second factor is their own, or what the provider is believed to have seen.
    """
    fact = session.get(Fact, FACT)
    provider: dict[str, Any] = {} if fact is None else json.loads(fact.value)
    password = exists().where(PasswordRow.person == Person.name)
    factor = exists().where(SecondFactor.person == Person.name, SecondFactor.confirmed.is_not(None))
    of_provider = (ProviderBinding.person == Person.name, ProviderBinding.issuer == provider.get("issuer", ""))
    bound = exists().where(*of_provider)
    if provider.get("amr") or provider.get("acr"):
        return (password & factor) | bound
    return (password | bound) & factor


def valid_token(now: datetime) -> ColumnElement[bool]:
    return ApiToken.ended.is_(None) & (ApiToken.expires > now)


def valid_session(now: datetime) -> ColumnElement[bool]:
    """Not ended, not idle for too long, and neither is the token whose link it began with.

    One of a certificate is never idle: it is not a browser that somebody left open.
    """
    is_used = (PersonSession.how == CERTIFICATE) | (PersonSession.used > now - IDLE_LIFE)
    itself = PersonSession.ended.is_(None) & (PersonSession.expires > now) & is_used
    token = exists().where(ApiToken.token_id == PersonSession.token_id, valid_token(now))
    return itself & (PersonSession.token_id.is_(None) | token)


def verify_still_in(session: Session, person: SignedIn, now: datetime) -> None:
    """Raises NotSignedIn: what `person` came in by was ended since the door let it in, and makes no further way in."""
    token = select(ApiToken.token_id).where(ApiToken.token_id == person.token_id, valid_token(now))
    begun = select(PersonSession.session_id).where(PersonSession.session_id == person.session_id, valid_session(now))
    if session.scalar(token) is None and session.scalar(begun) is None:
        raise NotSignedIn


def parse_scope(text: str) -> Scope:
    """Read a token's row. A permission that this version does not know is none."""
    known = {permission.value: permission for permission in Permission}
    return None if text == ALL else frozenset(known[word] for word in text.split() if word in known)


def insert(session: Session, name: str, role: str, now: datetime) -> str:
    """Add a person and return their credential's token. Raises PersonExists, NameOfAService."""
    if is_of_a_service(name):
        raise NameOfAService(name)
    if session.get(Person, name):
        raise PersonExists(name)
    session.add(Person(name=name, role=role, created=now))
    session.flush()
    return insert_token(session, name, CREDENTIAL, ALL, now, now + CREDENTIAL_LIFE)[0]


def insert_token(
    session: Session, person: str, name: str, scope: str, now: datetime, expires: datetime
) -> tuple[str, ApiToken]:
    token = new_token()
    row = ApiToken(
        token_id=new_id(), secret_sha256=digest(token), person=person, name=name, scope=scope, created=now,
        expires=expires,
    )  # fmt: skip
    session.add(row)
    return token, row


def insert_link(session: Session, person: str, now: datetime, token_id: str | None) -> str:
    secret = new_secret()
    session.add(SignInLink(link_sha256=digest(secret), person=person, expires=now + LINK_LIFE, token_id=token_id))
    return secret


def open_link(session: Session, secret: str, now: datetime) -> NewSession:
    """Turn a link into a session. Raises NotSignedIn: unknown, used or expired."""
    unused = update(SignInLink).where(
        SignInLink.link_sha256 == digest(secret), SignInLink.used.is_(None), SignInLink.expires > now
    )
    link = session.scalar(unused.values(used=now).returning(SignInLink))
    person = session.get(Person, link.person) if link is not None else None
    if link is None or person is None or person.removed is not None:
        raise NotSignedIn
    return begin_session(session, person, "link", now, link.token_id)


def begin_session(session: Session, person: Person, how: str, now: datetime, token_id: str | None = None) -> NewSession:
    secret, session_id, expires = new_secret(), new_id(), now + SESSION_LIFE
    session.add(
        PersonSession(
            session_id=session_id, secret_sha256=digest(secret), person=person.name, how=how, began=now, used=now,
            expires=expires, token_id=token_id,
        )
    )  # fmt: skip
    return NewSession(secret, SignedIn(person.name, person.role, session_id=session_id), expires)


def end_everything(session: Session, person: str, now: datetime, keep: SignedIn | None = None) -> None:
    """End whatever opens the door for `person` but what they hold in `keep`, and what that hangs on."""
    tokens = update(ApiToken).where(ApiToken.person == person, ApiToken.ended.is_(None))
    sessions = update(PersonSession).where(PersonSession.person == person, PersonSession.ended.is_(None))
    links = update(SignInLink).where(SignInLink.person == person, SignInLink.used.is_(None))
    if keep is not None:
        began_with = exists().where(
            PersonSession.session_id == keep.session_id, PersonSession.token_id == ApiToken.token_id
        )
        tokens = tokens.where(ApiToken.token_id != keep.token_id, ~began_with)
        sessions = sessions.where(PersonSession.session_id != keep.session_id)
    session.execute(tokens.values(ended=now))
    session.execute(sessions.values(ended=now))
    session.execute(links.values(used=now))
