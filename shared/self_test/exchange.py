"""A host asks whether the centre can open what it captured in a self-test, and whether that is what it sent.

    question = canonical JSON of `SelfTestQuestion`, signed by the host's evidence key as a SELF_TEST_QUESTION
    answer   = canonical JSON {"v": 1, "statement": base64, "certificate": PEM, with what leads to the root}, where the
               statement is a `SelfTestAnswer`, signed by the centre's evidence key as a SELF_TEST_ANSWER

docs/formats/self-test.md
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from shared import canonical, clock
from shared.canonical import Json
from shared.enrolment.exchange import CHAIN_PATTERN, MAX_PEM_CHARS
from shared.errors import IntegrityFailure, Malformed
from shared.fields import Fields, encode_base64
from shared.identity import HostId, ObjectId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

PATH = "/api/v1/self-test"
MAX_QUESTION_BYTES = 1024
MAX_ANSWER_BYTES = 65_536
NONCE_BYTES = 32
_MAX_STATEMENT_BYTES = 2048


class Comparison(StrEnum):
    EQUAL = "equal"
    DIFFERS = "differs"


class NotTheAnswer(IntegrityFailure):
    def __init__(self) -> None:
        super().__init__("the centre's answer to the self-test is one to another question")


@dataclass(frozen=True)
class SelfTestQuestion:
    """`dataset_sha256` is that of the dataset as the host sent it to its own agent."""

    host_id: HostId
    object_id: ObjectId
    dataset_sha256: bytes
    nonce: bytes

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "host": str(self.host_id),
                "object": str(self.object_id),
                "dataset_sha256": self.dataset_sha256.hex(),
                "nonce": self.nonce.hex(),
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "SelfTestQuestion":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "self-test question"), "self-test question")
        fields.version()
        question = cls(
            host_id=HostId.parse(fields.text("host")),
            object_id=ObjectId.parse(fields.text("object")),
            dataset_sha256=fields.hex("dataset_sha256", 32),
            nonce=fields.hex("nonce", NONCE_BYTES),
        )
        fields.done()
        return question


@dataclass(frozen=True)
class SelfTestAnswer:
    """`record_sha256` is the digest of the signed capture record of the object that was opened."""

    question_sha256: bytes
    host_id: HostId
    object_id: ObjectId
    record_sha256: bytes
    opened: datetime
    comparison: Comparison

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "question_sha256": self.question_sha256.hex(),
                "host": str(self.host_id),
                "object": str(self.object_id),
                "record_sha256": self.record_sha256.hex(),
                "opened": clock.text(self.opened),
                "comparison": self.comparison.value,
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "SelfTestAnswer":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "self-test answer"), "self-test answer")
        fields.version()
        answer = cls(
            question_sha256=fields.hex("question_sha256", 32),
            host_id=HostId.parse(fields.text("host")),
            object_id=ObjectId.parse(fields.text("object")),
            record_sha256=fields.hex("record_sha256", 32),
            opened=fields.instant("opened"),
            comparison=Comparison(fields.choice("comparison", tuple(Comparison))),
        )
        fields.done()
        return answer


@dataclass(frozen=True)
class CentresWord:
    """A signed answer, and the certificates by which whoever trusts the root can judge it."""

    statement: bytes
    certificate: str

    def json(self) -> dict[str, Json]:
        return {"statement": encode_base64(self.statement), "certificate": self.certificate}

    @classmethod
    def read(cls, fields: Fields) -> "CentresWord":
        """Raises Malformed; nothing is verified yet."""
        word = cls(
            fields.base64("statement", max_bytes=_MAX_STATEMENT_BYTES),
            fields.text("certificate", CHAIN_PATTERN, max_chars=MAX_PEM_CHARS),
        )
        fields.done()
        return word

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, **self.json()})

    @classmethod
    def parse(cls, data: bytes) -> "CentresWord":
        """Raises Malformed; nothing is verified yet."""
        if len(data) > MAX_ANSWER_BYTES:
            raise Malformed("self-test answer", f"larger than {MAX_ANSWER_BYTES} bytes")
        fields = Fields(canonical.parse(data, "self-test answer"), "self-test answer")
        fields.version()
        return cls.read(fields)


def sign_question(question: SelfTestQuestion, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.SELF_TEST_QUESTION, question.encode())


def verify_question(signed: bytes, key: EvidencePublicKey) -> SelfTestQuestion:
    """Raises Malformed, WrongSigner, SignatureInvalid."""
    return SelfTestQuestion.parse(verify_statement(signed, Label.SELF_TEST_QUESTION, key))


def question_digest(signed: bytes) -> bytes:
    """Return the SHA-256 of a signed question, by which the answer names it."""
    return sha256(signed).digest()


def sign_answer(answer: SelfTestAnswer, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.SELF_TEST_ANSWER, answer.encode())


def verify_answer(signed: bytes, key: EvidencePublicKey) -> SelfTestAnswer:
    """Raises Malformed, WrongSigner, SignatureInvalid."""
    return SelfTestAnswer.parse(verify_statement(signed, Label.SELF_TEST_ANSWER, key))


def verify_answers(answer: SelfTestAnswer, question: SelfTestQuestion, signed_question: bytes) -> None:
    """Raises NotTheAnswer: it is about another object, another host, or another question."""
    asked = question_digest(signed_question), question.host_id, question.object_id
    if (answer.question_sha256, answer.host_id, answer.object_id) != asked:
        raise NotTheAnswer
