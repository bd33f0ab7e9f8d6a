"""The bundle as a file: a tar archive of exactly one form, so that no byte of it is without meaning.

    archive = (header (512) || content || zeros to a multiple of 512) for each member || 1,024 zeros
    header  = POSIX ustar: name, size, mode 0644, owner 0, time 0, an ordinary file; nothing else

Any tar reads it. This reader makes each header again from name and size and takes no other, so it knows no links,
folders, long names or sparse files that could lead anywhere. docs/formats/bundle.md section 1.
"""

import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from shared.errors import Malformed

MAX_MEMBERS = 256
MAX_BYTES = 2 << 30
_BLOCK = 512
_PIECE_BYTES = 1 << 20
_NAME = re.compile(r"((packages|site|guides)/)?[A-Za-z0-9][A-Za-z0-9._+~-]{0,79}")
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True)
class Member:
    name: str
    size: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise Malformed("bundle", f"no member may be called {self.name[:80]!r}")

    @property
    def header(self) -> bytes:
        info = tarfile.TarInfo(self.name)
        info.size = self.size
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def write(out: BinaryIO, members: Iterable[tuple[Member, BinaryIO]]) -> None:
    """Write each member with what its source holds, which has to be as long as it says. Raises Malformed, OSError."""
    for member, source in members:
        out.write(member.header)
        left = member.size
        while piece := source.read(min(left, _PIECE_BYTES)):
            left -= len(piece)
            out.write(piece)
        if left or source.read(1):
            raise Malformed(member.name, "it changed while it was read")
        out.write(bytes(-member.size % _BLOCK))
    out.write(_END)


def read(file: BinaryIO) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Yield each member and its content, which is read before the next one is asked for, up to the file's last byte.

    Raises Malformed: anything that `write` does not write, more than MAX_MEMBERS or MAX_BYTES, a file that ends early.
    """
    total = 0
    for count in range(MAX_MEMBERS + 1):
        header = _exactly(file, _BLOCK)
        if header == _END[:_BLOCK]:
            if _exactly(file, _BLOCK) != header or file.read(1):
                raise Malformed("bundle", "something follows its end")
            return
        member = _member(header)
        total += member.size
        if count == MAX_MEMBERS or total > MAX_BYTES:
            raise Malformed("bundle", f"more than {MAX_MEMBERS} members or {MAX_BYTES} bytes")
        yield member, _content(file, member.size)
        if _exactly(file, -member.size % _BLOCK).strip(b"\0"):
            raise Malformed("bundle", f"something follows {member.name}")


def whole(content: Iterator[bytes], most: int, what: str) -> bytes:
    """Return a small member's content. Raises Malformed: larger than `most`."""
    data = bytearray()
    for piece in content:
        data += piece
        if len(data) > most:
            raise Malformed(what, f"larger than {most} bytes")
    return bytes(data)


def _member(header: bytes) -> Member:
    name, size = header[:100].rstrip(b"\0"), header[124:135]
    if not re.fullmatch(rb"[0-7]{11}", size):
        raise Malformed("bundle", "not a header of ustar")
    member = Member(name.decode("ascii", "replace"), int(size, 8))
    if member.header != header:
        raise Malformed("bundle", f"the header of {member.name} is not in the one form")
    return member


def _content(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        piece = _exactly(file, min(size, _PIECE_BYTES))
        size -= len(piece)
        yield piece


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise Malformed("bundle", "it ends early")
    return data
