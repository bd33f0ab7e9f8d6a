"""Incident holds: while an incident is looked into, no drive of the host is wiped. One person places, two lift."""

import secrets
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Host, IncidentHoldRow
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.people.two_persons import Journal, Request
from shared import clock as clocks
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Refused
from shared.identity import HostId

LIFT_HOLD = "lift-incident-hold"
_ID_BYTES = 4


class HostHeld(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(
            f"{host_id} is held for an incident, so no drive of it is wiped until two persons lift that "
            "(`leadglass-server wipe lift`), or by an order with `--override incident-hold`, which two persons sign"
        )
        self.host_id = host_id


class NoSuchHost(Refused):
    def __init__(self, host_id: str) -> None:
        super().__init__(f"{host_id} was never enrolled here")
        self.host_id = host_id


class HeldAlready(Refused):
    def __init__(self, host_id: str) -> None:
        super().__init__(f"{host_id} is held already")
        self.host_id = host_id


class NotHeld(Refused):
    def __init__(self, host_id: str) -> None:
        super().__init__(f"{host_id} is not held for an incident")
        self.host_id = host_id


def is_held(session: Session, host_id: HostId) -> bool:
    return _standing(session, str(host_id)) is not None


class Holds:
    """`hint` tells a host that there is something to ask for."""

    def __init__(
        self, database: sessionmaker[Session], journal: Journal, clock: Clock, hint: Callable[[HostId], None]
    ) -> None:
        self._database, self._journal, self._clock, self._hint = database, journal, clock, hint

    def place(self, person: str, host_id: HostId, reason: str) -> None:
        """Hold a host, whatever its standing: evidence may lie on one that was revoked.

        Raises NoSuchHost, HeldAlready.
        """
        name = str(host_id)
        who, what = (Participant("person", person, True),), (Subject("host", name),)
        happening = Happening(
            Event.HOLD_PLACED, Action.CREATE, Outcome.SUCCESS, who, what, private={"reason": reason}
        )  # fmt: skip

        def work(session: Session) -> None:
            if session.get(Host, name) is None:
                raise NoSuchHost(name)
            if _standing(session, name) is not None:
                raise HeldAlready(name)
            session.add(
                IncidentHoldRow(
                    hold_id=secrets.token_hex(_ID_BYTES), host_id=name, placed=self._clock.now(), placed_by=person
                )
            )
            self._journal.append(session, happening)

        try:
            in_one_commit(self._database, work)
        except Refused as exc:
            self._journal.record(failure(happening, Event.HOLD_PLACED, exc))
            raise
        self._hint(host_id)

    def status(self) -> list[dict[str, Json]]:
        """Return every hold that stands."""
        standing = (
            select(IncidentHoldRow, Host.asset)
            .join(Host, Host.host_id == IncidentHoldRow.host_id)
            .where(IncidentHoldRow.lifted.is_(None))
            .order_by(IncidentHoldRow.placed)
        )
        with snapshot(self._database) as session:
            return [
                {"host": row.host_id, "asset": asset, "placed": clocks.text(row.placed), "placed_by": row.placed_by}
                for row, asset in session.execute(standing)
            ]


class LiftingHold:
    """What two persons do together."""

    action, kind = LIFT_HOLD, "host"

    def __init__(self, journal: Journal, clock: Clock, hint: Callable[[HostId], None]) -> None:
        self._journal, self._clock, self._hint = journal, clock, hint

    def verify(self, session: Session, subject: str) -> None:
        """Raises NotHeld."""
        if _standing(session, subject) is None:
            raise NotHeld(subject)

    def perform(self, session: Session, request: Request, approver: str) -> None:
        """Raises NotHeld."""
        row = _standing(session, request.subject)
        if row is None:
            raise NotHeld(request.subject)
        row.lifted = self._clock.now()
        who = (Participant("person", approver, True), Participant("person", request.asked_by, False))
        what = (Subject("host", row.host_id),)
        private: dict[str, Json] = {"reason": request.reason}
        self._journal.append(
            session, Happening(Event.HOLD_LIFTED, Action.UPDATE, Outcome.SUCCESS, who, what, private=private)
        )

    def afterwards(self, subject: str) -> None:
        self._hint(HostId.parse(subject))


def _standing(session: Session, host_id: str) -> IncidentHoldRow | None:
    stands = select(IncidentHoldRow).where(IncidentHoldRow.host_id == host_id, IncidentHoldRow.lifted.is_(None))
    return session.scalars(stands).first()
