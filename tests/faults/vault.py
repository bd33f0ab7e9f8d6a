"""The vault of the test centre as the real one judges, and the ways in which it may lie about it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.errors import IntegrityFailure, Malformed
from shared.fleet.receipt import Receipt, sign_receipt
from shared.identity import ObjectId
from shared.sealing import object_file
from shared.sealing.open import StoredObject, verify_parts
from shared.sealing.record import record_digest
from shared.signing import Label, SoftwareSigner, sign_statement
from tests.fakes.centre import Centre, open_object

_WHEN = datetime(2026, 3, 1, tzinfo=UTC)
Judge = Callable[["Vault", str, str, bytes], bytes]
Lie = Callable[["Vault", ObjectId, bytes], tuple[int, bytes]]


@dataclass
class Vault(Centre):
    """A centre whose vault proves the whole object, and refuses for good one that is not what the host signed.

    While `lie` is set nothing that arrives is kept.
    """

    judge: Judge = field(default_factory=lambda: judge_whole)
    lie: Lie | None = None
    lies: int = 0
    doors_port: int | None = None  # the port that hosts are told, where it is not the host door's own
    refused: list[str] = field(default_factory=list)

    def enrol(self, sent: EnrolmentRequest) -> EnrolmentAnswer | None:
        answer = super().enrol(sent)
        if answer is None or self.doors_port is None:
            return answer
        return replace(answer, doors=Doors("127.0.0.1", self.doors_port, None))

    def take_object(self, object_id: str, host: str, sealed: bytes) -> tuple[int, bytes]:
        try:
            digest = self.judge(self, object_id, host, sealed)
        except Malformed:
            self.refused.append(object_id)
            return 400, b'{"title": "Malformed"}'
        except IntegrityFailure:
            self.refused.append(object_id)
            return 422, b'{"title": "Object altered"}'
        if self.lie is not None:
            self.lies += 1
            return self.lie(self, ObjectId.parse(object_id), digest)
        return super().take_object(object_id, host, sealed)


def judge_whole(vault: "Vault", object_id: str, host: str, sealed: bytes) -> bytes:
    """Return the digest of the record of an object that opens, body and index. Raises Malformed, IntegrityFailure."""
    digest = judge_small_parts(vault, object_id, host, sealed)
    open_object(sealed, vault.evidence[host], vault.keys)
    return digest


def judge_small_parts(vault: "Vault", object_id: str, host: str, sealed: bytes) -> bytes:
    """Do the same without opening anything: what a careless vault would do."""
    parts = object_file.parse(BytesIO(sealed))
    stored = StoredObject(ObjectId.parse(object_id), parts.binding.encode(), parts.wrap, parts.record)
    verify_parts(stored, vault.evidence[host])
    return record_digest(parts.record)


def _nothing(vault: Vault, object_id: ObjectId, digest: bytes) -> tuple[int, bytes]:
    return 200, b""


def _garbage(vault: Vault, object_id: ObjectId, digest: bytes) -> tuple[int, bytes]:
    return 200, bytes(range(256)) * 3


def _of_another_object(vault: Vault, object_id: ObjectId, digest: bytes) -> tuple[int, bytes]:
    return 200, sign_receipt(Receipt(ObjectId(bytes(16)), digest, _WHEN), vault.receipts)


def _of_another_record(vault: Vault, object_id: ObjectId, digest: bytes) -> tuple[int, bytes]:
    return 200, sign_receipt(Receipt(object_id, bytes(32), _WHEN), vault.receipts)


def _by_a_stranger(vault: Vault, object_id: ObjectId, digest: bytes) -> tuple[int, bytes]:
    stranger = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    return 201, sign_receipt(Receipt(object_id, digest, _WHEN), stranger)


def _as_another_statement(vault: Vault, object_id: ObjectId, digest: bytes) -> tuple[int, bytes]:
    return 200, sign_statement(vault.receipts, Label.HOST_STATE, Receipt(object_id, digest, _WHEN).encode())


LIES: dict[str, Lie] = {
    "success and no receipt": _nothing,
    "success and garbage": _garbage,
    "a receipt for another object": _of_another_object,
    "a receipt for another record": _of_another_record,
    "a receipt signed by a stranger": _by_a_stranger,
    "a statement that is no receipt": _as_another_statement,
}


@contextmanager
def publishing(folder: Path) -> Iterator[Vault]:
    """Yield one in a folder of its own that runs, with a policy published."""
    folder.mkdir()
    vault = Vault(folder)
    vault.start()
    vault.publish(1)
    yield vault
    vault.stop()
