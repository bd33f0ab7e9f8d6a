"""Which checkpoint witnesses are shown: the same one for a while, so that many cosign it and not each another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import LogCosignature, LogRound
from control_plane.db.transactions import DatabaseUnavailable, in_one_commit, snapshot
from control_plane.tlog import rows
from shared.clock import Clock

EVERY_S = 600
_KEPT = 36
"""Rounds, six hours of them: what a witness cosigned last is kept for good beside its name."""


@dataclass(frozen=True)
class Shown:
    """`note` is a checkpoint as the log signed it."""

    note: str
    begun: datetime


class Rounds:
    """Safe for several threads and several processes on one database."""

    def __init__(self, database: sessionmaker[Session], clock: Clock, every_s: float = EVERY_S) -> None:
        self._database, self._clock, self._every = database, clock, timedelta(seconds=every_s)

    def current(self) -> Shown:
        """Return the checkpoint that witnesses are shown now, a newer one where its time is over.

        Raises LogAltered, DatabaseUnavailable.
        """
        with snapshot(self._database) as session:
            held = newest(session)
            if held is not None and not self._is_over(held):
                return Shown(held.note, held.begun)
        return in_one_commit(self._database, self._begin)

    def _begin(self, session: Session) -> Shown:
        held, (size, _, checkpoint) = newest(session), rows.head(session)
        if held is not None and not self._is_over(held):
            return Shown(held.note, held.begun)  # another worker was first
        if not checkpoint:
            raise DatabaseUnavailable("the Merkle log has no checkpoint yet")
        shown = Shown(checkpoint, self._clock.now())
        # A clock that was put back must not have an older head shown again once it is there.
        session.execute(delete(LogRound).where(LogRound.begun > shown.begun))
        session.merge(LogRound(size=size, note=shown.note, begun=shown.begun))
        session.flush()
        _forget(session)
        return shown

    def _is_over(self, held: LogRound) -> bool:
        return not timedelta() <= self._clock.now() - held.begun < self._every


def newest(session: Session) -> LogRound | None:
    return session.scalars(select(LogRound).order_by(LogRound.begun.desc(), LogRound.size.desc()).limit(1)).first()


def kept(session: Session) -> Sequence[LogRound]:
    """Return the rounds that are kept, the newest first."""
    return session.scalars(select(LogRound).order_by(LogRound.begun.desc(), LogRound.size.desc())).all()


def _forget(session: Session) -> None:
    old = session.scalars(select(LogRound.size).order_by(LogRound.begun.desc()).offset(_KEPT)).all()
    if old:
        session.execute(delete(LogCosignature).where(LogCosignature.size.in_(old)))
        session.execute(delete(LogRound).where(LogRound.size.in_(old)))
