"""Enrolment codes as people have them: issued, one or a list; looked at, cancelled; and settled when tried twice."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import EnrolmentCodeRow, Host
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment import tombstones
from control_plane.enrolment.assets import asset_key
from control_plane.enrolment.codes import (
    LONGEST_LIFE,
    IssuedCode,
    code_id,
    parts_text,
    readable_parts,
    unusable,
)
from control_plane.people.two_persons import Journal
from shared import clock as clocks
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.enrolment.code import SECRET_BYTES, EnrolmentCode, secret_digest
from shared.errors import Refused
from shared.identity import HostId

_MOST_LISTED = 1000


@dataclass(frozen=True)
class WantedCode:
    """`parts` are the layers of the host besides the organisation's; it comes in the place of `replaces`, if any."""

    asset: str
    parts: tuple[str, ...] = ()
    replaces: HostId | None = None


class CodeUnknown(Refused):
    def __init__(self, code_id: str) -> None:
        super().__init__(f"there is no enrolment code {code_id}; `leadglass-server code list` lists those there are")
        self.code_id = code_id


class CodeOver(Refused):
    def __init__(self, code_id: str, why: str) -> None:
        super().__init__(f"code {code_id} cannot be used anyway: it is {why}")
        self.code_id, self.why = code_id, why


class NothingToSettle(Refused):
    def __init__(self, code_id: str) -> None:
        super().__init__(f"nobody tried code {code_id} again after it was used, or that is settled already")
        self.code_id = code_id


class ListRefused(Refused):
    """No code of the list was issued."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(f"no code was issued: {'; '.join(faults)}")
        self.faults = tuple(faults)


class Appending(Protocol):
    def append(self, session: Session, happening: Happening, /) -> None: ...


class EnrolmentCodes:
    def __init__(self, database: sessionmaker[Session], journal: Journal, clock: Clock, ca_sha256: bytes) -> None:
        self._database, self._journal, self._clock, self._ca_sha256 = database, journal, clock, ca_sha256

    def issue(self, person: str, wanted: WantedCode, life: timedelta) -> IssuedCode:
        """Raises Tombstoned. The code and its record are one commit."""
        code = self._new(wanted, life)

        def work(session: Session) -> None:
            tombstones.verify_none(session, wanted.asset)
            self._keep(session, person, wanted, code)

        in_one_commit(self._database, work)
        return code

    def issue_all(self, person: str, wanted: Sequence[WantedCode], life: timedelta) -> list[IssuedCode]:
        """Issue every code of a list or none. Raises ListRefused, which names each entry at fault by its number."""
        issued = [self._new(one, life) for one in wanted]

        def work(session: Session) -> None:
            if faults := list(_faults(session, wanted)):
                raise ListRefused(faults)
            for one, code in zip(wanted, issued, strict=True):
                self._keep(session, person, one, code)

        in_one_commit(self._database, work)
        return issued

    def listed(self) -> list[dict[str, Json]]:
        """Return the newest codes, and nothing of their secrets."""
        newest = select(EnrolmentCodeRow).order_by(EnrolmentCodeRow.expires.desc()).limit(_MOST_LISTED)
        now = self._clock.now()
        with snapshot(self._database) as session:
            return [
                {
                    "code": code_id(row.secret_sha256),
                    "asset": row.asset,
                    "layers": list(readable_parts(row.parts) or ()),
                    "issued_by": row.issued_by,
                    "expires": clocks.text(row.expires),
                    "state": unusable(row, now) or "open",
                    "host": row.host_id,
                    "replaces": row.replaces,
                    "tried_again": clocks.text(row.tried_again) if row.tried_again else None,
                }
                for row in session.scalars(newest)
            ]

    def cancel(self, person: str, code: str) -> str:
        """Have a code open nothing any more, and return its asset. Raises CodeUnknown, CodeOver."""
        now = self._clock.now()

        def work(row: EnrolmentCodeRow) -> None:
            if why := unusable(row, now):
                raise CodeOver(code, why)
            row.cancelled = now

        return self._change(person, code, Event.CODE_CANCELLED, None, work)

    def settle(self, person: str, code: str, reason: str) -> str:
        """Take note that `person` looked into who used a code and who tried it again, and return its asset.

        Raises CodeUnknown, NothingToSettle.
        """

        def work(row: EnrolmentCodeRow) -> None:
            if row.tried_again is None:
                raise NothingToSettle(code)
            row.tried_again = None

        return self._change(person, code, Event.CODE_SETTLED, {"reason": reason}, work)

    def _change(
        self,
        person: str,
        code: str,
        event: Event,
        private: dict[str, Json] | None,
        work: Callable[[EnrolmentCodeRow], None],
    ) -> str:
        who, what = (Participant("person", person, True),), (Subject("code", code),)
        happening = Happening(event, Action.UPDATE, Outcome.SUCCESS, who, what, private=private)

        def change(session: Session) -> str:
            row = _found(session, code)
            work(row)
            self._journal.append(session, happening)
            return row.asset

        try:
            return in_one_commit(self._database, change)
        except Refused as exc:
            self._journal.record(failure(happening, event, exc))
            raise

    def _new(self, wanted: WantedCode, life: timedelta) -> IssuedCode:
        code = EnrolmentCode(secrets.token_bytes(SECRET_BYTES), self._ca_sha256)
        return IssuedCode(code, self._clock.now() + min(life, LONGEST_LIFE), wanted.asset, wanted.parts)

    def _keep(self, session: Session, person: str, wanted: WantedCode, issued: IssuedCode) -> None:
        session.add(
            EnrolmentCodeRow(
                secret_sha256=secret_digest(issued.code.secret),
                asset=wanted.asset,
                issued_by=person,
                expires=issued.expires,
                parts=parts_text(wanted.parts),
                replaces=str(wanted.replaces) if wanted.replaces else None,
            )
        )
        replaced = (Subject("host", str(wanted.replaces)),) if wanted.replaces else ()
        layers = tuple(Subject("layer", part) for part in wanted.parts)
        what = (Subject("asset", wanted.asset), Subject("code", issued.code_id), *layers, *replaced)
        who = (Participant("person", person, True),)
        self._journal.append(session, Happening(Event.CODE_ISSUED, Action.CREATE, Outcome.SUCCESS, who, what))


def cancel_those_of(session: Session, journal: Appending, issuer: str, by: str, now: datetime) -> None:
    """Cancel what `issuer`, who may issue none any more, has issued and nobody has used."""
    theirs = (EnrolmentCodeRow.issued_by == issuer, EnrolmentCodeRow.used.is_(None))
    still_good = (EnrolmentCodeRow.cancelled.is_(None), EnrolmentCodeRow.expires > now)
    for row in session.scalars(select(EnrolmentCodeRow).where(*theirs, *still_good).with_for_update()):
        row.cancelled = now
        who, what = (Participant("person", by, True),), (Subject("code", code_id(row.secret_sha256)),)
        journal.append(session, Happening(Event.CODE_CANCELLED, Action.UPDATE, Outcome.SUCCESS, who, what))


def gaps(session: Session) -> Iterator[str]:
    """Say which codes were tried again after they had made a host: one of the two may be a thief's."""
    tried = (
        select(EnrolmentCodeRow, Host)
        .join(Host, Host.host_id == EnrolmentCodeRow.host_id)
        .where(EnrolmentCodeRow.tried_again.is_not(None), Host.active)
        .order_by(EnrolmentCodeRow.tried_again)
    )
    for code, host in session.execute(tried):
        name, at = code_id(code.secret_sha256), code.tried_again and clocks.text(code.tried_again)
        yield (
            f"{host.asset}: its enrolment code {name} made {host.host_id}, and somebody tried it again at {at}: one of "
            f"the two may not be whom it was for. Look whether {host.host_id} is the machine that it should be, then "
            f"`leadglass-server code settle {name} --reason …` or `leadglass-server host revoke {host.host_id} …`"
        )


def _faults(session: Session, wanted: Sequence[WantedCode]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for number, one in enumerate(wanted, 1):
        key = asset_key(one.asset)
        if key in seen:
            yield f"entry {number}: the asset of entry {seen[key]} again"
            continue
        seen[key] = number
        try:
            tombstones.verify_none(session, one.asset)
        except tombstones.Tombstoned as exc:
            yield f"entry {number}: {exc}"


def _found(session: Session, code: str) -> EnrolmentCodeRow:
    """Raises CodeUnknown."""
    for row in session.scalars(select(EnrolmentCodeRow).with_for_update()):
        if code_id(row.secret_sha256) == code:
            return row
    raise CodeUnknown(code)
