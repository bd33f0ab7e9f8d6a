"""Who has an account and in which role. Whatever is changed of somebody ends what opened the door for them."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.models import PasswordRow, Person, ProviderBinding, RecoveryCode, SecondFactor
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.code_service import cancel_those_of
from control_plane.people.accounts import (
    ALL,
    CREDENTIAL,
    CREDENTIAL_LIFE,
    end_everything,
    insert,
    insert_token,
)
from control_plane.people.decide import ADMINISTRATOR, Permission, decide
from control_plane.people.ways_in import given_lately
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused

T = TypeVar("T")
_ALONE = "by the only administrator, alone"


class PersonUnknown(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"nobody named {name} has an account here")
        self.name = name


class RemovesThemselves(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} cannot remove their own account, so that somebody is always left; ask another person")
        self.name = name


class ChangesThemselves(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} cannot change their own role or reset themselves, so that somebody is always left; "
            "ask another person"
        )
        self.name = name


class TakesTwo(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"there are two administrators or more, so it takes two to make {name} another one: give {name} another "
            "role first; once they have a password and a second factor, `leadglass-server person propose "
            f"'{name}' --reason …`, which another administrator approves"
        )
        self.name = name


class NotForThemselves(Refused):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"you cannot vouch for {name}: {why}")
        self.name, self.why = name, why


class People:
    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, clock: Clock) -> None:
        self._database, self._journal, self._clock = database, journal, clock

    def add(self, name: str, role: str, by: str) -> str:
        """Return the new person's token, which is shown this once. Raises PersonExists, NameOfAService, TakesTwo."""

        def add(session: Session) -> str:
            reason = _may_alone(session, name, role)
            token = insert(session, name, role, self._clock.now())
            self._record(session, Event.PERSON_ADDED, Action.CREATE, by, name, Subject("role", role), reason=reason)
            return token

        return in_one_commit(self._database, add)

    def remove(self, name: str, by: str) -> None:
        """Have nothing of the person's open anything any more. The name stays taken: records use it.

        Raises PersonUnknown, RemovesThemselves.
        """
        if name == by:
            raise RemovesThemselves(name)

        def remove(session: Session) -> None:
            person = _present(session, name)
            person.removed = self._clock.now()
            self._forget_proofs(session, name)
            cancel_those_of(session, self._journal, name, by, self._clock.now())
            self._record(session, Event.PERSON_REMOVED, Action.DELETE, by, name)

        in_one_commit(self._database, remove)

    def change_role(self, name: str, role: str, by: str) -> str:
        """Return a token for their credential: what they had is ended.

        Raises PersonUnknown, ChangesThemselves, TakesTwo.
        """

        def change(session: Session) -> str:
            person, reason = _present(session, name), _may_alone(session, name, role)
            before, person.role = person.role, role
            end_everything(session, name, self._clock.now())
            if not decide(role, Permission.CODE_ISSUE).allowed:
                cancel_those_of(session, self._journal, name, by, self._clock.now())
            what = (Subject("role", role), Subject("before", before))
            self._record(session, Event.PERSON_CHANGED, Action.UPDATE, by, name, *what, reason=reason)
            return self._new_token(session, name, by)

        return self._of_another(name, by, change)

    def reset(self, name: str, by: str) -> str:
        """Take password, second factors and recovery codes from whoever lost theirs, and return a token for them.

        Raises PersonUnknown, ChangesThemselves.
        """

        def reset(session: Session) -> str:
            _present(session, name)
            self._forget_proofs(session, name)
            self._record(session, Event.FACTOR_REMOVED, Action.DELETE, by, name, Subject("factor", "all"))
            return self._new_token(session, name, by)

        return self._of_another(name, by, reset)

    def vouch(self, name: str, by: str) -> None:
        """Say that somebody who was given a way in lately is a person of their own, so that they count as one at once.

        Raises PersonUnknown, NotForThemselves.
        """

        def vouch(session: Session) -> None:
            _present(session, name)
            now = self._clock.now()
            way, own = given_lately(session, name, now), given_lately(session, by, now)
            if name == by:
                raise NotForThemselves(name, "that is you")
            if way is None:
                raise NotForThemselves(name, f"nobody gave {name} a way in lately, so it is not needed")
            if way.given_by == by:
                raise NotForThemselves(name, "you gave them their way in; it takes another administrator")
            if own is not None:
                raise NotForThemselves(name, f"{own}, so you do not count as another person yourself yet")
            self._record(session, Event.PERSON_VOUCHED, Action.UPDATE, by, name)

        in_one_commit(self._database, vouch)

    def listed(self) -> tuple[dict[str, Json], ...]:
        """Return everybody, also who was removed, by name; what they prove themselves with, and no secret of it."""
        with self._database() as session:
            return tuple(_json(session, person) for person in session.scalars(select(Person).order_by(Person.name)))

    def shown(self, name: str) -> dict[str, Json]:
        """Raises PersonUnknown."""
        with self._database() as session:
            return _json(session, _present(session, name))

    def _of_another(self, name: str, by: str, act: Callable[[Session], T]) -> T:
        if name == by:
            raise ChangesThemselves(name)
        return in_one_commit(self._database, act)

    def _forget_proofs(self, session: Session, name: str) -> None:
        for table in (PasswordRow, SecondFactor, RecoveryCode, ProviderBinding):
            session.execute(delete(table).where(table.person == name))
        end_everything(session, name, self._clock.now())

    def _new_token(self, session: Session, name: str, by: str) -> str:
        now = self._clock.now()
        token, row = insert_token(session, name, CREDENTIAL, ALL, now, now + CREDENTIAL_LIFE)
        self._record(session, Event.TOKEN_MADE, Action.CREATE, by, name, Subject("token", row.token_id))
        return token

    def _record(
        self, session: Session, event: Event, action: Action, by: str, name: str, *what: Subject, reason: str = ""
    ) -> None:
        who, about = (Participant("person", by, True),), (Subject("person", name), *what)
        self._journal.append(session, Happening(event, action, Outcome.SUCCESS, who, about, reason))


def _may_alone(session: Session, name: str, role: str) -> str:
    """Return what the record is to say of one person alone giving `role`; empty: it takes no more. Raises TakesTwo."""
    if role != ADMINISTRATOR:
        return ""
    administrators = select(func.count()).where(Person.role == ADMINISTRATOR, Person.removed.is_(None))
    if (session.scalar(administrators) or 0) > 1:
        raise TakesTwo(name)
    return _ALONE


def _present(session: Session, name: str) -> Person:
    person = session.get(Person, name)
    if person is None or person.removed is not None:
        raise PersonUnknown(name)
    return person


def _json(session: Session, person: Person) -> dict[str, Json]:
    factors = session.scalars(
        select(SecondFactor)
        .where(SecondFactor.person == person.name, SecondFactor.confirmed.is_not(None))
        .order_by(SecondFactor.created)
    )
    codes = select(func.count()).where(RecoveryCode.person == person.name, RecoveryCode.used.is_(None))
    return {
        "name": person.name,
        "role": person.role,
        "created": clocks.text(person.created),
        "removed": None if person.removed is None else clocks.text(person.removed),
        "password": session.get(PasswordRow, person.name) is not None,
        "second_factors": [
            {"factor": one.factor_id, "kind": one.kind, "name": one.name, "added": clocks.text(one.created)}
            for one in factors
        ],
        "recovery_codes_left": session.scalar(codes) or 0,
    }
