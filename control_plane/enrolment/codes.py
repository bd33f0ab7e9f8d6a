"""One-time enrolment codes: issued by a named person, used once, stored as a digest."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import EnrolmentCodeRow
from shared import canonical
from shared.clock import Clock
from shared.enrolment.code import SECRET_BYTES, EnrolmentCode, secret_digest
from shared.errors import Malformed, Refused
from shared.fields import Fields
from shared.identity import HostId
from shared.policy.layer import read_parts

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


@dataclass(frozen=True)
class UsedCode:
    """What the person who issued a code said with it. `parts` are the host's layers besides the organisation's."""

    issued_by: str
    parts: tuple[str, ...]


class Issuer(Protocol):
    """`issue` with the centre's own parts given already."""

    def __call__(self, *, asset: str, person: str, life: timedelta, parts: Sequence[str] = ()) -> IssuedCode: ...


def issue(
    database: sessionmaker[Session],
    clock: Clock,
    ca_sha256: bytes,
    *,
    asset: str,
    person: str,
    life: timedelta,
    parts: Sequence[str] = (),
) -> IssuedCode:
    code = EnrolmentCode(secrets.token_bytes(SECRET_BYTES), ca_sha256)
    expires = clock.now() + min(life, LONGEST_LIFE)
    with database.begin() as session:
        session.add(
            EnrolmentCodeRow(
                secret_sha256=secret_digest(code.secret),
                asset=asset,
                issued_by=person,
                expires=expires,
                parts=parts_text(parts),
            )
        )
    return IssuedCode(code, expires)


def consume(session: Session, secret: bytes, host_id: HostId, now: datetime) -> UsedCode:
    """Use a code up within `session` and return who issued it, and for which parts. Raises CodeRefused."""
    row = EnrolmentCodeRow
    usable = update(row).where(row.secret_sha256 == secret_digest(secret), row.used.is_(None), row.expires > now)
    used = session.execute(usable.values(used=now, host_id=str(host_id)).returning(row.issued_by, row.parts)).first()
    if used is None:
        raise CodeRefused
    return UsedCode(used.issued_by, parts_of(used.parts))


def parts_text(parts: Sequence[str]) -> str:
    """Return how the layers of a host besides the organisation's stand in the database."""
    return canonical.encode(list(parts)).decode()


def parts_of(text: str) -> tuple[str, ...]:
    """Return what `parts_text` wrote. Raises Malformed."""
    what = "parts of a host in the database"
    return read_parts(Fields({"parts": canonical.parse(text.encode(), what)}, what))


def readable_parts(text: str) -> tuple[str, ...] | None:
    """Return what `parts_of` does, None where somebody changed it: one host's row takes no view of all from anybody."""
    try:
        return parts_of(text)
    except Malformed:
        return None
