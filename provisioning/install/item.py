"""What lies at a path of a host: as it is to be, as it is, and as it was noted before it was written."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from shared.canonical import Json
from shared.fields import Fields

_PATH = r"(/[^/\x00-\x1f\x7f]+)+"
_DIGEST = r"[0-9a-f]{64}"
_NAME = r"[A-Za-z0-9_.-]+"
_MAX_PATH_CHARS = 4096
_MOST_MODE = 0o7777


class Kind(StrEnum):
    FILE = "file"
    LINK = "link"
    FOLDER = "folder"
    OTHER = "other"  # a device, a socket: nothing that we make


class Part(StrEnum):
    """What belongs together: it is installed whole, and stays so whatever else is."""

    AGENT = "agent"
    ADDRESSES = "addresses"  # follows enrolment
    GUARD = "guard"
    SIDECAR = "sidecar"
    DENIAL = "denial"  # nothing on the USB is authorised by itself
    CENTRE = "centre"


@dataclass(frozen=True)
class Rights:
    mode: int
    owner: str = "root"
    group: str = "root"

    def json(self) -> dict[str, Json]:
        return {"mode": self.mode, "owner": self.owner, "group": self.group}

    def __str__(self) -> str:
        return f"{self.mode:04o} {self.owner}:{self.group}"


@dataclass(frozen=True)
class Wanted:
    """`content` is that of a file, or where a link points. What is `theirs` is written once, and then people's own."""

    path: str
    part: Part
    kind: Kind = Kind.FILE
    content: bytes = b""
    rights: Rights = Rights(0o644)
    theirs: bool = False

    @property
    def digest(self) -> str:
        return digest_of(self.kind, self.content)


@dataclass(frozen=True)
class There:
    """What is at a path now. The rights of a link say nothing and are none."""

    kind: Kind
    digest: str
    rights: Rights


@dataclass(frozen=True)
class Noted:
    """What we write, or wrote, at a path: each of `digests` is ours. `replaced` was there before us; a copy is kept."""

    path: str
    part: Part
    kind: Kind
    digests: tuple[str, ...]
    theirs: bool = False
    replaced: There | None = None

    def json(self) -> Json:
        value: dict[str, Json] = {
            "path": self.path, "part": self.part.value, "kind": self.kind.value, "digests": list(self.digests),
        }  # fmt: skip
        if self.theirs:
            value["theirs"] = True
        if self.replaced is not None:
            value["replaced"] = {
                "kind": self.replaced.kind.value, "digest": self.replaced.digest, **self.replaced.rights.json(),
            }  # fmt: skip
        return value

    @classmethod
    def parse(cls, value: Json) -> "Noted":
        """Raises Malformed."""
        fields = Fields(value, "installed.json entry")
        noted = cls(
            path=fields.text("path", _PATH, max_chars=_MAX_PATH_CHARS),
            part=Part(fields.choice("part", list(Part))),
            kind=_kind(fields),
            digests=tuple(_digest(one) for one in fields.items("digests", most=8)),
            theirs=fields.flag("theirs") if fields.has("theirs") else False,
            replaced=_there(fields.fields("replaced")) if fields.has("replaced") else None,
        )
        fields.done()
        return noted


def digest_of(kind: Kind, content: bytes) -> str:
    """Return what tells one thing at a path from another; of folders there is one."""
    return sha256(kind.value.encode() + b"\x00" + (b"" if kind is Kind.FOLDER else content)).hexdigest()


def _there(fields: Fields) -> There:
    kind, digest = _kind(fields), fields.text("digest", _DIGEST)
    mode = fields.integer("mode", most=_MOST_MODE)
    there = There(kind, digest, Rights(mode, fields.text("owner", _NAME), fields.text("group", _NAME)))
    fields.done()
    return there


def _kind(fields: Fields) -> Kind:
    return Kind(fields.choice("kind", [Kind.FILE, Kind.LINK, Kind.FOLDER]))


def _digest(value: Json) -> str:
    fields = Fields({"digest": value}, "installed.json entry")
    return fields.text("digest", _DIGEST)
