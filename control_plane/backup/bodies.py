"""The list of bodies in a backup, by object id. The bodies themselves lie beside all backups of a folder, once.

    line = object id (32 hex) || " " || bytes in decimal || " " || SHA-256 (64 hex) || " " || "held" or "damaged" || LF

docs/formats/backup.md section 4
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from shared.errors import Malformed
from shared.identity import ObjectId

_LINE = re.compile(rb"([0-9a-f]{32}) (0|[1-9][0-9]{0,15}) ([0-9a-f]{64}) (held|damaged)\n")
_MAX_LINE_BYTES = 128


@dataclass(frozen=True)
class Body:
    """`sha256` is what the host signed of it, 32 zero bytes where that could not be read. Not held: it was not that."""

    object_id: ObjectId
    size_bytes: int
    sha256: bytes
    is_held: bool

    def line(self) -> bytes:
        state = "held" if self.is_held else "damaged"
        return f"{self.object_id} {self.size_bytes} {self.sha256.hex()} {state}\n".encode()


def read(file: IO[bytes]) -> Iterator[Body]:
    """Raises Malformed."""
    before = b""
    while line := file.readline(_MAX_LINE_BYTES):
        found = _LINE.fullmatch(line)
        if found is None:
            raise Malformed("list of bodies", "a line is not object id, bytes, SHA-256 and state")
        name, size_bytes, digest, state = found.groups()
        if name <= before:
            raise Malformed("list of bodies", f"object {name.decode()} is not in its place")
        before = name
        yield Body(ObjectId.parse(name.decode()), int(size_bytes), bytes.fromhex(digest.decode()), state == b"held")
