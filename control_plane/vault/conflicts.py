"""Several objects of one SOP Instance UID: the same data set, or other ones, which is a conflict.

Every one of them is kept; which is the true one is for a person to say. Which instance an object claims to be is a
token of the blind index, the same for every host; which data set it holds is in its signed capture record, so no image
is opened. The table `instances` leads from one object to the others and proves nothing: what is told of an object is
what a signed record says of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.db import driver
from control_plane.db.models import Conflict, Instance, Object
from control_plane.db.transactions import snapshot
from control_plane.vault import rows
from control_plane.vault.siblings import MOST_NAMED, Siblings
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure, Malformed
from shared.identity import CONTROL_PLANE, KeyId, ObjectId
from shared.sealing.record import verify_record
from shared.signing import EvidencePublicKey, signing_key_id

# Whether two digests of data sets are those of the same one.
Same = Callable[[bytes, bytes], bool]
_OF_ANOTHER = "SELECT 1 FROM instances WHERE token = ? AND dataset_sha256 <> ? LIMIT 1"


def note(session: Session, object_id: ObjectId, token: bytes, dataset_sha256: bytes, now: datetime) -> Happening | None:
    """Note, as an object is kept, which instance it is; return what is to be recorded where that is a conflict.

    A conflict that a person had settled is open again: there is one more data set to judge.
    """
    differs = driver.row(session, _OF_ANOTHER, (token, dataset_sha256)) is not None
    found = _conflict(session, object_id, token, dataset_sha256, now) if differs else None
    rows.insert_instance(session, object_id, token, dataset_sha256)
    return found


def _conflict(session: Session, object_id: ObjectId, token: bytes, dataset_sha256: bytes, now: datetime) -> Happening:
    others = select(Instance.object_id).join(Object, Object.object_id == Instance.object_id).where(
        Instance.token == token, Instance.dataset_sha256 != dataset_sha256
    )  # fmt: skip
    earlier = session.scalars(others.order_by(Object.received, Object.object_id).limit(MOST_NAMED)).all()
    repeated = session.scalar(
        select(Instance.object_id).where(Instance.token == token, Instance.dataset_sha256 == dataset_sha256).limit(1)
    )
    held = session.get(Conflict, token)
    if held is None:
        session.add(Conflict(token=token, found=now, settled=None))
    elif repeated is None:
        held.settled = None
    what = tuple(Subject("object", name) for name in (str(object_id), *earlier))
    who = (Participant("service", CONTROL_PLANE, True),)
    reason = "another data set is held under the same SOP Instance UID"
    return Happening(Event.IMAGE_CONFLICTS, Action.CREATE, Outcome.MINOR_FAILURE, who, what, reason)


def count_open(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Conflict).where(Conflict.settled.is_(None))) or 0


class Conflicts:
    """`same` is what a test replaces to see that it decides."""

    def __init__(self, database: sessionmaker[Session], hosts: EvidenceKeys, *, same: Same = bytes.__eq__) -> None:
        self._database, self._hosts, self._same = database, hosts, same

    def of(self, objects: Sequence[str]) -> dict[str, Siblings]:
        """Return what else claims the instance of each object, leaving out those whose attributes were not evaluated.

        Raises DatabaseUnavailable.
        """
        with snapshot(self._database) as session:
            held = {name: _held(session, name) for name in objects}
        digest = _Digests(self._hosts)
        return {name: self._judged(one, digest) for name, one in held.items() if one is not None}

    def _judged(self, held: "_Held", digest: "_Digests") -> Siblings:
        found: dict[bool | None, list[str]] = {False: [], True: [], None: []}
        for other in held.others:
            mine, theirs = digest.of(held.own), digest.of(other)
            is_same = None if mine is None or theirs is None else self._same(mine, theirs)
            found[is_same].append(other.object_id)
        return Siblings(held.claims, *(tuple(names[:MOST_NAMED]) for names in found.values()))


@dataclass(frozen=True)
class _Held:
    own: Object
    others: tuple[Object, ...]
    claims: int


def _held(session: Session, name: str) -> _Held | None:
    own, instance = session.get(Object, name), session.get(Instance, name)
    if own is None or instance is None:
        return None
    claims = session.scalar(select(func.count()).select_from(Instance).where(Instance.token == instance.token)) or 0
    if claims == 1:
        return _Held(own, (), claims)
    of_it = select(Object).join(Instance, Instance.object_id == Object.object_id)
    of_it = of_it.where(Instance.token == instance.token, Object.object_id != name)
    oldest = of_it.order_by(Object.received, Object.object_id).limit(MOST_NAMED)
    # Of both kinds, so that a crowd of the same does not hide the one that differs.
    differs = session.scalars(oldest.where(Instance.dataset_sha256 != instance.dataset_sha256)).all()
    repeats = session.scalars(oldest.where(Instance.dataset_sha256 == instance.dataset_sha256)).all()
    return _Held(own, (*differs, *repeats), claims)


class _Digests:
    """Data-set digests out of signed records, each record and key looked at once."""

    def __init__(self, hosts: EvidenceKeys) -> None:
        self._hosts = hosts
        self._keys: dict[tuple[str, KeyId], EvidencePublicKey] = {}
        self._known: dict[str, bytes | None] = {}

    def of(self, row: Object) -> bytes | None:
        """Return what the host signed, None where the record is not authentic or about another object."""
        if row.object_id not in self._known:
            self._known[row.object_id] = self._signed(row)
        return self._known[row.object_id]

    def _signed(self, row: Object) -> bytes | None:
        try:
            named = row.host_id, signing_key_id(row.record)
            if named not in self._keys:
                self._keys[named] = self._hosts.for_statement(row.host_id, row.record)
            record = verify_record(row.record, self._keys[named])
        except (Malformed, IntegrityFailure):
            return None
        return record.dataset_sha256 if str(record.object_id) == row.object_id else None
