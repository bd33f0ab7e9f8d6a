"""One-time enrolment codes: issued by a named person, used once, stored as a digest."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import EnrolmentCodeRow
from shared.clock import Clock
from shared.enrolment.code import SECRET_BYTES, EnrolmentCode, secret_digest
from shared.errors import Refused
from shared.identity import HostId

DEFAULT_LIFE = timedelta(hours=24)
LONGEST_LIFE = timedelta(days=30)


class CodeRefused(Refused):
    """One wording for a wrong, used and expired code: a guesser learns nothing."""

    def __init__(self) -> None:
        super().__init__("this enrolment code is not valid: it is wrong, was used already, or has expired")


@dataclass(frozen=True)
class IssuedCode:
    code: EnrolmentCode
    expires: datetime


class Issuer(Protocol):
    """`issue` with the centre's own parts given already."""

    def __call__(self, *, asset: str, person: str, life: timedelta) -> IssuedCode: ...


def issue(
    database: sessionmaker[Session], clock: Clock, ca_sha256: bytes, *, asset: str, person: str, life: timedelta
) -> IssuedCode:
    code = EnrolmentCode(secrets.token_bytes(SECRET_BYTES), ca_sha256)
    expires = clock.now() + min(life, LONGEST_LIFE)
    with database.begin() as session:
        session.add(
            EnrolmentCodeRow(secret_sha256=secret_digest(code.secret), asset=asset, issued_by=person, expires=expires)
        )
    return IssuedCode(code, expires)


def consume(session: Session, secret: bytes, host_id: HostId, now: datetime) -> str:
    """Use a code up within `session` and return the person who issued it. Raises CodeRefused."""
    row = EnrolmentCodeRow
    usable = update(row).where(row.secret_sha256 == secret_digest(secret), row.used.is_(None), row.expires > now)
    issued_by: str | None = session.scalar(usable.values(used=now, host_id=str(host_id)).returning(row.issued_by))
    if issued_by is None:
        raise CodeRefused
    return issued_by
