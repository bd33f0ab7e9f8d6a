"""A centre that was made again from a backup, until a person settles it: what it may lack, as far as anybody can know.

Hosts go on where they stood. Their audit chains come again from where the backup ends, and say which images had been
delivered since: those the vault acknowledged, lost with its disk, and can only name.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.objects import objects_of
from control_plane.audit_log.quick_reader import record_reader
from control_plane.db.models import (
    ApiToken,
    AuditRow,
    EnrolmentCodeRow,
    Fact,
    Host,
    LapsedAskRow,
    Object,
    PersonSession,
    RecoveryCode,
    SignInLink,
    SignInStep,
    SpoolMove,
    TwoPersonRequest,
)
from control_plane.db.transactions import in_one_commit
from control_plane.fleet.states import Journal
from control_plane.people.accounts import CREDENTIAL
from control_plane.vault.opening import ReasonMissing
from shared import canonical
from shared import clock as clocks
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import ReadRecord
from shared.canonical import Json
from shared.errors import Malformed, Refused
from shared.fields import Fields
from shared.fleet.receipt import restore_mark
from shared.identity import CONTROL_PLANE

RESTORED, UNSETTLED, _SETTLED = "restored", "restored before, and not settled", "restored and settled: "
_UNSETTLED = or_(Fact.name == RESTORED, Fact.name.startswith(UNSETTLED))
_MOST_NAMED, _AT_ONCE = 5, 500


class NotRestored(Refused):
    def __init__(self) -> None:
        super().__init__("this control plane was not restored from a backup, or that is settled already")


@dataclass(frozen=True)
class Restored:
    """From which backup, begun when, with which last record of the centre; and when that was."""

    label: str
    begun: datetime
    audit_seq: int
    when: datetime

    def text(self) -> str:
        members: dict[str, Json] = {
            "v": 1,
            "from": self.label,
            "begun": clocks.text(self.begun),
            "audit_seq": self.audit_seq,
            "when": clocks.text(self.when),
        }
        return canonical.encode(members).decode()

    @classmethod
    def parse(cls, text: str) -> "Restored":
        """Raises Malformed."""
        fields = Fields(canonical.parse(text.encode(), "fact restored"), "fact restored")
        fields.version()
        restored = cls(
            fields.text("from"), fields.instant("begun"), fields.integer("audit_seq"), fields.instant("when")
        )
        fields.done()
        return restored


def unsettled(session: Session) -> list[Restored]:
    """Return the restores of this centre that no person settled, the newest last. Raises Malformed."""
    facts = session.scalars(select(Fact.value).where(_UNSETTLED))
    return sorted(map(Restored.parse, facts), key=lambda restored: restored.when)


def settled(session: Session) -> Iterator[Restored]:
    """Yield what this centre was restored from before, by what people settled since. Raises Malformed."""
    for text in session.scalars(select(Fact.value).where(Fact.name.startswith(_SETTLED))):
        yield Restored.parse(text)


def mark_of(session: Session) -> str:
    """Return by what hosts know that this centre was restored, empty where it never was; settling changes nothing."""
    known = or_(_UNSETTLED, Fact.name.startswith(_SETTLED))
    return restore_mark(session.scalars(select(Fact.value).where(known)))


def end_what_opens_again(session: Session, now: datetime) -> None:
    """End what an older database calls open, and what may have been used up, refused or ended since it was copied."""
    for opens in (PersonSession, SignInLink, SignInStep, LapsedAskRow):
        session.execute(delete(opens))
    unused = (EnrolmentCodeRow.used.is_(None), EnrolmentCodeRow.expires > now)
    session.execute(update(EnrolmentCodeRow).where(*unused).values(expires=now))
    session.execute(delete(RecoveryCode).where(RecoveryCode.used.is_(None)))
    # A credential's token stays: without one nobody is left who could look into it.
    of_tools = (ApiToken.name != CREDENTIAL, ApiToken.ended.is_(None))
    session.execute(update(ApiToken).where(*of_tools).values(ended=now))
    session.execute(update(SpoolMove).where(SpoolMove.ended.is_(None), SpoolMove.until > now).values(ended=now))
    undecided = (TwoPersonRequest.decided.is_(None), TwoPersonRequest.expires > now)
    session.execute(update(TwoPersonRequest).where(*undecided).values(expires=now))


class RestoreSettling:
    def __init__(self, database: sessionmaker[Session], journal: Journal) -> None:
        self._database, self._journal = database, journal

    def settle(self, person: str, reason: str) -> None:
        """Take note that `person` looked into what is missing. Raises ReasonMissing, NotRestored."""
        if not reason.strip():
            raise ReasonMissing
        in_one_commit(self._database, lambda session: self._settle(session, person, reason))

    def _settle(self, session: Session, person: str, reason: str) -> None:
        restores = unsettled(session)
        if not restores:
            raise NotRestored
        session.execute(delete(Fact).where(_UNSETTLED))
        for one in restores:
            session.merge(Fact(name=f"{_SETTLED}{one.label}", value=one.text()))
        who, what = (Participant("person", person, True),), tuple(Subject("backup", one.label) for one in restores)
        private: dict[str, Json] = {"reason": reason}
        self._journal.append(
            session, Happening(Event.RESTORE_SETTLED, Action.UPDATE, Outcome.SUCCESS, who, what, private=private)
        )


def gaps(session: Session) -> Iterator[str]:
    """Say what is not proved since each restore, until a person settles them."""
    restores = unsettled(session)
    for restored in restores:
        yield (
            f"restored from backup {restored.label}: what was done after {clocks.text(restored.begun)} is not here: "
            "hosts and people added or taken away, policy published, codes and keys; who was erased from the log since "
            "is in it again, unless erased.json was put beside the root key; look into it, then "
            "`leadglass-server settle-restore --data DIR --reason …`"
        )
    if restores:
        yield from _lost(session, restores)
        yield from _unheard(session, restores[-1])


def _lost(session: Session, restores: Sequence[Restored]) -> Iterator[str]:
    counts, named = Counter[str](), dict[str, list[str]]()
    for host_id, object_id in _lacking(session, restores):
        counts[host_id] += 1
        named[host_id] = nsmallest(_MOST_NAMED, [*named.get(host_id, ()), object_id])
    for host_id, count in sorted(counts.items()):
        host, names = session.get(Host, host_id), named[host_id]
        more = f" and {count - len(names)} more" if count > len(names) else ""
        images = "1 image" if count == 1 else f"{count} images"
        yield (
            f"{host.asset if host else host_id}: {images} had been delivered after the backup was made and the vault "
            f"does not hold them: {', '.join(names)}{more}; the host's own journal says so, and its spool has let "
            "go of them"
        )


def _lacking(session: Session, restores: Sequence[Restored]) -> Iterator[tuple[str, str]]:
    """Yield hosts, and an object that each says it delivered and that the vault does not hold.

    What had arrived before the first of the backups was held in it.
    """
    seq = min(one.audit_seq for one in restores)
    last = session.scalar(select(AuditRow.entry).where(AuditRow.source == CONTROL_PLANE, AuditRow.seq == seq))
    since = and_(AuditRow.entry > (-1 if last is None else last), AuditRow.event == Event.IMAGE_DELIVERED.value)
    rows, read = select(AuditRow.source, AuditRow.public).where(since), record_reader()
    for some in session.execute(rows.execution_options(yield_per=_AT_ONCE)).partitions():
        said = [(source, name) for source, public in some for name in _delivered(read, public)]
        names = {name for _, name in said}
        there = set(session.scalars(select(Object.object_id).where(Object.object_id.in_(names))))
        yield from (one for one in said if one[1] not in there)


def _delivered(read: Callable[[bytes], ReadRecord], public: bytes) -> frozenset[str]:
    try:
        return objects_of(read(public))
    except Malformed:
        return frozenset()  # verification names it


def _unheard(session: Session, restored: Restored) -> Iterator[str]:
    silent = select(Host.asset).where(
        Host.active, Host.state_received.is_(None) | (Host.state_received < restored.when)
    )
    for asset in session.scalars(silent.order_by(Host.enrolled)):
        yield f"{asset}: not heard since the restore; what it delivered after the backup is unknown until then"
