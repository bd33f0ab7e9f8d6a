"""Allows moves, ends them, and answers for each object and batch whether one allows it now."""

import logging
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.proof import AuditProof
from control_plane.db.models import Host, SpoolMove
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.moving.move import Move, State, allowed_by, state_of
from shared import clock as clocks
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.identity import CONTROL_PLANE, HostId

_LOG = logging.getLogger(__name__)

NOT_AUTHENTIC = "not authentic"
_ID_BYTES = 4


class NoSuchHost(Refused):
    def __init__(self, host_id: HostId, why: str) -> None:
        super().__init__(f"{host_id} {why}")
        self.host_id, self.why = host_id, why


class MoveToItself(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"{host_id} delivers its own images without anybody's word; a move is to another host")
        self.host_id = host_id


class AlreadyAllowed(Refused):
    def __init__(self, move_id: str, until: str) -> None:
        super().__init__(f"move {move_id} allows just this until {until}; end it first to allow it anew")
        self.move_id, self.until = move_id, until


class MoveUnknown(Refused):
    def __init__(self, move_id: str) -> None:
        super().__init__(f"there is no move {move_id}")
        self.move_id = move_id


class MoveOver(Refused):
    def __init__(self, move_id: str) -> None:
        super().__init__(f"move {move_id} is over")
        self.move_id = move_id


class SpoolMoves:
    """A row finds a move, and the signed record of it decides: who writes rows cannot allow anything."""

    def __init__(self, database: sessionmaker[Session], journal: CentreJournal, log: AuditProof, clock: Clock) -> None:
        self._database, self._journal, self._log, self._clock = database, journal, log, clock

    # ---- what people say

    def allow(self, person: str, source: HostId, bearer: HostId, reason: str, life: timedelta) -> Move:
        """Let `bearer` deliver for `source` from now on. The reason is kept in the sealed part of the record only.

        Raises NoSuchHost, MoveToItself, AlreadyAllowed, DatabaseUnavailable.
        """
        now = self._clock.now()
        move, happening = self._drawn_up(person, source, bearer, reason, now + life)
        try:
            in_one_commit(self._database, lambda session: self._keep(session, person, move, now, happening))
        except Refused as exc:
            self._journal.record(failure(happening, Event.MOVE_ALLOWED, exc))
            raise
        return move

    def allow_within(
        self, session: Session, person: str, source: HostId, bearer: HostId, reason: str, life: timedelta
    ) -> None:
        """Do what `allow` does, within `session`. Raises NoSuchHost, MoveToItself, AlreadyAllowed."""
        now = self._clock.now()
        move, happening = self._drawn_up(person, source, bearer, reason, now + life)
        self._keep(session, person, move, now, happening)

    def end(self, person: str, move_id: str) -> None:
        """Take the word back; what came before it stays. Raises MoveUnknown, MoveOver, DatabaseUnavailable."""
        who, what = (Participant("person", person, True),), (Subject("move", move_id),)

        def work(session: Session) -> None:
            row = session.get(SpoolMove, move_id)
            if row is None:
                raise MoveUnknown(move_id)
            if row.ended is not None:
                raise MoveOver(move_id)
            row.ended = self._clock.now()
            self._journal.append(session, Happening(Event.MOVE_ENDED, Action.UPDATE, Outcome.SUCCESS, who, what))

        in_one_commit(self._database, work)

    def status(self) -> list[dict[str, Json]]:
        """Return every move, the newest first, each with the state that its records prove."""
        with snapshot(self._database) as session:
            rows = session.scalars(select(SpoolMove).order_by(SpoolMove.allowed.desc(), SpoolMove.move_id)).all()
            assets = dict(session.execute(select(Host.host_id, Host.asset)).all())
        return [self._shown(row, assets) for row in rows]

    # ---- what the doors ask

    def permitting(self, source: HostId, bearer: HostId) -> Move | None:
        with snapshot(self._database) as session:
            rows = session.scalars(
                select(SpoolMove).where(SpoolMove.source == str(source), SpoolMove.bearer == str(bearer))
            ).all()
        for row in rows:
            if self._state(row) is State.OPEN and (move := self._believed(row)) is not None:
                return move
        return None

    def count(self, session: Session, move: Move, *, objects: int = 0, records: int = 0) -> None:
        still_open = (
            SpoolMove.move_id == move.move_id, SpoolMove.ended.is_(None), SpoolMove.until > self._clock.now()
        )  # fmt: skip
        counted = {"objects": SpoolMove.objects + objects, "records": SpoolMove.records + records}
        done = session.execute(update(SpoolMove).where(*still_open).values(counted))
        if not isinstance(done, CursorResult) or done.rowcount != 1:
            raise MoveOver(move.move_id)

    # ---- row and record

    def _drawn_up(
        self, person: str, source: HostId, bearer: HostId, reason: str, until: datetime
    ) -> tuple[Move, Happening]:
        move = Move(secrets.token_hex(_ID_BYTES), source, bearer, until)
        who, private = (Participant("person", person, True),), {"reason": reason}
        happening = Happening(
            Event.MOVE_ALLOWED, Action.CREATE, Outcome.SUCCESS, who, move.subjects(), private={**private}
        )
        return move, happening

    def _keep(self, session: Session, person: str, move: Move, now: datetime, happening: Happening) -> None:
        self._verify_allowable(session, move)
        session.add(
            SpoolMove(
                move_id=move.move_id, source=str(move.source), bearer=str(move.bearer), allowed_by=person,
                allowed=now, until=move.until, ended=None, objects=0, records=0,
            )
        )  # fmt: skip
        self._journal.append(session, happening)

    def _verify_allowable(self, session: Session, move: Move) -> None:
        if move.source == move.bearer:
            raise MoveToItself(move.source)
        if session.get(Host, str(move.source)) is None:
            raise NoSuchHost(move.source, "was never enrolled here")
        bearer = session.get(Host, str(move.bearer))
        if bearer is None or not bearer.active:
            raise NoSuchHost(move.bearer, "is not an enrolled, active host")
        same = (SpoolMove.source == str(move.source), SpoolMove.bearer == str(move.bearer))
        for row in session.scalars(select(SpoolMove).where(*same)):
            if self._state(row) is State.OPEN:
                raise AlreadyAllowed(row.move_id, clocks.text(row.until))

    def _state(self, row: SpoolMove) -> State:
        return state_of(row.until, row.ended, self._clock.now())

    def _proved(self, row: SpoolMove) -> Move | None:
        """Return what the row says once a signed record of ours says the same, None where there is no such record."""
        claimed = Move(row.move_id, HostId.parse(row.source), HostId.parse(row.bearer), row.until)
        allowed = self._log.about(claimed.subject, Event.MOVE_ALLOWED, CONTROL_PLANE)
        return claimed if claimed in map(allowed_by, allowed) else None

    def _believed(self, row: SpoolMove) -> Move | None:
        """Return what the row says where that is proved.

        A proof that fails is a fault of this log and not of what is brought: it is nobody's word, and hides no other.
        """
        try:
            return self._proved(row)
        except (Refused, IntegrityFailure) as exc:
            _LOG.error("move.not-proved", extra={"move": row.move_id, "why": str(exc)})
            return None

    def _shown(self, row: SpoolMove, assets: dict[str, str]) -> dict[str, Json]:
        state: str = self._state(row)
        if state == State.OPEN and self._believed(row) is None:
            state = NOT_AUTHENTIC
        return {
            "move": row.move_id,
            "from": row.source,
            "from_asset": assets.get(row.source, ""),
            "to": row.bearer,
            "to_asset": assets.get(row.bearer, ""),
            "allowed_by": row.allowed_by,
            "allowed": clocks.text(row.allowed),
            "until": clocks.text(row.until),
            "ended": clocks.text(row.ended) if row.ended else None,
            "state": state,
            "objects": row.objects,
            "records": row.records,
        }


def gaps(moves: list[dict[str, Json]]) -> Iterator[str]:
    """Say what a move leaves unproved, in words a person can act on."""
    for move in moves:
        about = f"move {move['move']} from {move['from_asset']} to {move['to_asset']}"
        if move["state"] == State.OPEN:
            yield (
                f"{about}: open until {move['until']}, {move['objects']} objects so far; whether more are to come, "
                "only the new host knows"
            )
        elif move["state"] == NOT_AUTHENTIC:
            yield f"{about}: the log does not say that anybody allowed it, so it allows nothing"
