"""The vault's receipt: from here on the vault answers for an object, and the host may let go of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from shared import canonical, clock
from shared.errors import IntegrityFailure, Malformed
from shared.fields import Fields
from shared.identity import ObjectId
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

# What a centre that gives a receipt out again names among the things that it reads.
MEMBER = "receipts"
# What it then calls, in its problem document, that it holds no such object.
NOT_HELD = "NotHeld"

# Names to a host, in answers of its door, objects of its own that the vault has lost, until it has asked for them.
LOST_HEADER, MOST_LOST = "Leadglass-Lost", 32

# In every answer of the host door, where the centre was ever restored from a backup: another mark after each time.
RESTORED_HEADER = "Leadglass-Restored"
_MARK_DIGITS = 32


def restore_mark(restores: Iterable[str]) -> str:
    """Return the mark of a centre by what it keeps of each time that it was restored; empty where it never was."""
    known = "\n".join(sorted(set(restores)))
    return sha256(known.encode()).hexdigest()[:_MARK_DIGITS] if known else ""


def is_restore_mark(text: str) -> bool:
    return len(text) == _MARK_DIGITS and set(text) <= set("0123456789abcdef")


def path_of(object_id: ObjectId) -> str:
    """Return where the host door takes an object, and gives its receipt again."""
    return f"/api/v1/objects/{object_id}"


def lost_in(header: str) -> tuple[ObjectId, ...]:
    """Return what a centre says that it lost. Raises Malformed."""
    names = header.split(", ") if header else []
    if len(names) > MOST_LOST:
        raise Malformed("lost objects", f"names more than {MOST_LOST}")
    return tuple(ObjectId.parse(name) for name in names)


class ReceiptMismatch(IntegrityFailure):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the vault's receipt is not for object {object_id} as this host signed it")
        self.object_id = object_id


@dataclass(frozen=True)
class Receipt:
    """`record_sha256` is `record_digest` of the signed capture record, which covers everything else."""

    object_id: ObjectId
    record_sha256: bytes
    received: datetime

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "object": str(self.object_id),
                "record_sha256": self.record_sha256.hex(),
                "received": clock.text(self.received),
            }
        )

    @classmethod
    def parse(cls, payload: bytes) -> "Receipt":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "receipt"), "receipt")
        fields.version()
        receipt = cls(
            ObjectId.parse(fields.text("object")), fields.hex("record_sha256", 32), fields.instant("received")
        )
        fields.done()
        return receipt


def sign_receipt(receipt: Receipt, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.RECEIPT, receipt.encode())


def verify_receipt(signed: bytes, key: EvidencePublicKey, object_id: ObjectId, record_sha256: bytes) -> Receipt:
    """Return the receipt once the vault's signature holds and it is for exactly this object.

    Raises Malformed, WrongSigner, SignatureInvalid, ReceiptMismatch.
    """
    receipt = Receipt.parse(verify_statement(signed, Label.RECEIPT, key))
    if (receipt.object_id, receipt.record_sha256) != (object_id, record_sha256):
        raise ReceiptMismatch(object_id)
    return receipt
