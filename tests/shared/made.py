"""Valid values to start from, made from fixed keys, and the ways to spoil them."""

import io
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import GENESIS, StoredRecord, compose
from shared.canonical import Json
from shared.devices.verdict import Access, Cause, Target
from shared.fleet.devices import (
    Authorized,
    DeviceState,
    Finding,
    FindingState,
    GuardReport,
    OtherDevice,
    OtherState,
    Seen,
)
from shared.identity import HostId, ObjectId
from shared.policy.document import KeyPurpose, Modality, PolicyDocument, SealingKey
from shared.policy.grading import Grading
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.hpke import SealingPrivateKey
from shared.sealing.index import IndexEntry
from shared.sealing.object_file import BodyWindow, ObjectParts
from shared.sealing.open import StoredObject, open_verified
from shared.sealing.seal import ObjectSealer, Sealed, Sealing, StreamSink
from shared.signing import SoftwareSigner

NOW = datetime(2026, 1, 31, 8, 0, 0, 250000, tzinfo=UTC)
HOST, OBJECT = HostId(bytes(range(16))), ObjectId(bytes(range(16, 32)))
HOST_SIGNER = SoftwareSigner(ec.derive_private_key(2, ec.SECP256R1()))
VAULT_SIGNER = SoftwareSigner(ec.derive_private_key(3, ec.SECP256R1()))
DATA_KEY, INDEX_KEY, AUDIT_KEY = (SealingPrivateKey(bytes([n]) * 32) for n in (1, 2, 3))
BINDING = Binding(OBJECT, HOST, bytes(32), "1.2.840.10008.1.2.1")
ENTRY = IndexEntry(True, "P1", "Doe^Jane", "", "A1", "1.2.3", "1.2.3.4", "1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.2", "CT")
SEALING = Sealing("restricted", DATA_KEY.public, INDEX_KEY.public, 3, NOW)

GUARD_REPORT = GuardReport(
    "leadglass-guard 0.1.0", 3, "", True, "boot", False, 0, 9,
    (
        DeviceState(
            "1-1.2", "1-1", "0781:5581", "Ultra", "4C53", "0b" * 32, "08:06:50", Seen.NOW, NOW, Target.BLOCK,
            Target.BLOCK, Cause.DEFAULT, 2, "serial differs", Access.READ_WRITE, Authorized.NO,
        ),
    ),
    (OtherDevice("optical", "sr0", "medium inserted", Seen.NOW, NOW, OtherState.NOT_ALLOWED),),
    (Finding("disk-encryption", FindingState.NOT_EVALUATED, "the disk cannot be read", NOW),),
)  # fmt: skip


def policy(version: int = 3) -> PolicyDocument:
    keys = (
        SealingKey(KeyPurpose.DATA, "restricted", 1, DATA_KEY.public),
        SealingKey(KeyPurpose.INDEX, "", 1, INDEX_KEY.public),
        SealingKey(KeyPurpose.AUDIT, "", 1, AUDIT_KEY.public),
    )
    modalities = (Modality("CT1", "CT, room 1.14"), Modality("MR 2", ""))
    return PolicyDocument("organisation", version, modalities, keys, VAULT_SIGNER.public, Grading("restricted"), 5, 30)


def sealed_file(dataset: bytes, binding: Binding = BINDING) -> tuple[bytes, Sealed]:
    out = io.BytesIO()
    sealer = ObjectSealer(StreamSink(out), binding)
    sealer.update(dataset)
    sealed = sealer.finish(SEALING, ENTRY, HOST_SIGNER)
    return out.getvalue(), sealed


def body_of(file: bytes) -> bytes:
    parts = object_file.parse(io.BytesIO(file))
    return file[parts.body_offset : parts.body_offset + parts.body_bytes]


def with_body(file: bytes, body: bytes) -> bytes:
    """Return `file` with another body and lengths that fit it: what an attacker in the store would make."""
    parts = object_file.parse(io.BytesIO(file))
    tail = object_file.tail(len(body), wrap=parts.wrap, index=parts.index, record=parts.record)
    return object_file.head(parts.binding) + body + tail


def stored(parts: ObjectParts) -> StoredObject:
    return StoredObject(OBJECT, parts.binding.encode(), parts.wrap, parts.record)


def opened(file: bytes) -> bytes:
    """Return the dataset of a sealed object file once all of it is proved."""
    source = io.BytesIO(file)
    parts = object_file.parse(source)
    pieces = open_verified(stored(parts), BodyWindow(source, parts), HOST_SIGNER.public, DATA_KEY)
    return b"".join(bytes(piece) for piece in pieces)


def happening(number: int = 1, *, private: bool = False) -> Happening:
    who = (Participant("host", str(HOST), requestor=False), Participant("ae", f"CT{number}", requestor=True))
    what = (Subject("object", str(OBJECT)),)
    secret: dict[str, Json] | None = {"patient_id": f"P{number}"} if private else None
    return Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who, what, f"number {number}", secret)


def chain(length: int, story: str = "") -> list[StoredRecord]:
    """Return a chain whose every third record has a private part."""
    records, prev = list[StoredRecord](), GENESIS
    for seq in range(1, length + 1):
        event = happening(seq, private=seq % 3 == 0)
        if story:
            event = Happening(event.event, event.action, event.outcome, event.who, event.what, story)
        record = compose(
            event, source=str(HOST), seq=seq, prev=prev, time=NOW, salt=bytes([seq]) * 32, key=AUDIT_KEY.public
        )
        records.append(record)
        prev = record.leaf
    return records


def flipped(data: bytes, bit: int) -> bytes:
    spoiled = bytearray(data)
    spoiled[bit // 8] ^= 1 << bit % 8
    return bytes(spoiled)
