"""Frames on a stream: what one side says, with its length in front.

    frame = length (4 bytes, big-endian, 1 to the reader's limit) || payload

A reader says how much it wants next and is never given more, so that what a peer sends ahead waits in the kernel and
holds the peer up, not us.
"""

from shared.errors import Malformed

LENGTH_BYTES = 4
_PIECE_BYTES = 64 << 10


class FrameReader:
    """Puts one frame after another together from pieces; of a frame only what came is held, whatever it announces."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._head, self._payload = bytearray(), bytearray()
        self._size: int | None = None  # of the payload, once its length is here

    @property
    def wanted(self) -> int:
        """Return how many bytes to read next at most, such that they all belong to this frame."""
        if self._size is None:
            return LENGTH_BYTES - len(self._head)
        return min(self._size - len(self._payload), _PIECE_BYTES)

    @property
    def is_within(self) -> bool:
        """Return whether a frame has begun that is not whole yet."""
        return bool(self._head)

    def feed(self, data: bytes) -> bytes | None:
        """Take at most `wanted` bytes; return the payload that they complete. Raises Malformed: its length."""
        if self._size is None:
            self._head += data
            if len(self._head) == LENGTH_BYTES:
                self._size = self._length()
            return None
        self._payload += data
        if len(self._payload) < self._size:
            return None
        whole = bytes(self._payload)
        self._head, self._payload, self._size = bytearray(), bytearray(), None
        return whole

    def _length(self) -> int:
        size = int.from_bytes(self._head)
        if not 1 <= size <= self._most_bytes:
            raise Malformed("frame", f"a length of {size} bytes, expected 1 to {self._most_bytes}")
        return size


def frame(payload: bytes, most_bytes: int) -> bytes:
    """Return `payload` as a frame. Raises Malformed: it is empty, or larger than its reader takes."""
    if not 1 <= len(payload) <= most_bytes:
        raise Malformed("frame", f"{len(payload)} bytes, expected 1 to {most_bytes}")
    return len(payload).to_bytes(LENGTH_BYTES) + payload
