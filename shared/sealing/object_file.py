"""A sealed object as one file: how it lies in the spool and travels to the vault.

    file   = "LGOBJT" || u16 version || u32 binding length || binding
             || body || wrap || sealed index || signed capture record || footer
    footer = u64 body length || u32 wrap length || u32 index length || u32 record length || "LGOEND" || u16 version

Lengths stand at the end because they are unknown while the first byte is written.
docs/formats/sealed-object.md section 7
"""

import io
import struct
from dataclasses import dataclass
from typing import Protocol

from shared.errors import Malformed
from shared.sealing import binding as bindings
from shared.sealing.binding import Binding

_MAGIC, _END = b"LGOBJT", b"LGOEND"
_VERSION = 1
_HEAD = struct.Struct(">6sHI")
_FOOTER = struct.Struct(">QIII6sH")
_MAX_PART_BYTES = 1 << 20
HEAD_MOST_BYTES = _HEAD.size + bindings.MAX_BYTES  # all that `parse_head` looks at


class SeekableSource(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...
    def readinto(self, buffer: memoryview, /) -> int | None: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


@dataclass(frozen=True)
class ObjectParts:
    """Where the body lies in the file, and the small parts themselves; nothing is verified yet."""

    binding: Binding
    body_offset: int
    body_bytes: int
    wrap: bytes
    index: bytes
    record: bytes


def head(binding: Binding) -> bytes:
    data = binding.encode()
    return _HEAD.pack(_MAGIC, _VERSION, len(data)) + data


def tail(body_bytes: int, *, wrap: bytes, index: bytes, record: bytes) -> bytes:
    footer = _FOOTER.pack(body_bytes, len(wrap), len(index), len(record), _END, _VERSION)
    return wrap + index + record + footer


def parse(source: SeekableSource) -> ObjectParts:
    """Read the small parts of the file in `source` and find its body. Raises Malformed."""
    size = source.seek(0, io.SEEK_END)
    if size < _HEAD.size + _FOOTER.size:
        raise Malformed("sealed object file", "shorter than its fixed parts")
    binding, body_offset = parse_head(source)
    source.seek(size - _FOOTER.size)
    body, wrap, index, record, end, version = _FOOTER.unpack(source.read(_FOOTER.size))
    if (end, version) != (_END, _VERSION):
        raise Malformed("sealed object file", "does not end as one; it was cut off or is still being written")
    if max(wrap, index, record) > _MAX_PART_BYTES or size != body_offset + body + wrap + index + record + _FOOTER.size:
        raise Malformed("sealed object file", "its lengths do not add up")
    source.seek(body_offset + body)
    return ObjectParts(binding, body_offset, body, source.read(wrap), source.read(index), source.read(record))


def parse_head(source: SeekableSource) -> tuple[Binding, int]:
    """Return the binding, and where the body begins; of a file that may be cut off behind it. Raises Malformed."""
    source.seek(0)
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise Malformed("sealed object file", "shorter than its fixed parts")
    magic, version, binding_bytes = _HEAD.unpack(head)
    if (magic, version) != (_MAGIC, _VERSION) or binding_bytes > bindings.MAX_BYTES:
        raise Malformed("sealed object file", f"does not begin as LGOBJT version {_VERSION}")
    return Binding.parse(source.read(binding_bytes)), _HEAD.size + binding_bytes


class BodyWindow:
    """The body inside a sealed object file, as a readable stream of its own."""

    def __init__(self, source: SeekableSource, parts: ObjectParts) -> None:
        source.seek(parts.body_offset)
        self._source, self._left = source, parts.body_bytes

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._source.readinto(buffer[: self._left]) or 0
        self._left -= count
        return count
