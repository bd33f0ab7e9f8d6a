"""What a backup holds, signed by the centre's journal key: whoever has the manifest has all of it or knows what is not.

    manifest = signed statement (label BACKUP) over canonical JSON, the members of `Manifest`

docs/formats/backup.md section 2
"""

from dataclasses import dataclass
from datetime import datetime

from shared import canonical, clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

LABEL_PATTERN = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}"
DATABASE, BODIES, TEST_OBJECT = "database", "bodies", "test-object"
PARTS = (DATABASE, BODIES, TEST_OBJECT)
MAX_BYTES = 1 << 20
_REVISION_PATTERN = r"[0-9a-z]{1,32}"
_KEY_PATTERN = r"[!-~]{1,80}"
_MAX_KEYS = 4096


@dataclass(frozen=True)
class Part:
    """A file of a backup: its length and SHA-256."""

    size_bytes: int
    sha256: bytes

    def json(self) -> dict[str, Json]:
        return {"bytes": self.size_bytes, "sha256": self.sha256.hex()}


@dataclass(frozen=True)
class Manifest:
    """`begun` is when the database stood still for the copy. `audit_seq` is the centre's last record in it.

    `damaged` counts the objects whose bodies were not whole in the vault, and of which the backup holds none.
    """

    label: str
    begun: datetime
    schema: str
    audit_seq: int
    keys: tuple[str, ...]
    objects: int
    body_bytes: int
    damaged: int
    parts: dict[str, Part]

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "label": self.label,
                "begun": clock.text(self.begun),
                "schema": self.schema,
                "audit_seq": self.audit_seq,
                "keys": list(self.keys),
                "objects": self.objects,
                "body_bytes": self.body_bytes,
                "damaged": self.damaged,
                "parts": {name: part.json() for name, part in self.parts.items()},
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "Manifest":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "backup manifest"), "backup manifest")
        fields.version()
        manifest = cls(
            label=fields.text("label", LABEL_PATTERN),
            begun=fields.instant("begun"),
            schema=fields.text("schema", _REVISION_PATTERN),
            audit_seq=fields.integer("audit_seq"),
            keys=tuple(_key(item) for item in fields.items("keys", most=_MAX_KEYS)),
            objects=fields.integer("objects"),
            body_bytes=fields.integer("body_bytes"),
            damaged=fields.integer("damaged"),
            parts=_parts(fields.fields("parts")),
        )
        fields.done()
        if manifest.damaged > manifest.objects:
            raise Malformed("backup manifest", "more objects are damaged than there are")
        return manifest


def _parts(fields: Fields) -> dict[str, Part]:
    parts = {name: _part(fields.fields(name)) for name in PARTS}
    fields.done()
    return parts


def _part(fields: Fields) -> Part:
    part = Part(fields.integer("bytes"), fields.hex("sha256", 32))
    fields.done()
    return part


def _key(item: Json) -> str:
    return Fields({"key": item}, "backup manifest keys").text("key", _KEY_PATTERN)
