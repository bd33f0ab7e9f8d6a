"""Takes rows of signing in away that open nothing any more, so that a table does not grow for ever.

The audit log keeps what happened. A session's row tells for half a year in which browser somebody was signed in.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, or_
from sqlalchemy.orm import Session

from control_plane.db.models import PersonSession, SignInLink, SignInStep
from control_plane.people.signing_in import BROWSER_LIFE

_LINKS_KEPT = timedelta(days=1)


def purge(session: Session, now: datetime) -> None:
    over = or_(PersonSession.ended.is_not(None), PersonSession.expires <= now)
    session.execute(delete(PersonSession).where(PersonSession.began <= now - BROWSER_LIFE, over))
    session.execute(delete(SignInLink).where(SignInLink.expires <= now - _LINKS_KEPT))
    session.execute(delete(SignInStep).where(SignInStep.expires <= now))
