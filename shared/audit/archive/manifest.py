"""What an archive says of itself, in the word of the centre's evidence key.

    manifest.json   = canonical JSON, the members of `Manifest`
    manifest.signed = signed statement (label AUDIT_ARCHIVE) over canonical JSON {"v": 1, "manifest": SHA-256, hex}

docs/formats/audit-archive.md
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from shared import canonical, clock
from shared.audit.question import Question
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed
from shared.fields import Fields
from shared.identity import SOURCE_PATTERN
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

KIND = "leadglass audit archive"
MAX_RECORDS = 10_000
MAX_MANIFEST_BYTES = 24 << 20
MAX_SIGNED_BYTES = 4096
MANIFEST, SIGNED, CHECKPOINT, KEY = "manifest.json", "manifest.signed", "checkpoint", "log-key.json"
KEPT, COSIGNED = "kept", "cosigned"
"""Folders with an earlier `checkpoint` and its `consistency` with the archive's own."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,160}"
_MAX_FILES = 65_000
OPENED, SEALED, ERASED, NONE, NOT_OPENABLE = "opened", "sealed", "erased", "none", "not openable"
_PRIVATE = (OPENED, SEALED, ERASED, NONE, NOT_OPENABLE)


class NotThisManifest(IntegrityFailure):
    def __init__(self) -> None:
        super().__init__("the manifest is not the one that the centre signed")


@dataclass(frozen=True)
class Listed:
    """A record in the archive. `signed` names the file with what its source signed, None where that is not held."""

    entry: int
    source: str
    seq: int
    private: str
    signed: str | None

    def file(self, folder: str) -> str:
        suffix = {"records": ".json", "proofs": ".tlog-proof", "private": ".json", "salts": ".salt"}[folder]
        return f"{folder}/{self.entry:012d}{suffix}"

    def json(self) -> Json:
        return {"entry": self.entry, "source": self.source, "seq": self.seq, "private": self.private,
                "signed": self.signed}  # fmt: skip


@dataclass(frozen=True)
class File:
    name: str
    size_bytes: int
    sha256: bytes

    def json(self) -> Json:
        return {"name": self.name, "bytes": self.size_bytes, "sha256": self.sha256.hex()}

    @classmethod
    def of(cls, name: str, data: bytes) -> "File":
        return cls(name, len(data), sha256(data).digest())


@dataclass(frozen=True)
class Manifest:
    """`asked_at` is the size that the log had when the question was put; `size` is that of the checkpoint beside it."""

    made: datetime
    by: str
    question: Question
    asked_at: int
    origin: str
    size: int
    records: tuple[Listed, ...]
    files: tuple[File, ...]

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "kind": KIND,
                "made": clock.text(self.made),
                "by": self.by,
                "question": self.question.json(),
                "asked_at": self.asked_at,
                "found": len(self.records),
                "origin": self.origin,
                "size": self.size,
                "records": [one.json() for one in self.records],
                "files": [one.json() for one in self.files],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Raises Malformed; nothing is verified yet."""
        if len(data) > MAX_MANIFEST_BYTES:
            raise Malformed("archive manifest", f"larger than {MAX_MANIFEST_BYTES} bytes")
        fields = Fields(canonical.parse(data, "archive manifest"), "archive manifest")
        fields.version()
        fields.choice("kind", [KIND])
        found = fields.integer("found", most=MAX_RECORDS)
        manifest = cls(
            made=fields.instant("made"),
            by=fields.text("by", max_chars=200),
            question=Question.parse(fields.mapping("question", most=16)),
            asked_at=fields.integer("asked_at"),
            origin=fields.text("origin", max_chars=200),
            size=fields.integer("size"),
            records=tuple(_listed(item) for item in fields.items("records", most=MAX_RECORDS)),
            files=tuple(_file(item) for item in fields.items("files", most=_MAX_FILES)),
        )
        fields.done()
        if found != len(manifest.records):
            raise Malformed("archive manifest", f"it says {found} were found and lists {len(manifest.records)}")
        return manifest


def sign_manifest(encoded: bytes, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.AUDIT_ARCHIVE, canonical.encode({"v": 1, "manifest": _digest(encoded)}))


def verify_manifest(encoded: bytes, signed: bytes, key: EvidencePublicKey) -> None:
    """Raises Malformed, WrongSigner, SignatureInvalid, NotThisManifest."""
    statement = verify_statement(signed, Label.AUDIT_ARCHIVE, key)
    fields = Fields(canonical.parse(statement, "archive statement"), "archive statement")
    fields.version()
    named = fields.hex("manifest", 32)
    fields.done()
    if named.hex() != _digest(encoded):
        raise NotThisManifest


def _digest(encoded: bytes) -> str:
    return sha256(encoded).hexdigest()


def _listed(value: Json) -> Listed:
    fields = Fields(value, "archive manifest record")
    listed = Listed(
        entry=fields.integer("entry"),
        source=fields.text("source", SOURCE_PATTERN),
        seq=fields.integer("seq", least=1),
        private=fields.choice("private", _PRIVATE),
        signed=None if fields.is_null("signed") else fields.text("signed", _NAME),
    )
    fields.done()
    return listed


def _file(value: Json) -> File:
    fields = Fields(value, "archive manifest file")
    file = File(fields.text("name", _NAME), fields.integer("bytes"), fields.hex("sha256", 32))
    fields.done()
    return file
