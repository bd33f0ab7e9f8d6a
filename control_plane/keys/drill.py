"""The recovery drill: proves that two shares and the database alone open what was sealed.

At first start one test object is sealed like any image. The drill never reads the root key's file: it joins two
shares, opens the private key it needs with what they give, and opens the object with that. Until it has succeeded once,
the centre calls itself not recoverable.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Fact, KeyRow
from control_plane.durable import sync_folder
from control_plane.keys import shares as recovery_shares
from control_plane.keys.root import RootKey
from control_plane.keys.store import JOURNAL
from shared import clock as clocks
from shared.errors import IntegrityFailure
from shared.identity import HostId, ObjectId
from shared.policy.document import SealingKey
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.hpke import SealedBox, SealingPrivateKey
from shared.sealing.index import IndexEntry
from shared.sealing.object_file import BodyWindow
from shared.sealing.open import StoredObject, open_verified
from shared.sealing.seal import ObjectSealer, Sealing, StreamSink
from shared.signing import EvidencePublicKey, EvidenceSigner

DRILLED = "recovery.drilled"
_TEST_BYTES = 64 * 1024


class DrillFailed(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the recovery drill failed: {why}; the centre stays not recoverable")
        self.why = why


@dataclass(frozen=True)
class Drilled:
    """What the drill proved: which object opened, how many bytes, with which key."""

    object_id: ObjectId
    dataset_bytes: int
    key_name: str


def test_object_path(data: Path) -> Path:
    return data / "drill" / "test-object.lgo"


def seal_test_object(path: Path, data_key: SealingKey, index_key: SealingKey, signer: EvidenceSigner,
                     now: datetime) -> None:  # fmt: skip
    """Seal 64 KiB of random bytes as if they were an image."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    binding = Binding(ObjectId.new(), HostId.new(), sha256(b"drill").digest(), "1.2.840.10008.1.2.1")
    with path.open("xb") as file:
        sealer = ObjectSealer(StreamSink(file), binding)
        sealer.update(secrets.token_bytes(_TEST_BYTES))
        sealing = Sealing(data_key.grade, data_key.key, index_key.key, policy_version=1, captured=now)
        sealer.finish(sealing, IndexEntry(False, *[""] * 9), signer)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


@dataclass(frozen=True)
class HeldKey:
    """A row of the key table, from wherever that lies."""

    name: str
    key_id: str
    public: bytes
    sealed: bytes


def held_keys(database: sessionmaker[Session]) -> list[HeldKey]:
    with database() as session:
        rows = session.scalars(select(KeyRow)).all()
    return [HeldKey(row.name, row.key_id, row.public, row.sealed) for row in rows]


def drill(keys: Sequence[HeldKey], test_object: Path, shares: Sequence[str]) -> tuple[RootKey, Drilled]:
    """Open the test object from `shares` and the rows of keys alone.

    Raises SharesRefused, KeyNotAuthentic, DrillFailed, and whatever opening an object raises.
    """
    root = recovery_shares.combine(shares)
    with test_object.open("rb") as file:
        parts = object_file.parse(file)
        wanted = str(SealedBox.parse(parts.wrap).key_id)
        key = next((key for key in keys if key.key_id == wanted), None)
        signer = next((key for key in keys if key.name == JOURNAL), None)
        if key is None or signer is None:
            raise DrillFailed("the key that the test object needs is not held any more")
        private = SealingPrivateKey(root.open(key.name, key.sealed))
        stored = StoredObject(parts.binding.object_id, parts.binding.encode(), parts.wrap, parts.record)
        pieces = open_verified(stored, BodyWindow(file, parts), EvidencePublicKey.parse(signer.public), private)
        return root, Drilled(parts.binding.object_id, sum(len(piece) for piece in pieces), key.name)


def remember(database: sessionmaker[Session], now: datetime) -> None:
    with database.begin() as session:
        session.merge(Fact(name=DRILLED, value=clocks.text(now)))
