"""What people prove themselves with beside their tokens: a password, second factors, recovery codes.

Whoever changes one shows the password too. What else opened the door for them is then ended, but for what is in hand.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import PasswordRow, RecoveryCode, SecondFactor
from control_plane.db.transactions import in_one_commit
from control_plane.keys.store import KeyStore
from control_plane.people import factor_rows, totp
from control_plane.people.accounts import SignedIn, end_everything, verify_still_in
from control_plane.people.attempts import Attempts, NotProved, Wrong
from control_plane.people.passwords import Asker, Passwords, verify_fit
from control_plane.people.secret_text import new_id
from control_plane.people.security_keys import KeyPresented, SecurityKeys
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import Refused

T = TypeVar("T")
MAX_FACTORS = 10


class PasswordMissing(Refused):
    def __init__(self) -> None:
        super().__init__("set a password first: leadglass-server person password --as CREDENTIAL")


class FactorUnknown(Refused):
    def __init__(self, factor_id: str) -> None:
        super().__init__(f"you have no second factor {factor_id}")
        self.factor_id = factor_id


class TooManyFactors(Refused):
    def __init__(self) -> None:
        super().__init__(f"nobody has more than {MAX_FACTORS} second factors; remove one")


@dataclass(frozen=True)
class TotpOffer:
    """A generator that counts once a code of it was shown. `uri` holds its secret."""

    factor_id: str
    uri: str


@dataclass(frozen=True)
class FactorAdded:
    """A factor that counts from now on, with the recovery codes if these are the first: shown this once."""

    factor_id: str
    recovery_codes: tuple[str, ...]


class Factors:
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

    def set_password(self, person: SignedIn, current: str, new: str, address: str) -> None:
        """Raises NotProved: there is a password, and `current` is another; PasswordUnfit, TooManyFailures."""
        verify_fit(new, person.name)
        hashed = self._passwords.hash(new)

        def set_it(session: Session) -> None:
            session.merge(PasswordRow(person=person.name, argon2=hashed, changed=self._clock.now()))
            self._changed(session, person, Event.PASSWORD_SET, Action.UPDATE)

        self._proved(person, current, address, set_it, first_password=True)

    def offer_totp(self, person: SignedIn, password: str, name: str, address: str) -> TotpOffer:
        """Raises PasswordMissing, NotProved, TooManyFactors, TooManyFailures."""
        factor_id, seed = new_id(), secrets.token_bytes(totp.SEED_BYTES)
        sealed = self._keys.seal(factor_rows.seed_name(factor_id), seed)

        def offer(session: Session) -> None:
            self._verify_room(session, person.name)
            session.add(
                SecondFactor(
                    factor_id=factor_id, person=person.name, kind=factor_rows.TOTP, name=name,
                    created=self._clock.now(), sealed_seed=sealed, last_step=0, sign_count=0,
                )
            )  # fmt: skip

        self._proved(person, password, address, offer)
        return TotpOffer(factor_id, totp.provisioning_uri(seed, person.name))

    def confirm_totp(self, person: SignedIn, factor_id: str, code: str, address: str) -> FactorAdded:
        """Have a generator count, now that a code of it was shown. Raises FactorUnknown, NotProved, TooManyFailures."""
        return self._attempts.judged(
            person.name, address, lambda session: self._confirm(session, person, factor_id, code)
        )

    def offer_key(self, person: SignedIn, password: str, address: str) -> tuple[str, str]:
        """Return the secret of a step, and what the browser asks a security key for.

        Raises PasswordMissing, NotProved, TooManyFactors, TooManyFailures.
        """

        def offer(session: Session) -> tuple[str, str]:
            self._verify_room(session, person.name)
            known = session.scalars(select(SecondFactor.credential_id).where(SecondFactor.person == person.name)).all()
            options, challenge = self._security_keys.to_register(person.name, [one for one in known if one])
            now = self._clock.now()
            return factor_rows.insert_step(
                session, person.name, factor_rows.REGISTER, challenge, now, password_right=True
            ), options

        return self._proved(person, password, address, offer)

    def add_key(self, person: SignedIn, step: str, name: str, presented: str) -> FactorAdded:
        """Raises NotProved: the step is over or another person's; KeyRefused."""

        def add(session: Session) -> FactorAdded:
            now = self._clock.now()
            row = factor_rows.take_step(session, step, factor_rows.REGISTER, now)
            if row is None or row.person != person.name:
                raise NotProved(Wrong.STEP)
            key: KeyPresented = self._security_keys.registered(presented, row.challenge)
            factor_id = new_id()
            session.add(
                SecondFactor(
                    factor_id=factor_id, person=person.name, kind=factor_rows.WEBAUTHN, name=name, created=now,
                    confirmed=now, last_step=0, credential_id=key.credential_id, public_key=key.public_key,
                    sign_count=key.sign_count,
                )
            )  # fmt: skip
            return self._added(session, person, factor_id, factor_rows.WEBAUTHN)

        return in_one_commit(self._database, add)

    def remove(self, person: SignedIn, factor_id: str, password: str, address: str) -> None:
        """Raises FactorUnknown, PasswordMissing, NotProved, TooManyFailures."""

        def remove(session: Session) -> None:
            row = session.get(SecondFactor, factor_id)
            if row is None or row.person != person.name:
                raise FactorUnknown(factor_id)
            session.delete(row)
            self._changed(session, person, Event.FACTOR_REMOVED, Action.DELETE, Subject("factor", factor_id))

        self._proved(person, password, address, remove)

    def renew_recovery_codes(self, person: SignedIn, password: str, address: str) -> tuple[str, ...]:
        """Return ten new ones; those of before are void. Raises PasswordMissing, NotProved, TooManyFailures."""

        def renew(session: Session) -> tuple[str, ...]:
            codes = factor_rows.replace_recovery_codes(session, person.name)
            self._changed(session, person, Event.FACTOR_ADDED, Action.UPDATE, Subject("factor", "recovery-codes"))
            return codes

        return self._proved(person, password, address, renew)

    def _confirm(self, session: Session, person: SignedIn, factor_id: str, code: str) -> FactorAdded:
        row, now = session.get(SecondFactor, factor_id), self._clock.now()
        if row is None or row.person != person.name or row.confirmed is not None or row.sealed_seed is None:
            raise FactorUnknown(factor_id)
        if not factor_rows.accepts_totp(session, self._keys, row, code, now):
            raise NotProved(Wrong.FACTOR)
        row.confirmed = now
        return self._added(session, person, factor_id, factor_rows.TOTP)

    def _added(self, session: Session, person: SignedIn, factor_id: str, kind: str) -> FactorAdded:
        session.flush()
        held = session.scalar(select(RecoveryCode.person).where(RecoveryCode.person == person.name).limit(1))
        codes = factor_rows.replace_recovery_codes(session, person.name) if held is None else ()
        what = (Subject("factor", factor_id), Subject("kind", kind))
        self._changed(session, person, Event.FACTOR_ADDED, Action.CREATE, *what)
        return FactorAdded(factor_id, codes)

    def _verify_room(self, session: Session, person: str) -> None:
        # Generators that nobody confirmed do not count against the bound; a new offer takes their place.
        session.execute(delete(SecondFactor).where(SecondFactor.person == person, SecondFactor.confirmed.is_(None)))
        if (
            len(session.scalars(select(SecondFactor.factor_id).where(SecondFactor.person == person)).all())
            >= MAX_FACTORS
        ):
            raise TooManyFactors

    def _changed(self, session: Session, person: SignedIn, event: Event, action: Action, *what: Subject) -> None:
        now = self._clock.now()
        verify_still_in(session, person, now)
        end_everything(session, person.name, now, keep=person)
        who = (Participant("person", person.name, True),)
        about = (Subject("person", person.name), *what)
        self._journal.append(session, Happening(event, action, Outcome.SUCCESS, who, about))

    def _proved(
        self,
        person: SignedIn,
        password: str,
        address: str,
        act: Callable[[Session], T],
        *,
        first_password: bool = False,
    ) -> T:
        """Do `act` once the password was shown. Without one there is nothing to do but set the first."""
        with self._database() as session:
            row = session.get(PasswordRow, person.name)
        if row is None:
            if not first_password:
                raise PasswordMissing
            return in_one_commit(self._database, act)
        before = self._attempts.count(person.name, address)
        right = self._passwords.is_right(password, row.argon2, Asker.KNOWN)

        def judge(session: Session) -> T:
            if not right:
                raise NotProved(Wrong.PASSWORD)
            return act(session)

        return self._attempts.judged_after(person.name, address, before, judge)
