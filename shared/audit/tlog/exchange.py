"""How a host asks for the place of one of its own records in the centre's log.

question = canonical JSON {"v": 1, "leaf": 64 hex digits}
answer   = canonical JSON {"v": 1, "proof": text}, a C2SP tlog-proof (shared.audit.tlog.proof_text)
"""

from dataclasses import dataclass

from shared import canonical
from shared.audit.tlog.proof_text import MAX_CHARS
from shared.errors import Malformed
from shared.fields import Fields

PATH = "/api/v1/log/inclusion"
MAX_QUESTION_BYTES = 256
MAX_ANSWER_BYTES = 2 * MAX_CHARS


@dataclass(frozen=True)
class InclusionQuestion:
    leaf: bytes

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "leaf": self.leaf.hex()})

    @classmethod
    def parse(cls, data: bytes) -> "InclusionQuestion":
        """Raises Malformed."""
        fields = _message(data, "inclusion question", MAX_QUESTION_BYTES)
        question = cls(fields.hex("leaf", 32))
        fields.done()
        return question


@dataclass(frozen=True)
class InclusionAnswer:
    proof: str

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "proof": self.proof})

    @classmethod
    def parse(cls, data: bytes) -> "InclusionAnswer":
        """Raises Malformed; nothing is verified yet."""
        fields = _message(data, "inclusion answer", MAX_ANSWER_BYTES)
        answer = cls(fields.text("proof", r"(?s:.*)", max_chars=MAX_CHARS))
        fields.done()
        return answer


def _message(data: bytes, what: str, most: int) -> Fields:
    if len(data) > most:
        raise Malformed(what, f"larger than {most} bytes")
    fields = Fields(canonical.parse(data, what), what)
    fields.version()
    return fields
