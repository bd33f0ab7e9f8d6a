"""The capture record: what the host vouches for, signed last.

A signed statement (`shared.signing`, label CAPTURE) whose payload is canonical JSON with exactly the members of
`CaptureRecord`.  docs/formats/sealed-object.md section 6
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from shared import canonical, clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import HostId, ObjectId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

GRADE_PATTERN = r"[a-z][a-z0-9-]{0,31}"
_MAX_ROUTES = 32


@dataclass(frozen=True)
class CaptureRecord:
    """Digests are SHA-256. The dataset is the encoded dataset as received, without preamble and group 0002.

    `routes` are those that policy chose besides the vault. `file_sha256` is that of the whole file where the image came
    as one. Neither is written where there is none.
    """

    object_id: ObjectId
    host_id: HostId
    captured: datetime
    binding_sha256: bytes
    dataset_sha256: bytes
    dataset_bytes: int
    body_sha256: bytes
    body_bytes: int
    index_commitment: bytes
    grade: str
    policy_version: int
    routes: tuple[str, ...] = ()
    file_sha256: bytes | None = None

    def encode(self) -> bytes:
        members: dict[str, Json] = {
            "v": 1,
            "object": str(self.object_id),
            "host": str(self.host_id),
            "captured": clock.text(self.captured),
            "binding_sha256": self.binding_sha256.hex(),
            "dataset_sha256": self.dataset_sha256.hex(),
            "dataset_bytes": self.dataset_bytes,
            "body_sha256": self.body_sha256.hex(),
            "body_bytes": self.body_bytes,
            "index_commitment": self.index_commitment.hex(),
            "grade": self.grade,
            "policy_version": self.policy_version,
        }
        if self.routes:
            members["routes"] = list(self.routes)
        if self.file_sha256 is not None:
            members["file_sha256"] = self.file_sha256.hex()
        return canonical.encode(members)

    @classmethod
    def parse(cls, payload: bytes) -> "CaptureRecord":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "capture record"), "capture record")
        fields.version()
        record = cls(
            object_id=ObjectId.parse(fields.text("object")),
            host_id=HostId.parse(fields.text("host")),
            captured=fields.instant("captured"),
            binding_sha256=fields.hex("binding_sha256", 32),
            dataset_sha256=fields.hex("dataset_sha256", 32),
            dataset_bytes=fields.integer("dataset_bytes"),
            body_sha256=fields.hex("body_sha256", 32),
            body_bytes=fields.integer("body_bytes"),
            index_commitment=fields.hex("index_commitment", 32),
            grade=fields.text("grade", GRADE_PATTERN),
            policy_version=fields.integer("policy_version", least=1),
            routes=_routes(fields),
            file_sha256=fields.hex("file_sha256", 32) if fields.has("file_sha256") else None,
        )
        fields.done()
        return record


def _routes(fields: Fields) -> tuple[str, ...]:
    if not fields.has("routes"):
        return ()
    items = fields.items("routes", most=_MAX_ROUTES)
    if not items:
        raise Malformed("capture record field 'routes'", "is written and names none")
    return tuple(Fields({"route": item}, "capture record").text("route", GRADE_PATTERN) for item in items)


def sign_record(record: CaptureRecord, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.CAPTURE, record.encode())


def verify_record(signed: bytes, key: EvidencePublicKey) -> CaptureRecord:
    """Return the record once the host's signature holds. Raises Malformed, WrongSigner, SignatureInvalid."""
    return CaptureRecord.parse(verify_statement(signed, Label.CAPTURE, key))


def record_digest(signed: bytes) -> bytes:
    """Return the SHA-256 of a signed record, by which receipts and audit records name it."""
    return sha256(signed).digest()
