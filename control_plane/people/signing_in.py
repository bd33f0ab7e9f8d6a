"""Signs people in: by a one-time link, or by name, password and second factor, which are judged together at the end."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import PasswordRow, Person, PersonSession, SecondFactor, SignInStep
from control_plane.db.transactions import in_one_commit
from control_plane.keys.store import KeyStore
from control_plane.people import factor_rows
from control_plane.people.accounts import (
    ALL,
    CREDENTIAL,
    CREDENTIAL_LIFE,
    NewSession,
    SignedIn,
    begin_session,
    insert_link,
    insert_token,
    open_link,
)
from control_plane.people.attempts import Attempts, NotProved, Wrong
from control_plane.people.passwords import MAX_CHARS, Asker, Passwords
from control_plane.people.secret_text import digest
from control_plane.people.security_keys import CHALLENGE_BYTES, KeyPresented, KeyRefused, SecurityKeys
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock

T = TypeVar("T")
BROWSER_LIFE = timedelta(days=180)
_MAX_NAME_CHARS = 80


@dataclass(frozen=True)
class Step:
    """The first step of a sign-in. It says the same of a right password, a wrong one, and a person who is not there."""

    secret: str
    key_options: str


@dataclass(frozen=True)
class Shown:
    """A second factor as it was shown: a code of a generator or a recovery code, or what a security key answered."""

    code: str = ""
    key: str = ""


class SigningIn:
    def __init__(
        self,
        database: sessionmaker[Session],
        journal: CentreJournal,
        keys: KeyStore,
        passwords: Passwords,
        security_keys: SecurityKeys,
        clock: Clock,
    ) -> None:
        self._database, self._journal, self._keys = database, journal, keys
        self._passwords, self._security_keys, self._clock = passwords, security_keys, clock
        self._attempts = Attempts(database, journal, clock)

    def new_link(self, person: SignedIn) -> str:
        """Return the secret of a link that signs `person` in once. It and its session end with their token."""

        def make(session: Session) -> str:
            secret = insert_link(session, person.name, self._clock.now(), person.token_id or None)
            who = (Participant("person", person.name, True),)
            self._journal.append(session, Happening(Event.LINK_MADE, Action.CREATE, Outcome.SUCCESS, who))
            return secret

        return in_one_commit(self._database, make)

    def by_link(self, secret: str) -> NewSession:
        """Raises NotSignedIn: unknown, used or expired."""

        def use(session: Session) -> NewSession:
            return self._signed_in(session, open_link(session, secret, self._clock.now()), "link")

        return in_one_commit(self._database, use)

    def begin(self, name: str, password: str, address: str, browser: str = "") -> Step:
        """Take name and password. Whether they are right is said with the second factor, and by nothing before.

        Raises TooManyFailures: it is too early for another attempt, and the password is not looked at; PasswordsBusy.
        """
        challenge, name = secrets.token_bytes(CHALLENGE_BYTES), _as_name(name)
        known = self._known(name, browser)
        self._attempts.verify_in_time(name, known or address)
        right = self._is_password(name, password, Asker.KNOWN if known else Asker.STRANGER)
        secret = in_one_commit(
            self._database,
            lambda session: factor_rows.insert_step(
                session, name, factor_rows.SIGN_IN, challenge, self._clock.now(), password_right=right
            ),
        )
        return Step(secret, self._security_keys.to_present(challenge))

    def finish(self, step: str, shown: Shown, address: str, browser: str = "") -> NewSession:
        """Return a session. Raises NotProved, TooManyFailures. A step serves one attempt.

        `browser`: the secret of a session that this browser had before, if any. Its failures are counted by themselves,
        so that nobody else's, at the same address, keep its person out.
        """
        taken = in_one_commit(
            self._database,
            lambda session: factor_rows.take_step(session, step, factor_rows.SIGN_IN, self._clock.now()),
        )

        def judge(session: Session) -> NewSession:
            if taken is None:
                raise NotProved(Wrong.STEP)
            person, how = self._judge(session, taken.person, shown, taken, password_right=taken.password_right)
            return self._signed_in(session, begin_session(session, person, how, self._clock.now()), how)

        if taken is None:
            return self._attempts.judged("", address, judge)
        return self._attempts.judged(taken.person, self._known(taken.person, browser) or address, judge)

    def new_credential_token(self, name: str, password: str, code: str, address: str) -> str:
        """Return a token for a person's credential, for whoever has none that is good.

        Raises NotProved, TooManyFailures, PasswordsBusy.
        """

        def give(session: Session, person: Person, how: str) -> str:
            now = self._clock.now()
            token, row = insert_token(session, person.name, CREDENTIAL, ALL, now, now + CREDENTIAL_LIFE)
            who = (Participant("person", person.name, True),)
            what = (Subject("token", row.token_id),)
            self._journal.append(session, Happening(Event.SIGNED_IN, Action.EXECUTE, Outcome.SUCCESS, who, (), how))
            self._journal.append(session, Happening(Event.TOKEN_MADE, Action.CREATE, Outcome.SUCCESS, who, what))
            return token

        return self.judged_at_once(name, password, code, address, give)

    def judged_at_once(
        self, name: str, password: str, code: str, address: str, then: Callable[[Session, Person, str], T]
    ) -> T:
        """Return what `then` gives to whoever showed name, password and second factor, in the commit that judges them.

        Counted before the password is looked at: that is what costs memory and time.

        Raises NotProved, TooManyFailures, PasswordsBusy.
        """
        name = _as_name(name)
        before = self._attempts.count(name, address)
        right = self._is_password(name, password, Asker.STRANGER)

        def judge(session: Session) -> T:
            return then(session, *self._judge(session, name, Shown(code=code), None, password_right=right))

        return self._attempts.judged_after(name, address, before, judge)

    def _judge(
        self, session: Session, name: str, shown: Shown, step: SignInStep | None, *, password_right: bool
    ) -> tuple[Person, str]:
        person = session.get(Person, name)
        if person is None or person.removed is not None:
            raise NotProved(Wrong.PERSON)
        # Also after a wrong password, so that time says nothing of it; what it used up is taken back with the commit.
        how = self._factor_shown(session, name, shown, step)
        if not password_right:
            raise NotProved(Wrong.PASSWORD)
        if how is None:
            any_set_up = select(SecondFactor.person).where(
                SecondFactor.person == name, SecondFactor.confirmed.is_not(None)
            )
            raise NotProved(Wrong.NO_FACTOR if session.scalar(any_set_up.limit(1)) is None else Wrong.FACTOR)
        return person, how

    def _factor_shown(self, session: Session, name: str, shown: Shown, step: SignInStep | None) -> str | None:
        """Return what was shown that is right, and have it not be right again."""
        now = self._clock.now()
        if shown.key and step is not None:
            return factor_rows.WEBAUTHN if self._accepts_key(session, name, shown.key, step.challenge) else None
        code = "".join(shown.code.split())
        for row in factor_rows.confirmed(session, name, factor_rows.TOTP):
            if factor_rows.accepts_totp(session, self._keys, row, code, now):
                return factor_rows.TOTP
        return factor_rows.RECOVERY if factor_rows.accepts_recovery_code(session, name, code, now) else None

    def _accepts_key(self, session: Session, name: str, presented: str, challenge: bytes) -> bool:
        for row in factor_rows.confirmed(session, name, factor_rows.WEBAUTHN):
            key = KeyPresented(row.credential_id or b"", row.public_key or b"", row.sign_count)
            try:
                row.sign_count = self._security_keys.verify(presented, challenge, key)
            except KeyRefused:
                continue
            return True
        return False

    def _known(self, person: str, browser: str) -> str:
        """Return what a browser is known by in which this person was signed in lately; empty: it is not."""
        lately = self._clock.now() - BROWSER_LIFE
        had = select(PersonSession.session_id).where(
            PersonSession.secret_sha256 == digest(browser), PersonSession.person == person, PersonSession.began > lately
        )
        with self._database() as session:
            found = session.scalar(had)
        return "" if found is None else f"browser {found}"

    def _is_password(self, name: str, password: str, asker: Asker) -> bool:
        """Return whether it is; make its hash anew where our parameters rose since."""
        with self._database() as session:
            row = session.get(PasswordRow, name)
        right = self._passwords.is_right(password[: MAX_CHARS + 1], None if row is None else row.argon2, asker)
        if right and row is not None and self._passwords.is_outdated(row.argon2):
            again, same = self._passwords.hash(password), (PasswordRow.person == name, PasswordRow.argon2 == row.argon2)
            # Whoever changed or reset it meanwhile is not overruled.
            with self._database.begin() as session:
                session.execute(update(PasswordRow).where(*same).values(argon2=again))
        return right

    def _signed_in(self, session: Session, begun: NewSession, how: str) -> NewSession:
        who, what = (Participant("person", begun.person.name, True),), (Subject("session", begun.person.session_id),)
        self._journal.append(session, Happening(Event.SIGNED_IN, Action.EXECUTE, Outcome.SUCCESS, who, what, how))
        return begun


def _as_name(typed: str) -> str:
    """Return what was typed as a database can be asked for it; what no name has in it makes it nobody's."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in typed[:_MAX_NAME_CHARS])
