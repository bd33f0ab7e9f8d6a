"""An object as rows, written and read as the driver takes them: this is the path that every image takes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from control_plane.db import driver
from control_plane.db.models import as_stored
from control_plane.vault.index_service import Token
from shared.identity import HostId, KeyId, ObjectId


@dataclass(frozen=True)
class Held:
    """What decides whether an object that comes again is the one that is held, and what is answered then."""

    record: bytes
    receipt: bytes


@dataclass(frozen=True)
class New:
    """An object that is to be kept."""

    object_id: ObjectId
    host_id: HostId
    binding: bytes
    record: bytes
    record_sha256: bytes
    sealed_index: bytes
    index_state: str
    body_bytes: int
    received: datetime
    receipt: bytes
    key_id: KeyId
    wrap: bytes
    tokens: tuple[Token, ...]


def held(session: Session, object_id: ObjectId) -> Held | None:
    row = driver.row(session, "SELECT record, receipt FROM objects WHERE object_id = ?", (str(object_id),))
    return Held(*(driver.blob(value) for value in row)) if row is not None else None


def holds_any(session: Session) -> bool:
    return driver.row(session, "SELECT 1 FROM objects LIMIT 1") is not None


def insert(session: Session, new: New) -> None:
    """Keep an object, its wrap and what it is found by, in a transaction of `in_one_commit`."""
    name = str(new.object_id)
    row = (
        name, str(new.host_id), new.binding, new.record, new.record_sha256, new.sealed_index, new.index_state,
        new.body_bytes, as_stored(session, new.received), new.receipt,
    )  # fmt: skip
    columns = "object_id, host_id, binding, record, record_sha256, sealed_index, index_state, body_bytes"
    driver.insert(session, f"objects ({columns}, received, receipt)", [row])
    driver.insert(session, "wraps (object_id, key_id, wrap)", [(name, str(new.key_id), new.wrap)])
    found_by = [(token.attribute.value, token.value, name) for token in new.tokens]
    driver.insert(session, "blind_index (attribute, token, object_id)", found_by)


def insert_instance(session: Session, object_id: ObjectId, token: bytes, dataset_sha256: bytes) -> None:
    """Note which instance an object claims to be, and which data set it holds."""
    driver.insert(session, "instances (object_id, token, dataset_sha256)", [(str(object_id), token, dataset_sha256)])
