"""What `edge_agent.media.child` prints: one line of canonical JSON of at most MAX_BYTES.

    {"v":1, "number":"8:16", "read_only":[["8:16",true],...], "survey":{...} or null, "unread":"why" or ""}

The version rises when a member changes its meaning; both sides are of one installation, so no other is read.
"""

from dataclasses import dataclass

from edge_agent.media import survey
from edge_agent.media.survey import Survey
from shared import canonical
from shared.errors import Malformed
from shared.fields import Fields

MAX_BYTES = survey.MAX_BYTES
MAX_DEVICES = 256
NUMBER_PATTERN = r"[0-9]{1,6}:[0-9]{1,7}"


@dataclass(frozen=True)
class Answer:
    """`read_only` is what the kernel said of disk and partitions after all. Either `looked_at` or `unread` is there."""

    number: str
    read_only: tuple[tuple[str, bool], ...]
    looked_at: Survey | None
    unread: str = ""

    @property
    def is_read_only(self) -> bool:
        return bool(self.read_only) and all(flag for _, flag in self.read_only)

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "number": self.number,
                "read_only": [[number, flag] for number, flag in self.read_only],
                "survey": None if self.looked_at is None else self.looked_at.json(),
                "unread": self.unread,
            }
        )

    @classmethod
    def parse(cls, line: bytes) -> "Answer":
        """Raises Malformed."""
        if len(line) > MAX_BYTES:
            raise Malformed("answer about a medium", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(line.removesuffix(b"\n"), "answer about a medium"), "answer about a medium")
        fields.version()
        pairs = [_pair(item) for item in fields.items("read_only", most=MAX_DEVICES)]
        answer = cls(
            fields.text("number", NUMBER_PATTERN),
            tuple(pairs),
            None if fields.is_null("survey") else Survey.parse(fields.mapping("survey", most=6)),
            fields.text("unread", max_chars=300),
        )
        fields.done()
        if (answer.looked_at is None) is not bool(answer.unread):
            raise Malformed("answer about a medium", "says neither what was read nor why nothing was, or both")
        return answer


def _pair(item: canonical.Json) -> tuple[str, bool]:
    if not isinstance(item, list) or len(item) != 2:
        raise Malformed("answer about a medium field 'read_only'", "expected pairs")
    fields = Fields({"number": item[0], "flag": item[1]}, "answer about a medium")
    return fields.text("number", NUMBER_PATTERN), fields.flag("flag")
