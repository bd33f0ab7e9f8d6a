"""Seals private parts to everybody whom they are about, and opens those whose subjects all have their keys still."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.audit_log.journal import Sealing
from control_plane.db.models import DestroyedRow, SubjectKey
from control_plane.erasure.subject_box import (
    ID_BYTES,
    SECRET_BYTES,
    SubjectBox,
    SubjectOpener,
    SubjectSealer,
    is_subject_box,
)
from control_plane.erasure.subjects import Concerned, concerned
from control_plane.keys import store
from control_plane.keys.store import KeyStore
from control_plane.vault.index_service import IndexService, Token
from control_plane.vault.key_ring import KeyNotForThis, key_for
from shared.audit.events import Happening
from shared.audit.record import PrivateSealer, StoredRecord, open_salted
from shared.errors import Malformed
from shared.identity import RandomBytes
from shared.policy.document import KeyPurpose

SUBJECT = "subject"
"""What the key of a subject is called among what was destroyed."""


class State(StrEnum):
    """Of one record's private part. What was erased nobody opens, here or anywhere, but for copies of before."""

    NONE = "none"
    OPENS = "opens"
    ERASED = "erased"
    NOT_OPENABLE = "not openable"


@dataclass(frozen=True)
class Opened:
    """`salted` is salt and private part as they were committed to; None where the state is not `opens`."""

    state: State
    salted: bytes | None


class PrivateParts:
    def __init__(self, keys: KeyStore, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self._keys, self._random = keys, random_bytes

    @property
    def index(self) -> IndexService:
        return IndexService(self._keys, self._keys.secret(store.BLIND_INDEX))

    def sealing(self, session: Session, happening: Happening, now: datetime) -> Sealing:
        """Return to whom the private part of a record is sealed, within its commit; to nobody where there is none."""
        if happening.private is None:
            return Sealing(None)
        about = concerned(session, self.index, happening.who, happening.what, happening.private)
        return Sealing(self.sealer(session, about, now), about.asked)

    def sealer(self, session: Session, about: Concerned, since: datetime) -> PrivateSealer:
        """Return what seals to everybody concerned; where nobody is, the centre's own audit key."""
        if not about.tokens:
            return next(one.key for one in self._keys.sealing_keys() if one.purpose is KeyPurpose.AUDIT)
        return SubjectSealer(dict(self._secret(session, token, since) for token in about.tokens), self._random)

    def key_of(self, session: Session, token: Token, since: datetime) -> SubjectKey:
        """Return the key of a subject, made where it has none. `since` is when what it seals arrived."""
        row = session.get(SubjectKey, (token.attribute.value, token.value))
        if row is None:
            key_id = self._random(ID_BYTES).hex()
            sealed = self._keys.seal(_name(key_id), self._random(SECRET_BYTES))
            row = SubjectKey(
                attribute=token.attribute.value, token=token.value, key_id=key_id, sealed=sealed, since=since
            )
            session.add(row)
            session.flush()
        row.since = min(row.since, since)
        return row

    def state(self, session: Session, stored: StoredRecord) -> State:
        """Say whether a private part can be opened here, by the keys that there are."""
        if stored.sealed is None:
            return State.NONE
        try:
            if not is_subject_box(stored.sealed):
                key_for(self._keys, stored.sealed, KeyPurpose.AUDIT)
                return State.OPENS
            wanted = [key_id.hex() for key_id in SubjectBox.parse(stored.sealed).key_ids]
        except (Malformed, KeyNotForThis):
            return State.NOT_OPENABLE
        missing = set(wanted) - set(session.scalars(select(SubjectKey.key_id).where(SubjectKey.key_id.in_(wanted))))
        if not missing:
            return State.OPENS
        gone = select(DestroyedRow.name).where(DestroyedRow.kind == SUBJECT, DestroyedRow.name.in_(missing))
        return State.ERASED if session.scalars(gone).first() is not None else State.NOT_OPENABLE

    def open(self, session: Session, stored: StoredRecord) -> Opened:
        """Open a private part, where that can be done.

        Raises PrivatePartMismatch, SubjectBoxNotAuthentic, BoxNotAuthentic, KeyNotAuthentic: it was altered.
        """
        state = self.state(session, stored)
        if state is not State.OPENS or stored.sealed is None:
            return Opened(state, None)
        if not is_subject_box(stored.sealed):
            return Opened(state, open_salted(stored, key_for(self._keys, stored.sealed, KeyPurpose.AUDIT)))
        wanted = [key_id.hex() for key_id in SubjectBox.parse(stored.sealed).key_ids]
        rows = session.scalars(select(SubjectKey).where(SubjectKey.key_id.in_(wanted)))
        known = {bytes.fromhex(row.key_id): self._keys.unseal(_name(row.key_id), row.sealed) for row in rows}
        return Opened(state, open_salted(stored, SubjectOpener(known)))

    def _secret(self, session: Session, token: Token, since: datetime) -> tuple[bytes, bytes]:
        row = self.key_of(session, token, since)
        return bytes.fromhex(row.key_id), self._keys.unseal(_name(row.key_id), row.sealed)


def _name(key_id: str) -> str:
    return f"audit/subject/{key_id}"
