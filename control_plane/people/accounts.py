"""Accounts of named people: bearer tokens for tools, one-time links for browsers. Only digests are stored."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Person, SignIn
from control_plane.db.transactions import in_one_commit
from control_plane.people.name import is_of_a_service
from shared.clock import Clock
from shared.errors import Refused

LINK_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(hours=8)
REMOVED = "removed"  # the role of nobody: it holds no permission, and nobody counts as a second person by it
_TOKEN_PREFIX = "lgp_"  # noqa: S105 (marks a token for secret scanners; it is none)


class NotSignedIn(Refused):
    def __init__(self) -> None:
        super().__init__("no valid sign-in: the link, session or token is unknown, used or expired")


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


class PersonUnknown(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"nobody named {name} has an account here")
        self.name = name


class RemovesThemselves(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} cannot remove their own account, so that somebody is always left; ask another person")
        self.name = name


@dataclass(frozen=True)
class SignedIn:
    """A person whom the door has recognised."""

    name: str
    role: str


class Accounts:
    def __init__(self, database: sessionmaker[Session], clock: Clock) -> None:
        self._database, self._clock = database, clock

    def create(self, name: str, role: str) -> str:
        """Return the new person's bearer token, which is shown this once. Raises PersonExists, NameOfAService."""
        if is_of_a_service(name):
            raise NameOfAService(name)
        token = _TOKEN_PREFIX + secrets.token_urlsafe(32)

        def add(session: Session) -> None:
            if session.get(Person, name):
                raise PersonExists(name)
            session.add(Person(name=name, role=role, token_sha256=_digest(token), created=self._clock.now()))

        in_one_commit(self._database, add)
        return token

    def remove(self, name: str, by: str) -> None:
        """Have the person's token, links and sessions no longer open anything. The name stays taken: records use it.

        Raises PersonUnknown, RemovesThemselves.
        """
        if name == by:
            raise RemovesThemselves(name)
        unknown = secrets.token_bytes(32)  # the digest of no token

        def bar(session: Session) -> None:
            person = session.get(Person, name)
            if person is None:
                raise PersonUnknown(name)
            person.token_sha256, person.role = unknown, REMOVED
            session.execute(delete(SignIn).where(SignIn.person == name))

        in_one_commit(self._database, bar)

    def by_token(self, token: str) -> SignedIn:
        """Raises NotSignedIn."""
        with self._database() as session:
            person = session.scalar(select(Person).where(Person.token_sha256 == _digest(token)))
        if person is None:
            raise NotSignedIn
        return SignedIn(person.name, person.role)

    def first_administrator(self) -> str:
        with self._database() as session:
            return session.scalars(
                select(Person.name).where(Person.role == "administrator").order_by(Person.created).limit(1)
            ).one()

    def new_link(self, person: str) -> str:
        """Return the secret of a sign-in link that works once, within 15 minutes."""
        secret = secrets.token_urlsafe(32)
        expires = self._clock.now() + LINK_LIFE
        with self._database.begin() as session:
            session.add(SignIn(link_sha256=_digest(secret), person=person, link_expires=expires))
        return secret

    def use_link(self, secret: str) -> tuple[str, SignedIn, datetime]:
        """Return a new session's secret, its person and its end. Raises NotSignedIn: unknown, used or expired."""
        now, session_secret = self._clock.now(), secrets.token_urlsafe(32)
        unused = update(SignIn).where(
            SignIn.link_sha256 == _digest(secret), SignIn.session_sha256.is_(None), SignIn.link_expires > now
        )
        expires = now + SESSION_LIFE
        with self._database.begin() as session:
            used = session.scalar(
                unused.values(session_sha256=_digest(session_secret), session_expires=expires).returning(SignIn.person)
            )
            person = session.get(Person, used) if used is not None else None
        if person is None:
            raise NotSignedIn
        return session_secret, SignedIn(person.name, person.role), expires

    def by_session(self, secret: str) -> SignedIn:
        """Raises NotSignedIn."""
        valid = (SignIn.session_sha256 == _digest(secret), SignIn.session_expires > self._clock.now())
        with self._database() as session:
            person = session.scalar(select(Person).join(SignIn, SignIn.person == Person.name).where(*valid))
        if person is None:
            raise NotSignedIn
        return SignedIn(person.name, person.role)


def _digest(secret: str) -> bytes:
    # Secrets are 256 random bits, so a plain hash is not open to guessing as one of a password would be.
    return sha256(secret.encode()).digest()
