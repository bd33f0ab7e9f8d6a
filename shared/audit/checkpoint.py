"""Checkpoints: what a log was at one number, and the exchange in which somebody else holds the log against it.

    checkpoint = number and leaf of one record, as an audit statement (shared.audit.batch) signs them of its last
    question   = canonical JSON {"v", "seen": signed statement or null}
    answer     = canonical JSON {"v", "present": signed statement, "at_seen": signed statement or null,
                 "accepted": {"record", "statement"} or null, "certificate": PEM, with what leads to the root}

docs/formats/log-checkpoint.md
"""

import re
from dataclasses import dataclass

from shared import canonical
from shared.audit.batch import Statement
from shared.audit.events import Event, Outcome, Subject
from shared.audit.record import MAX_PUBLIC_BYTES, AuditRecord, leaf_hash
from shared.canonical import Json
from shared.enrolment.exchange import CHAIN_PATTERN, MAX_PEM_CHARS
from shared.errors import IntegrityFailure, Malformed
from shared.fields import Fields, encode_base64
from shared.identity import CONTROL_PLANE
from shared.signing import EvidencePublicKey, Label, claimed_payload, verify_statement

PATH = "/api/v1/log/checkpoint"
MAX_QUESTION_BYTES = 8192
MAX_ANSWER_BYTES = 65_536
_MAX_STATEMENT_BYTES = 4096
LOST, GAP, _TREE = "log", "gap", "tree"
_SIZE = re.compile(r"[1-9][0-9]{0,18}")
_RANGE = re.compile(r"([1-9][0-9]{0,15}) to ([1-9][0-9]{0,15})")


class NotOfThisLog(IntegrityFailure):
    def __init__(self, source: str) -> None:
        super().__init__(f"the checkpoint is of the log of {source}, expected one of {CONTROL_PLANE}")
        self.source = source


@dataclass(frozen=True)
class Checkpoint:
    """The centre's log had at least `seq` records, and the leaf of that one was `leaf`."""

    seq: int
    leaf: bytes


@dataclass(frozen=True)
class AcceptedLoss:
    """The centre's record that a named person accepted the loss of records, with the statement that covers it."""

    record: bytes
    statement: bytes  # signed

    def json(self) -> dict[str, Json]:
        return {"record": self.record.decode(), "statement": encode_base64(self.statement)}

    @classmethod
    def of(cls, outer: Fields, name: str) -> "AcceptedLoss | None":
        """Read a member of a message that may be null. Raises Malformed."""
        if outer.is_null(name):
            return None
        fields = outer.fields(name)
        record = fields.text("record", r"(?s:.*)", max_chars=MAX_PUBLIC_BYTES).encode()
        accepted = cls(record, fields.base64("statement", max_bytes=_MAX_STATEMENT_BYTES))
        fields.done()
        return accepted


@dataclass(frozen=True)
class Loss:
    """Records `first` to `last` of the centre's log are lost, says record `seq` of it, in the name of `person`.

    `tree` is how many entries the Merkle log had at most that is lost, 0 where nothing of it is.
    """

    first: int
    last: int
    person: str
    seq: int
    tree: int = 0


@dataclass(frozen=True)
class CheckpointQuestion:
    seen: bytes | None  # the statement with the highest number that the host ever verified, signed

    def encode(self) -> bytes:
        return canonical.encode(self.json())

    def json(self) -> dict[str, Json]:
        return {"v": 1, "seen": None if self.seen is None else encode_base64(self.seen)}

    @classmethod
    def parse(cls, data: bytes) -> "CheckpointQuestion":
        """Raises Malformed; nothing is verified yet."""
        return cls.of(message(data, "checkpoint question", MAX_QUESTION_BYTES))

    @classmethod
    def of(cls, fields: Fields) -> "CheckpointQuestion":
        fields.version()
        question = cls(_statement(fields, "seen"))
        fields.done()
        return question


@dataclass(frozen=True)
class CheckpointAnswer:
    """`at_seen` is what the log signed of the number that was asked about, None where it has no such record."""

    present: bytes
    at_seen: bytes | None
    accepted: AcceptedLoss | None
    certificate: str

    def encode(self) -> bytes:
        return canonical.encode(self.json())

    def json(self) -> dict[str, Json]:
        return {
            "v": 1,
            "present": encode_base64(self.present),
            "at_seen": None if self.at_seen is None else encode_base64(self.at_seen),
            "accepted": None if self.accepted is None else self.accepted.json(),
            "certificate": self.certificate,
        }

    @classmethod
    def parse(cls, data: bytes) -> "CheckpointAnswer":
        """Raises Malformed; nothing is verified yet."""
        return cls.of(message(data, "checkpoint answer", MAX_ANSWER_BYTES))

    @classmethod
    def of(cls, fields: Fields) -> "CheckpointAnswer":
        fields.version()
        answer = cls(
            present=fields.base64("present", max_bytes=_MAX_STATEMENT_BYTES),
            at_seen=_statement(fields, "at_seen"),
            accepted=AcceptedLoss.of(fields, "accepted"),
            certificate=fields.text("certificate", CHAIN_PATTERN, max_chars=MAX_PEM_CHARS),
        )
        fields.done()
        return answer


def verify_checkpoint(signed: bytes, key: EvidencePublicKey) -> Checkpoint:
    """Return what a statement of the centre's log says of its last record.

    Raises Malformed, WrongSigner, SignatureInvalid, NotOfThisLog.
    """
    statement = Statement.parse(verify_statement(signed, Label.AUDIT_BATCH, key))
    if statement.source != CONTROL_PLANE:
        raise NotOfThisLog(statement.source)
    return Checkpoint(statement.last, statement.head)


def claimed_checkpoint(signed: bytes) -> Checkpoint:
    """Return what a signed statement says of its last record, before anything is believed. Raises Malformed."""
    statement = Statement.parse(claimed_payload(signed))
    return Checkpoint(statement.last, statement.head)


def verify_loss(accepted: AcceptedLoss, key: EvidencePublicKey) -> Loss:
    """Return what a person accepted, once the centre's signature covers the record of it.

    Raises Malformed, WrongSigner, SignatureInvalid, NotOfThisLog.
    """
    signed, record = verify_checkpoint(accepted.statement, key), AuditRecord.parse(accepted.record)
    if signed != Checkpoint(record.seq, leaf_hash(accepted.record)) or record.source != CONTROL_PLANE:
        raise Malformed("accepted loss", "its statement is about another record")
    return read_loss(record)


def read_loss(record: AuditRecord) -> Loss:
    """Read what a record of the centre says was lost. Raises Malformed."""
    if (record.event, record.outcome) != (Event.LOG_LOSS_ACCEPTED, Outcome.SUCCESS):
        raise Malformed("accepted loss", "the record says something else")
    ranges = [_RANGE.fullmatch(what.name) for what in record.what if what.kind == LOST]
    persons = [who.name for who in record.who if who.kind == "person"]
    if len(ranges) != 1 or ranges[0] is None or len(persons) != 1:
        raise Malformed("accepted loss", "it does not name one person and one run of records")
    trees = [int(what.name) for what in record.what if what.kind == _TREE and _SIZE.fullmatch(what.name)]
    return Loss(int(ranges[0][1]), int(ranges[0][2]), persons[0], record.seq, max(trees, default=0))


def loss_subject(first: int, last: int) -> Subject:
    """Return how a record names the run of records that were lost."""
    return Subject(LOST, f"{first} to {last}")


def tree_subject(size: int) -> Subject:
    """Return how a record names a Merkle log of `size` entries that somebody saw and that is not this one."""
    return Subject(_TREE, str(size))


def gap_subject(first: int, last: int) -> Subject:
    """Return how the record of an accepted loss names the numbers that are left open before it."""
    return Subject(GAP, f"{first} to {last}")


def read_gap(record: AuditRecord) -> tuple[int, int] | None:
    """Return which numbers a record says are left open before it, None where it says that of none."""
    if record.event is not Event.LOG_LOSS_ACCEPTED or record.outcome is not Outcome.SUCCESS:
        return None
    ranges = [_RANGE.fullmatch(what.name) for what in record.what if what.kind == GAP]
    return (int(ranges[0][1]), int(ranges[0][2])) if len(ranges) == 1 and ranges[0] is not None else None


def message(data: bytes, what: str, most: int) -> Fields:
    """Return the members of a message of at most `most` bytes. Raises Malformed."""
    if len(data) > most:
        raise Malformed(what, f"larger than {most} bytes")
    return Fields(canonical.parse(data, what), what)


def _statement(fields: Fields, name: str) -> bytes | None:
    return None if fields.is_null(name) else fields.base64(name, max_bytes=_MAX_STATEMENT_BYTES)
