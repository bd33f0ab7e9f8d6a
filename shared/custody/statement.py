"""The custody statement: what somebody takes away beside a DICOM file, to prove it without the centre.

    statement = canonical JSON with exactly the members of `CustodyStatement`
    log proof = {"records": [public part, ...], "statement": base64}

A log proof shows one record of an audit log: the first public part is that record, each next one names the leaf of the
one before it, and the leaf of the last is the `head` that its source signed (shared.audit.batch). Sealed private parts
are left out: they are in no hash, and nothing of them has to leave. docs/formats/custody.md
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from shared import canonical, clock
from shared.audit.batch import MAX_RECORDS, AuditAltered, Statement
from shared.audit.record import MAX_PUBLIC_BYTES, AuditRecord, leaf_hash
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields, encode_base64
from shared.identity import SOURCE_PATTERN, ObjectId
from shared.signing import EvidencePublicKey, Label, verify_statement

KIND = "leadglass custody statement"
MAX_BYTES = 64 << 20
MAX_LOG_PROOFS = 64
MAX_CERTIFICATES = 64
MAX_PEM_CHARS = 16_384
_MAX_SIGNED_BYTES = (1 << 20) + 1024
_MAX_BINDING_BYTES = 256


@dataclass(frozen=True)
class EvidenceCertificate:
    """A certificate (PEM) that is said to be an evidence certificate of `source`, and those of authorities above it.

    Nothing of it is believed yet.
    """

    source: str
    pem: str


@dataclass(frozen=True)
class LogProof:
    """One record of a log with what ties it to its source's signature; `records` are public parts, the record first."""

    records: tuple[bytes, ...]
    statement: bytes

    def json(self) -> Json:
        return {"records": [public.decode() for public in self.records], "statement": encode_base64(self.statement)}

    @classmethod
    def parse(cls, value: Json) -> "LogProof":
        """Raises Malformed."""
        fields = Fields(value, "log proof")
        records = tuple(_public(item) for item in fields.items("records", most=MAX_RECORDS))
        proof = cls(records, fields.base64("statement", max_bytes=4096))
        fields.done()
        if not records:
            raise Malformed("log proof", "it holds no record")
        return proof


@dataclass(frozen=True)
class CustodyStatement:
    """Everything that is known of one object and reveals none of it; nothing in here is believed for standing in here.

    `record`, `receipt` and `frames` are signed statements. `frames` is None where the pixels were not digested.
    """

    object_id: ObjectId
    written: datetime
    record: bytes
    binding: bytes
    receipt: bytes
    frames: bytes | None
    certificates: tuple[EvidenceCertificate, ...]
    log: tuple[LogProof, ...]

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "kind": KIND,
                "object": str(self.object_id),
                "written": clock.text(self.written),
                "record": encode_base64(self.record),
                "binding": encode_base64(self.binding),
                "receipt": encode_base64(self.receipt),
                "frames": None if self.frames is None else encode_base64(self.frames),
                "certificates": [{"source": one.source, "pem": one.pem} for one in self.certificates],
                "log": [proof.json() for proof in self.log],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "CustodyStatement":
        """Raises Malformed; nothing is verified yet."""
        if len(data) > MAX_BYTES:
            raise Malformed("custody statement", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "custody statement"), "custody statement")
        fields.version()
        fields.choice("kind", [KIND])
        statement = cls(
            object_id=ObjectId.parse(fields.text("object")),
            written=fields.instant("written"),
            record=fields.base64("record", max_bytes=_MAX_SIGNED_BYTES),
            binding=fields.base64("binding", max_bytes=_MAX_BINDING_BYTES),
            receipt=fields.base64("receipt", max_bytes=_MAX_SIGNED_BYTES),
            frames=None if fields.is_null("frames") else fields.base64("frames", max_bytes=_MAX_SIGNED_BYTES),
            certificates=tuple(_certificate(item) for item in fields.items("certificates", most=MAX_CERTIFICATES)),
            log=tuple(LogProof.parse(item) for item in fields.items("log", most=MAX_LOG_PROOFS)),
        )
        fields.done()
        return statement


def verify_log_proof(proof: LogProof, source: str, key: EvidencePublicKey) -> AuditRecord:
    """Return the record that `proof` shows, once `source` signed a chain that runs through it.

    Raises Malformed, WrongSigner, SignatureInvalid, AuditAltered.
    """
    signed = Statement.parse(verify_statement(proof.statement, Label.AUDIT_BATCH, key))
    records = [AuditRecord.parse(public) for public in proof.records]
    shown = records[0]
    for before, after in pairwise(zip(proof.records, records, strict=True)):
        if after[1].prev != leaf_hash(before[0]):
            raise AuditAltered(source, before[1].seq, "the record after it names another one")
    if leaf_hash(proof.records[-1]) != signed.head:
        raise AuditAltered(source, records[-1].seq, "the signed head is another")
    if [record.seq for record in records] != list(range(shown.seq, signed.last + 1)) or shown.seq < signed.first:
        raise AuditAltered(source, shown.seq, "its number is not one of those that were signed")
    if {signed.source, *(record.source for record in records)} != {source}:
        raise AuditAltered(source, shown.seq, "it is of another source")
    return shown


def _public(item: Json) -> bytes:
    if not isinstance(item, str) or len(item) > MAX_PUBLIC_BYTES:
        raise Malformed("log proof", f"expected records as text of at most {MAX_PUBLIC_BYTES} characters")
    return item.encode()


def _certificate(item: Json) -> EvidenceCertificate:
    fields = Fields(item, "custody statement certificate")
    certificate = EvidenceCertificate(
        fields.text("source", SOURCE_PATTERN), fields.text("pem", r"(?s:.*)", max_chars=MAX_PEM_CHARS)
    )
    fields.done()
    return certificate
