"""One object as it lies in a segment: what says where it begins and that it is whole, then the sealed object file.

    entry = head block (4,096 bytes) || sealed object file || zeros up to a multiple of 4,096
    head  = "LGENTR" || u16 version || epoch (16) || u64 number || u64 object bytes || digest (32) || u16 note bytes
            || note || zeros
    digest = SHA-256(note || small parts), the small parts being wrap, sealed index, signed record and footer

The body's own digest stands in the signed record. Both together tell an entry that was written whole from one that a
power cut tore, with no key; the epoch tells it from what lay there before.  docs/formats/spool.md section 2
"""

from dataclasses import dataclass
from hashlib import sha256
from struct import Struct

from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

BLOCK_BYTES = 4096
EPOCH_BYTES = 16
_MAGIC, _VERSION = b"LGENTR", 1
_HEAD = Struct(">6sH16sQQ32sH")
MAX_NOTE_BYTES = BLOCK_BYTES - _HEAD.size
_MAX_CHARS = 64


@dataclass(frozen=True)
class Note:
    """What is to be recorded of an object and stands in no part of it: whose it is, as the peer called itself.

    `sop_class` is what its C-STORE or its file said. `owed`: this host owes the object to an archive, so it was
    registered before it was acknowledged, because the second wrap for that lies where it can be deleted. `brought`: it
    came with another host's export, whose record of it names both; where it is not registered, the import is repeated.
    """

    ae_title: str
    sop_class: str
    owed: bool = False
    brought: bool = False

    @property
    def counts_unregistered(self) -> bool:
        """Return whether somebody may have been told that the object is safe before it was registered."""
        return not (self.owed or self.brought)

    def encode(self) -> bytes:
        members: dict[str, Json] = {"v": 1, "ae_title": self.ae_title, "sop_class": self.sop_class}
        for name, said in (("owed", self.owed), ("brought", self.brought)):
            if said:
                members[name] = True
        return canonical.encode(members)

    @classmethod
    def parse(cls, data: bytes) -> "Note":
        """Raises Malformed."""
        fields = Fields(canonical.parse(data, "spool note"), "spool note")
        fields.version()
        note = cls(
            fields.text("ae_title", r"(?s:.*)", max_chars=_MAX_CHARS),
            fields.text("sop_class", r"(?s:.*)", max_chars=_MAX_CHARS),
            owed=fields.has("owed") and fields.flag("owed"),
            brought=fields.has("brought") and fields.flag("brought"),
        )
        fields.done()
        return note


@dataclass(frozen=True)
class EntryHead:
    epoch: bytes
    number: int
    object_bytes: int
    digest: bytes
    note: bytes

    @property
    def entry_bytes(self) -> int:
        return entry_bytes(self.object_bytes)

    def encode(self) -> bytes:
        return (
            _HEAD.pack(_MAGIC, _VERSION, self.epoch, self.number, self.object_bytes, self.digest, len(self.note))
            + self.note
        )

    @classmethod
    def parse(cls, block: bytes, epoch: bytes) -> "EntryHead | None":
        """Return the head in a block, None where it is none of this epoch's."""
        if len(block) < BLOCK_BYTES or not block.startswith(_MAGIC):
            return None
        _, version, found, number, size, digest, note_bytes = _HEAD.unpack_from(block)
        if version != _VERSION or found != epoch or note_bytes > MAX_NOTE_BYTES:
            return None
        return cls(found, number, size, digest, block[_HEAD.size : _HEAD.size + note_bytes])


def entry_bytes(object_bytes: int) -> int:
    """Return how much room an object takes in a segment."""
    return BLOCK_BYTES + -(-object_bytes // BLOCK_BYTES) * BLOCK_BYTES


def digest_of(note: bytes, small_parts: bytes | memoryview) -> bytes:
    digest = sha256(note)
    digest.update(small_parts)
    return digest.digest()


def verify_entry(head: EntryHead, small_parts: bytes) -> None:
    """Raises Malformed: the entry is not the one that its head is of."""
    if digest_of(head.note, small_parts) != head.digest:
        raise Malformed("spool entry", "its small parts are not those its head names")
