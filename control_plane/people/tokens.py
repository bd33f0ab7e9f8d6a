"""API tokens of people: named, for all that a person may do or a part of it, until a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import ApiToken, Person
from control_plane.db.transactions import in_one_commit
from control_plane.people.accounts import (
    ALL,
    CREDENTIAL,
    CREDENTIAL_LIFE,
    NotSignedIn,
    SignedIn,
    insert_token,
    parse_scope,
    valid_token,
    verify_still_in,
)
from control_plane.people.decide import NEVER_IN_A_SCOPE, Permission, decide, holds
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused

RUNS_OUT_SOON = timedelta(days=30)
RENEWED_ENDS = timedelta(minutes=10)
DEFAULT_DAYS, MOST_DAYS = 90, 365
_MOST_TOKENS = 100


class ScopeRefused(Refused):
    def __init__(self, permission: str, why: str) -> None:
        super().__init__(f"no token can have {permission}: {why}")
        self.permission = permission


class TokenUnknown(Refused):
    def __init__(self, token_id: str) -> None:
        super().__init__(f"there is no token {token_id} that you could end")
        self.token_id = token_id


class TooManyTokens(Refused):
    def __init__(self) -> None:
        super().__init__(f"nobody has more than {_MOST_TOKENS} tokens; end some")


@dataclass(frozen=True)
class NewToken:
    """A token, which is shown this once."""

    token_id: str
    secret: str
    expires: datetime


class Tokens:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def make(self, person: SignedIn, name: str, scope: Sequence[str] | None, life: timedelta) -> NewToken:
        """Make a token with a scope, or for all that the person may do.

        Raises ScopeRefused, TooManyTokens; NotSignedIn: what they came in by was ended meanwhile.
        """
        text = ALL if scope is None else " ".join(sorted(verified_scope(person.role, scope)))

        def make(session: Session) -> NewToken:
            now = self._clock.now()
            verify_still_in(session, person, now)
            valid = select(ApiToken.token_id).where(ApiToken.person == person.name, valid_token(now))
            if len(session.scalars(valid).all()) >= _MOST_TOKENS:
                raise TooManyTokens
            return self._insert(session, person.name, name, text, now + life)

        return in_one_commit(self._database, make)

    def renew(self, person: SignedIn) -> NewToken:
        """Return a token for a year in the place of the one in hand, which ends: soon, for the answer may be lost.

        Raises NotSignedIn: it is none.
        """

        def renew(session: Session) -> NewToken:
            now = self._clock.now()
            held = session.get(ApiToken, person.token_id) if person.token_id else None
            if held is None or held.ended is not None:
                raise NotSignedIn
            held.expires = min(held.expires, now + RENEWED_ENDS)
            self._record(session, Event.TOKEN_ENDED, Action.DELETE, person.name, person.name, held.token_id)
            return self._insert(session, person.name, CREDENTIAL, ALL, now + CREDENTIAL_LIFE)

        return in_one_commit(self._database, renew)

    def end(self, person: SignedIn, token_id: str, *, of_anybody: bool) -> None:
        """Have a token open nothing from the next request on. Raises TokenUnknown: also where it is another's."""

        def end(session: Session) -> None:
            row = session.get(ApiToken, token_id)
            if row is None or row.ended is not None or not (of_anybody or row.person == person.name):
                raise TokenUnknown(token_id)
            row.ended = self._clock.now()
            self._record(session, Event.TOKEN_ENDED, Action.DELETE, person.name, row.person, token_id)

        in_one_commit(self._database, end)

    def listed(self, person: str | None) -> tuple[dict[str, Json], ...]:
        """Return the tokens that are good, of one person or everybody, by when they run out."""
        asked = select(ApiToken).where(valid_token(self._clock.now())).order_by(ApiToken.expires)
        if person is not None:
            asked = asked.where(ApiToken.person == person)
        with self._database() as session:
            return tuple(_json(row) for row in session.scalars(asked))

    def running_out(self) -> tuple[dict[str, Json], ...]:
        """Return whose tokens run out within 30 days."""
        now = self._clock.now()
        asked = (
            select(ApiToken)
            .join(Person, Person.name == ApiToken.person)
            .where(
                valid_token(now),
                ApiToken.expires <= now + RUNS_OUT_SOON,
                ApiToken.expires > now + RENEWED_ENDS,
                Person.removed.is_(None),
            )
            .order_by(ApiToken.expires)
        )
        with self._database() as session:
            return tuple(
                {"person": row.person, "name": row.name, "expires": clocks.text(row.expires)}
                for row in session.scalars(asked)
            )

    def _insert(self, session: Session, person: str, name: str, scope: str, expires: datetime) -> NewToken:
        secret, row = insert_token(session, person, name, scope, self._clock.now(), expires)
        self._record(session, Event.TOKEN_MADE, Action.CREATE, person, person, row.token_id)
        return NewToken(row.token_id, secret, expires)

    def _record(self, session: Session, event: Event, action: Action, by: str, person: str, token_id: str) -> None:
        who, what = (Participant("person", by, True),), (Subject("person", person), Subject("token", token_id))
        self._journal.append(session, Happening(event, action, Outcome.SUCCESS, who, what))


def verified_scope(role: str, scope: Sequence[str]) -> frozenset[str]:
    """Return the permissions that a token may have. Raises ScopeRefused: unknown, not the role's, or never in one."""
    if not scope:
        raise ScopeRefused("nothing", "name what it is for")
    known = {permission.value: permission for permission in Permission}
    for word in scope:
        if word not in known:
            raise ScopeRefused(word, f"there is no such permission; {role} holds {_words(holds(role))}")
        if known[word] in NEVER_IN_A_SCOPE:
            raise ScopeRefused(word, "who holds it could make a token for everything")
        if not (decision := decide(role, known[word])).allowed:
            raise ScopeRefused(word, decision.reason)
    return frozenset(scope)


def _words(permissions: frozenset[Permission]) -> str:
    return ", ".join(sorted(permission.value for permission in permissions - NEVER_IN_A_SCOPE))


def _json(row: ApiToken) -> dict[str, Json]:
    scope = parse_scope(row.scope)
    return {
        "token": row.token_id,
        "person": row.person,
        "name": row.name,
        "scope": None if scope is None else [*sorted(permission.value for permission in scope)],
        "created": clocks.text(row.created),
        "expires": clocks.text(row.expires),
    }
