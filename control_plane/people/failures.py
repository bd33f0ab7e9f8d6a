"""How often sign-ins failed, in the database: a restart gives nobody more guesses."""

from datetime import datetime
from hashlib import sha256

from sqlalchemy import delete
from sqlalchemy.orm import Session

from control_plane.db.models import SignInFailures
from control_plane.http.limits import TooManyFailures
from control_plane.people.delay import FORGOTTEN_AFTER, OF_AN_ACCOUNT, OF_AN_ADDRESS, wait

_ANYBODY = b""


def count_attempt(session: Session, name: str, address: str, now: datetime) -> datetime | None:
    """Count an attempt as a failure before it is judged, so that many at once are no way round.

    Return when the last one from this address was, for `forget`.

    Raises TooManyFailures: it is too early for another; then nothing was counted.
    """
    session.execute(delete(SignInFailures).where(SignInFailures.last <= now - FORGOTTEN_AFTER))
    rows = verify_in_time(session, name, address, now)
    before = rows[-1].last if rows[-1].count else None
    for row in rows:
        row.count, row.last = row.count + 1, now
        session.add(row)
    return before


def verify_in_time(session: Session, name: str, address: str, now: datetime) -> list[SignInFailures]:
    """Return what is known of this account from this address, and of anybody from there, new where nothing is.

    Raises TooManyFailures.
    """
    rows: list[SignInFailures] = []
    for account, patience in ((_account(name), OF_AN_ACCOUNT), (_ANYBODY, OF_AN_ADDRESS)):
        row = session.get(SignInFailures, (account, address), with_for_update=True)
        if row is None:
            row = SignInFailures(account=account, address=address, count=0, last=now)
        elif (left := wait(patience, row.count, row.last, now)).total_seconds() > 0:
            raise TooManyFailures(int(left.total_seconds()) + 1)
        rows.append(row)
    return rows


def forget(session: Session, name: str, address: str, before: datetime | None) -> None:
    """Take back what was counted for an attempt that was right, and what failed for this account before it."""
    session.execute(
        delete(SignInFailures).where(SignInFailures.account == _account(name), SignInFailures.address == address)
    )
    if row := session.get(SignInFailures, (_ANYBODY, address), with_for_update=True):
        row.count, row.last = max(0, row.count - 1), before or row.last


def _account(name: str) -> bytes:
    # What was typed as a name may be a password; a short digest tells accounts apart and gives little of it away.
    return sha256(b"leadglass sign-in account v1\x00" + name.encode(errors="replace")).digest()[:8]
