"""One-time enrolment codes: for one asset, by a named person, used once, stored as a digest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from control_plane.db.models import EnrolmentCodeRow
from control_plane.enrolment.assets import asset_key
from shared import canonical
from shared.enrolment.code import EnrolmentCode, secret_digest
from shared.errors import Malformed, Refused
from shared.fields import Fields
from shared.identity import HostId
from shared.policy.layer import read_parts

DEFAULT_LIFE = timedelta(hours=24)
LONGEST_LIFE = timedelta(days=30)
_ID_CHARS = 12


class CodeRefused(Refused):
    """One wording for a wrong, used, cancelled and expired code: a guesser learns nothing. `why` is for the log."""

    def __init__(self, why: str) -> None:
        super().__init__("this enrolment code is not valid: it is wrong, was used already, or has expired")
        self.why = why


class CodeOfAnotherAsset(Refused):
    """Whoever sent it has the code, and is told which mistake they made; not which asset it is for."""

    def __init__(self, code_id: str) -> None:
        super().__init__(
            "this enrolment code was issued for another asset, and still may be used for that one; compare the asset "
            "number with what the code came with"
        )
        self.code_id = code_id


@dataclass(frozen=True)
class IssuedCode:
    code: EnrolmentCode
    expires: datetime
    asset: str
    parts: tuple[str, ...]

    @property
    def code_id(self) -> str:
        return code_id(secret_digest(self.code.secret))


@dataclass(frozen=True)
class UsedCode:
    """What the person who issued a code said with it. `parts` are the host's layers besides the organisation's."""

    asset: str
    issued_by: str
    parts: tuple[str, ...]
    replaces: HostId | None


def code_id(secret_sha256: bytes) -> str:
    """Return what people call a code: a piece of the digest, which is no secret."""
    return secret_sha256.hex()[:_ID_CHARS]


def unusable(row: EnrolmentCodeRow, now: datetime) -> str:
    """Return why a code can not be used any more, empty if it can."""
    if row.used is not None:
        return "used"
    if row.cancelled is not None:
        return "cancelled"
    return "expired" if row.expires <= now else ""


def find(session: Session, secret: bytes) -> EnrolmentCodeRow | None:
    return session.get(EnrolmentCodeRow, secret_digest(secret), with_for_update=True)


def consume(session: Session, secret: bytes, asset: str, host_id: HostId, now: datetime) -> UsedCode:
    """Use a code up within `session` and return what was said with it.

    Raises CodeRefused, CodeOfAnotherAsset; the code is as it was then.
    """
    row = find(session, secret)
    if row is None:
        raise CodeRefused("unknown")
    if why := unusable(row, now):
        raise CodeRefused(why)
    if asset_key(asset) != asset_key(row.asset):
        raise CodeOfAnotherAsset(code_id(row.secret_sha256))
    row.used, row.host_id = now, str(host_id)
    replaces = HostId.parse(row.replaces) if row.replaces else None
    return UsedCode(row.asset, row.issued_by, parts_of(row.parts), replaces)


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
