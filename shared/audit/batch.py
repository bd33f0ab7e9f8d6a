"""Batches: how records travel, signed by their source and judged on arrival.

    batch     = canonical JSON {"records": [{"public": text, "sealed": base64 or null}], "statement": base64}
    statement = signed statement (label AUDIT_BATCH) over canonical JSON
                {"v", "source", "first", "last", "prev", "head"}

`head` is the leaf hash of the last record. Each record names the leaf before it, so the one signature over `head`
covers every record of the batch and, through `prev`, all that came before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared import canonical
from shared.audit.record import GENESIS, MAX_SEALED_BYTES, AuditRecord, ReadRecord, StoredRecord
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fields import Fields, encode_base64
from shared.identity import SOURCE_PATTERN
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

MAX_RECORDS = 1000
MAX_BYTES = 16 << 20
MAX_STATEMENT_BYTES = 4096

Read = TypeVar("Read", bound=ReadRecord)


@dataclass(frozen=True)
class ChainHead:
    """The last record held of a source: its number and leaf hash; 0 and 32 zero bytes before the first."""

    seq: int = 0
    leaf: bytes = GENESIS


@dataclass(frozen=True)
class Statement:
    """What the source signs about one run of records."""

    source: str
    first: int
    last: int
    prev: bytes
    head: bytes

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "source": self.source,
                "first": self.first,
                "last": self.last,
                "prev": self.prev.hex(),
                "head": self.head.hex(),
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "Statement":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "audit statement"), "audit statement")
        fields.version()
        statement = cls(
            source=fields.text("source", SOURCE_PATTERN),
            first=fields.integer("first", least=1),
            last=fields.integer("last", least=1),
            prev=fields.hex("prev", 32),
            head=fields.hex("head", 32),
        )
        fields.done()
        if statement.last < statement.first:
            raise Malformed("audit statement", "it ends before it begins")
        return statement


@dataclass(frozen=True)
class Batch:
    records: tuple[StoredRecord, ...]
    statement: bytes  # signed

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "records": [
                    {"public": r.public.decode(), "sealed": None if r.sealed is None else encode_base64(r.sealed)}
                    for r in self.records
                ],
                "statement": encode_base64(self.statement),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Batch":
        """Raises Malformed; nothing is verified yet."""
        if len(data) > MAX_BYTES:
            raise Malformed("audit batch", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "audit batch"), "audit batch")
        records = tuple(_stored(item) for item in fields.items("records", most=MAX_RECORDS))
        batch = cls(records, fields.base64("statement", max_bytes=MAX_STATEMENT_BYTES))
        fields.done()
        return batch


class AuditGap(Refused):
    """Records are missing between what is held and what came. Send again from the one after `held`."""

    def __init__(self, source: str, *, held: int, offered: int) -> None:
        super().__init__(f"{source} sent audit records from {offered}; record {held + 1} has not arrived")
        self.source, self.held, self.offered = source, held, offered


class AuditForked(IntegrityFailure):
    """A source tells two stories: a record that is held differs from, or is not the parent of, what it sent."""

    def __init__(self, source: str, seq: int) -> None:
        super().__init__(f"audit record {seq} of {source} does not continue the chain that is held")
        self.source, self.seq = source, seq


class AuditAltered(IntegrityFailure):
    def __init__(self, source: str, seq: int, why: str) -> None:
        super().__init__(f"audit record {seq} of {source} was altered: {why}")
        self.source, self.seq, self.why = source, seq, why


def sign_batch(source: str, prev: bytes, records: Sequence[StoredRecord], signer: EvidenceSigner) -> Batch:
    """Return `records` (at least one, consecutive, the first one's parent being `prev`) as a signed batch."""
    first, last = AuditRecord.parse(records[0].public).seq, AuditRecord.parse(records[-1].public).seq
    statement = Statement(source, first, last, prev, records[-1].leaf)
    return Batch(tuple(records), sign_statement(signer, Label.AUDIT_BATCH, statement.encode()))


def verify_batch(batch: Batch, source: str, key: EvidencePublicKey) -> tuple[AuditRecord, ...]:
    """Return the records of `batch` once signature, source, numbers and chain hold within it.

    Raises Malformed, WrongSigner, SignatureInvalid, AuditAltered.
    """
    return verify_batch_by(AuditRecord.parse, batch, source, key)


def verify_batch_by(
    read: Callable[[bytes], Read], batch: Batch, source: str, key: EvidencePublicKey
) -> tuple[Read, ...]:
    """Do what `verify_batch` does by a reader that takes and refuses what `AuditRecord.parse` does."""
    return verify_chained(read, batch, verify_stated(batch, source, key))


def verify_stated(batch: Batch, source: str, key: EvidencePublicKey) -> Statement:
    """Return what `source` signed about as many records as are in `batch`; none of them is looked at yet.

    Raises Malformed, WrongSigner, SignatureInvalid.
    """
    statement = Statement.parse(verify_statement(batch.statement, Label.AUDIT_BATCH, key))
    if statement.source != source or len(batch.records) != statement.last - statement.first + 1:
        raise Malformed("audit batch", f"its statement is not about {len(batch.records)} records of {source}")
    return statement


def verify_chained(read: Callable[[bytes], Read], batch: Batch, statement: Statement) -> tuple[Read, ...]:
    """Return the records of `batch`, once they are those that `statement` is about. Raises AuditAltered."""
    leaf, parsed, source = statement.prev, list[Read](), statement.source
    for seq, stored in enumerate(batch.records, statement.first):
        parsed.append(linked(read, seq, leaf, source, stored))
        leaf = stored.leaf
    if leaf != statement.head:
        raise AuditAltered(source, statement.last, "the signed head is another")
    return tuple(parsed)


def follow(head: ChainHead, source: str, stored: StoredRecord) -> tuple[ChainHead, AuditRecord]:
    """Return the head after `stored` and its parsed form, once it continues the chain at `head`.

    Raises AuditAltered, naming the record that does not fit.
    """
    record = linked(AuditRecord.parse, head.seq + 1, head.leaf, source, stored)
    return ChainHead(record.seq, stored.leaf), record


def linked(read: Callable[[bytes], Read], seq: int, prev: bytes, source: str, stored: StoredRecord) -> Read:
    """Return what `stored` says, once it is record `seq` of `source` and names `prev` as the leaf before it.

    Raises AuditAltered.
    """
    try:
        record = read(stored.public)
    except Malformed as exc:
        raise AuditAltered(source, seq, str(exc)) from exc
    if record.source != source or record.seq != seq:
        raise AuditAltered(source, seq, f"found record {record.seq} of {record.source} in its place")
    if record.prev != prev:
        raise AuditAltered(source, seq, "it does not name the record before it")
    if (record.commitment is None) != (stored.sealed is None):
        raise AuditAltered(source, seq, "its private part was added or taken away")
    return record


def judge_arrival(batch: Batch, records: Sequence[ReadRecord], held: ChainHead) -> tuple[StoredRecord, ...]:
    """Return those records of a verified batch that are new, none when all are held already.

    The caller compares what it holds of an overlap with `AuditForked` in mind: this looks at the seam only.

    Raises AuditGap, AuditForked.
    """
    source, first, last = records[0].source, records[0].seq, records[-1].seq
    if first > held.seq + 1:
        raise AuditGap(source, held=held.seq, offered=first)
    if last < held.seq:
        return ()
    if last == held.seq:
        if batch.records[-1].leaf != held.leaf:
            raise AuditForked(source, last)
        return ()
    new = batch.records[held.seq + 1 - first :]
    if records[held.seq + 1 - first].prev != held.leaf:
        raise AuditForked(source, held.seq + 1)
    return new


def _stored(value: canonical.Json) -> StoredRecord:
    fields = Fields(value, "audit batch record")
    public = fields.text("public", r"(?s:.*)", max_chars=MAX_SEALED_BYTES).encode()
    sealed = None if fields.is_null("sealed") else fields.base64("sealed", max_bytes=MAX_SEALED_BYTES)
    fields.done()
    return StoredRecord(public, sealed)
