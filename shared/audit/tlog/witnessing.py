"""The exchange in which a host holds the Merkle log against the tree head that it saw, and cosigns where it goes on.

    question    = canonical JSON {"v": 2, "numbers": question of version 1, "head": checkpoint or null}
    answer      = canonical JSON {"v": 2, "numbers": answer of version 1, "key": signed statement, "head": checkpoint,
                  "proof": hashes in base64 or null, "lost": {"record", "statement"} or null}
    cosignature = canonical JSON {"v": 1, "key": signed statement, "checkpoint": signed note}

docs/formats/log-checkpoint.md
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared import canonical
from shared.audit.checkpoint import AcceptedLoss, CheckpointAnswer, CheckpointQuestion, message
from shared.audit.tlog.proofs import MAX_HASHES
from shared.audit.tlog.tree import HASH_BYTES
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields, decode_base64, encode_base64

COSIGNATURE_PATH = "/api/v1/log/cosignature"
VERSION = 2
MAX_QUESTION_BYTES = 16_384
MAX_ANSWER_BYTES = 131_072
MAX_COSIGNATURE_BYTES = 16_384
_MAX_STATEMENT_BYTES = 4096
_MAX_NOTE_CHARS = 4096


@dataclass(frozen=True)
class HeadQuestion:
    """`numbers` asks of the centre's own records; `head` is the checkpoint that the host keeps, as it was signed."""

    numbers: CheckpointQuestion
    head: str | None

    def encode(self) -> bytes:
        return canonical.encode({"v": VERSION, "numbers": self.numbers.json(), "head": self.head})

    @classmethod
    def parse(cls, data: bytes) -> "HeadQuestion":
        """Raises Malformed; nothing is verified yet."""
        fields = message(data, "log question", MAX_QUESTION_BYTES)
        fields.version(VERSION)
        numbers = CheckpointQuestion.of(fields.fields("numbers"))
        question = cls(numbers, None if fields.is_null("head") else _note(fields, "head"))
        fields.done()
        if question.head is not None and numbers.seen is None:
            raise Malformed("log question", "a head that was seen without any number")
        return question


@dataclass(frozen=True)
class HeadAnswer:
    """`proof` leads from the head that was asked about to `head`, None where nothing does.

    `lost` is the record by which a person accepted that the head which was asked about is of a log that is lost.
    """

    numbers: CheckpointAnswer
    key: bytes
    head: str
    proof: tuple[bytes, ...] | None
    lost: AcceptedLoss | None

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": VERSION,
                "numbers": self.numbers.json(),
                "key": encode_base64(self.key),
                "head": self.head,
                "proof": None if self.proof is None else _hashes(self.proof),
                "lost": None if self.lost is None else self.lost.json(),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "HeadAnswer":
        """Raises Malformed; nothing is verified yet."""
        fields = message(data, "log answer", MAX_ANSWER_BYTES)
        fields.version(VERSION)
        answer = cls(
            numbers=CheckpointAnswer.of(fields.fields("numbers")),
            key=fields.base64("key", max_bytes=_MAX_STATEMENT_BYTES),
            head=_note(fields, "head"),
            proof=None if fields.is_null("proof") else _proof(fields),
            lost=AcceptedLoss.of(fields, "lost"),
        )
        fields.done()
        return answer


@dataclass(frozen=True)
class Cosigned:
    """A checkpoint that a host cosigned, and by which key, in the word of its evidence key."""

    key: bytes
    checkpoint: str

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "key": encode_base64(self.key), "checkpoint": self.checkpoint})

    @classmethod
    def parse(cls, data: bytes) -> "Cosigned":
        """Raises Malformed; nothing is verified yet."""
        fields = message(data, "cosigned checkpoint", MAX_COSIGNATURE_BYTES)
        fields.version()
        cosigned = cls(fields.base64("key", max_bytes=_MAX_STATEMENT_BYTES), _note(fields, "checkpoint"))
        fields.done()
        return cosigned


def asked_version(data: bytes) -> int:
    """Return which version of the exchange a question is of, before anything else is read. Raises Malformed."""
    fields = message(data, "log question", MAX_QUESTION_BYTES)
    return fields.integer("v", most=VERSION)


def _note(fields: Fields, name: str) -> str:
    return fields.text(name, r"(?s:.*)", max_chars=_MAX_NOTE_CHARS)


def _hashes(proof: Sequence[bytes]) -> list[Json]:
    return [encode_base64(one) for one in proof]


def _proof(fields: Fields) -> tuple[bytes, ...]:
    proof = tuple(decode_base64(one, "consistency proof", HASH_BYTES) for one in fields.items("proof", most=MAX_HASHES))
    if any(len(one) != HASH_BYTES for one in proof):
        raise Malformed("consistency proof", f"expected hashes of {HASH_BYTES} bytes")
    return proof
