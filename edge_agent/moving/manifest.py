"""What a spool export says of itself: a signed manifest over the lists of its parts.

    manifest = signed statement (label SPOOL_EXPORT) over canonical JSON, the members of `Manifest`
    list     = canonical JSON {"v", "objects", "left", "batches"}, at most 1,000 entries; its SHA-256 is in the manifest

So a file that is missing or is another one is named, a list that is damaged costs its own part only, and neither a
list nor a folder outgrows memory or a FAT stick.  docs/formats/spool-export.md
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared import canonical, clock
from shared.audit.batch import MAX_BYTES as MAX_BATCH_BYTES
from shared.audit.batch import ChainHead
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import HostId, Identifier, ObjectId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

MAX_ENTRIES = 1000
MAX_PARTS = 10_000
MAX_LIST_BYTES = 1 << 20
MAX_MANIFEST_BYTES = (1 << 20) + 92  # the largest signed statement


class ExportId(Identifier):
    """One spool export. Random; the records of both hosts name it."""


class Left(StrEnum):
    """Why an object of the spool is not in the export."""

    DAMAGED = "damaged"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class ListedObject:
    """One sealed object file. `number` is its place in the export, 1 for the oldest."""

    number: int
    object_id: ObjectId
    size_bytes: int
    sha256: bytes
    record_sha256: bytes

    @property
    def name(self) -> str:
        return object_name(self.number, self.object_id)


@dataclass(frozen=True)
class LeftObject:
    """One that lies on the old host and could not be exported whole."""

    object_id: ObjectId
    why: Left


@dataclass(frozen=True)
class ListedBatch:
    """One signed audit batch, exactly as it would be sent."""

    source: HostId
    first: int
    last: int
    size_bytes: int
    sha256: bytes

    @property
    def name(self) -> str:
        return f"{self.source}-{self.first:020}-{self.last:020}.json"


@dataclass(frozen=True)
class PartList:
    """What lies in one folder of the export, and what does not."""

    objects: tuple[ListedObject, ...] = ()
    left: tuple[LeftObject, ...] = ()
    batches: tuple[ListedBatch, ...] = ()

    def __len__(self) -> int:
        return len(self.objects) + len(self.left) + len(self.batches)

    def encode(self) -> bytes:
        objects: list[Json] = [
            {
                "number": one.number,
                "object": str(one.object_id),
                "bytes": one.size_bytes,
                "sha256": one.sha256.hex(),
                "record_sha256": one.record_sha256.hex(),
            }
            for one in self.objects
        ]
        batches: list[Json] = [
            {
                "source": str(one.source),
                "first": one.first,
                "last": one.last,
                "bytes": one.size_bytes,
                "sha256": one.sha256.hex(),
            }
            for one in self.batches
        ]
        left: list[Json] = [{"object": str(one.object_id), "why": one.why.value} for one in self.left]
        return canonical.encode({"v": 1, "objects": objects, "left": left, "batches": batches})

    @classmethod
    def parse(cls, data: bytes) -> "PartList":
        """Raises Malformed."""
        if len(data) > MAX_LIST_BYTES:
            raise Malformed("spool export list", f"larger than {MAX_LIST_BYTES} bytes")
        fields = Fields(canonical.parse(data, "spool export list"), "spool export list")
        fields.version()
        part = cls(
            tuple(_object(item) for item in fields.items("objects", most=MAX_ENTRIES)),
            tuple(_left(item) for item in fields.items("left", most=MAX_ENTRIES)),
            tuple(_batch(item) for item in fields.items("batches", most=MAX_ENTRIES)),
        )
        fields.done()
        if not 1 <= len(part) <= MAX_ENTRIES:
            raise Malformed("spool export list", f"expected 1 to {MAX_ENTRIES} entries")
        return part


@dataclass(frozen=True)
class Manifest:
    """What the exporting host signs. `head` is the last record of its journal, which the export holds.

    `parts` are the SHA-256 of the lists, in order.
    """

    export_id: ExportId
    host_id: HostId
    exported: datetime
    objects: int
    object_bytes: int
    left: int
    head: ChainHead
    parts: tuple[bytes, ...]

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "export": str(self.export_id),
                "host": str(self.host_id),
                "exported": clock.text(self.exported),
                "objects": self.objects,
                "object_bytes": self.object_bytes,
                "left": self.left,
                "audit": {"seq": self.head.seq, "leaf": self.head.leaf.hex()},
                "parts": [digest.hex() for digest in self.parts],
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "Manifest":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "spool export manifest"), "spool export manifest")
        fields.version()
        audit = fields.fields("audit")
        manifest = cls(
            export_id=ExportId.parse(fields.text("export")),
            host_id=HostId.parse(fields.text("host")),
            exported=fields.instant("exported"),
            objects=fields.integer("objects"),
            object_bytes=fields.integer("object_bytes"),
            left=fields.integer("left"),
            head=ChainHead(audit.integer("seq", least=1), audit.hex("leaf", 32)),
            parts=tuple(_digest(item) for item in fields.items("parts", most=MAX_PARTS)),
        )
        for part in (audit, fields):
            part.done()
        return manifest


def object_name(number: int, object_id: ObjectId) -> str:
    """Return what the file of an object is called."""
    return f"{number:020}-{object_id}"


def sign_manifest(manifest: Manifest, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.SPOOL_EXPORT, manifest.encode())


def verify_manifest(signed: bytes, key: EvidencePublicKey) -> Manifest:
    """Return the manifest once its host's signature holds. Raises Malformed, WrongSigner, SignatureInvalid."""
    return Manifest.parse(verify_statement(signed, Label.SPOOL_EXPORT, key))


def _object(value: Json) -> ListedObject:
    fields = Fields(value, "spool export object")
    listed = ListedObject(
        fields.integer("number", least=1),
        ObjectId.parse(fields.text("object")),
        fields.integer("bytes"),
        fields.hex("sha256", 32),
        fields.hex("record_sha256", 32),
    )
    fields.done()
    return listed


def _left(value: Json) -> LeftObject:
    fields = Fields(value, "spool export object")
    left = LeftObject(ObjectId.parse(fields.text("object")), Left(fields.choice("why", list(Left))))
    fields.done()
    return left


def _batch(value: Json) -> ListedBatch:
    fields = Fields(value, "spool export batch")
    listed = ListedBatch(
        HostId.parse(fields.text("source")),
        fields.integer("first", least=1),
        fields.integer("last", least=1),
        fields.integer("bytes", most=MAX_BATCH_BYTES),
        fields.hex("sha256", 32),
    )
    fields.done()
    if listed.last < listed.first:
        raise Malformed("spool export batch", "it ends before it begins")
    return listed


def _digest(value: Json) -> bytes:
    return Fields({"part": value}, "spool export manifest").hex("part", 32)
