"""What a pass has to remember so that it goes on after a power cut.

Whoever keeps it makes it durable before the pass goes on, for root alone: the seed is in it.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from shared import canonical, clock
from shared.errors import Malformed
from shared.fields import Fields
from shared.sanitization.report import NOWHERE, Extents, extents_json, parse_extents
from shared.sanitization.stream import Content

_MAX_BYTES = 64 << 10


@dataclass(frozen=True)
class PassState:
    """All before `position` was flushed, but for what is `unwritable`; what lies behind it is written again."""

    content: Content
    part: str
    size_bytes: int
    position: int
    retries: int
    unwritable: Extents
    resumed: int
    started: datetime

    @classmethod
    def begin(cls, content: Content, part: str, size_bytes: int, now: datetime) -> "PassState":
        return cls(content, part, size_bytes, 0, 0, NOWHERE, 0, now)

    def resuming(self) -> "PassState":
        """Return what to go on with after it was interrupted, in whatever way."""
        return replace(self, resumed=self.resumed + 1)

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "content": self.content.json(),
                "part": self.part,
                "size_bytes": self.size_bytes,
                "position": self.position,
                "retries": self.retries,
                "unwritable": extents_json(self.unwritable),
                "resumed": self.resumed,
                "started": clock.text(self.started),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "PassState":
        """Raises Malformed."""
        if len(data) > _MAX_BYTES:
            raise Malformed("state of a pass", f"larger than {_MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "state of a pass"), "state of a pass")
        fields.version()
        state = cls(
            content=Content.parse(fields.fields("content")),
            part=fields.text("part"),
            size_bytes=fields.integer("size_bytes"),
            position=fields.integer("position"),
            retries=fields.integer("retries"),
            unwritable=parse_extents(fields, "unwritable"),
            resumed=fields.integer("resumed"),
            started=fields.instant("started"),
        )
        fields.done()
        if state.position > state.size_bytes:
            raise Malformed("state of a pass", "its position lies behind the drive's end")
        return state
