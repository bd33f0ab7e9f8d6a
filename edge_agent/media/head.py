"""What the first bytes of a medium or a partition say of it, as values with their evidence."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from shared.canonical import Json
from shared.fields import Fields

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""Returns up to so many bytes (second) from an offset (first); fewer only at the end."""

MAX_FOUND, MAX_LISTED = 16, 8
MAX_WHAT_CHARS = 200
MAX_LUKS_TEXT_CHARS = 100


class Kind(StrEnum):
    LUKS1 = "LUKS1"
    LUKS2 = "LUKS2"
    BITLOCKER = "BitLocker"
    BITLOCKER_TO_GO = "BitLocker To Go"
    MBR = "MBR"
    GPT = "GPT"
    FAT = "FAT"
    EXFAT = "exFAT"
    NTFS = "NTFS"
    REFS = "ReFS"
    EXT = "ext"
    XFS = "XFS"
    BTRFS = "btrfs"
    F2FS = "F2FS"
    SQUASHFS = "squashfs"
    ISO9660 = "ISO 9660"
    UDF = "UDF"
    HFS = "HFS"
    HFS_PLUS = "HFS+"
    APFS = "APFS"
    SWAP = "swap"
    LVM = "LVM"
    MD_RAID = "MD RAID"
    EMPTY = "empty"
    HIGH_ENTROPY = "unknown, high entropy"  # random, compressed or encrypted: VeraCrypt cannot be told from random
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Found:
    """`offset` counts bytes from the beginning of the medium or partition; `what` is one printable line."""

    kind: Kind
    offset: int
    what: str

    def __str__(self) -> str:
        return f"{self.kind.value} at {self.offset}: {self.what}"

    def json(self) -> dict[str, Json]:
        return {"kind": self.kind.value, "offset": self.offset, "what": self.what}

    @classmethod
    def parse(cls, value: Json) -> "Found":
        fields = Fields(value, "found on a medium")
        found = cls(
            Kind(fields.choice("kind", list(Kind))),
            fields.integer("offset"),
            fields.text("what", max_chars=MAX_WHAT_CHARS),
        )
        fields.done()
        return found


@dataclass(frozen=True)
class Luks2:
    """What a LUKS2 header says. `weak` names what of the medium it leaves in clear, or a key that it gives away.

    `copies` are those of its two headers that are whole. Without one, nothing else of it is known.
    """

    copies: tuple[str, ...] = ()
    uuid: str = ""
    label: str = ""
    ciphers: tuple[str, ...] = ()
    key_bits: int = 0  # the shortest of all keyslots
    kdfs: tuple[str, ...] = ()
    keyslots: int = 0
    tokens: int = 0
    data_offsets: tuple[int, ...] = ()
    weak: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def json(self) -> dict[str, Json]:
        return {
            "copies": list(self.copies), "uuid": self.uuid, "label": self.label, "ciphers": list(self.ciphers),
            "key_bits": self.key_bits, "kdfs": list(self.kdfs), "keyslots": self.keyslots, "tokens": self.tokens,
            "data_offsets": list(self.data_offsets), "weak": list(self.weak), "problems": list(self.problems),
        }  # fmt: skip

    @classmethod
    def parse(cls, fields: Fields) -> "Luks2":
        header = cls(
            _texts(fields, "copies"),
            fields.text("uuid", max_chars=40),
            fields.text("label", max_chars=48),
            _texts(fields, "ciphers"),
            fields.integer("key_bits"),
            _texts(fields, "kdfs"),
            fields.integer("keyslots"),
            fields.integer("tokens"),
            tuple(Fields({"at": at}, "LUKS2").integer("at") for at in fields.items("data_offsets", most=MAX_LISTED)),
            _texts(fields, "weak"),
            _texts(fields, "problems"),
        )
        fields.done()
        return header


@dataclass(frozen=True)
class Head:
    """Everything that was found at the beginning, never nothing: EMPTY, HIGH_ENTROPY and UNKNOWN stand alone."""

    found: tuple[Found, ...]
    luks2: Luks2 | None = None

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset(found.kind for found in self.found)

    def json(self) -> dict[str, Json]:
        return {
            "found": [found.json() for found in self.found],
            "luks2": None if self.luks2 is None else self.luks2.json(),
        }

    @classmethod
    def parse(cls, value: Json) -> "Head":
        """Raises Malformed."""
        fields = Fields(value, "head of a medium")
        head = cls(
            tuple(map(Found.parse, fields.items("found", most=MAX_FOUND))),
            None if fields.is_null("luks2") else Luks2.parse(fields.fields("luks2")),
        )
        fields.done()
        return head


def _texts(fields: Fields, name: str) -> tuple[str, ...]:
    items = fields.items(name, most=MAX_LISTED)
    return tuple(Fields({name: item}, "LUKS2").text(name, max_chars=MAX_LUKS_TEXT_CHARS) for item in items)
