"""One image, captured and stored, and everything that was signed about it: what custody scenarios start from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from shared.audit.batch import Statement
from shared.audit.events import Action, Event, Outcome, Participant, Subject
from shared.audit.record import GENESIS, AuditRecord, leaf_hash
from shared.custody.frames import FrameStatement, Pixels, sign_frames
from shared.custody.statement import CustodyStatement, EvidenceCertificate, LogProof
from shared.fleet.receipt import Receipt, sign_receipt
from shared.identity import CONTROL_PLANE, HostId, ObjectId
from shared.sealing.binding import Binding
from shared.sealing.record import CaptureRecord, record_digest, sign_record
from shared.signing import Label, sign_statement
from tests.vectors.generators.custody_pixels import EXPLICIT, GREY
from tests.vectors.given import HOST, OBJECT, TIME, RepeatableSigner, bytes_of, signer

DATASET = GREY.encoded(EXPLICIT)
RECEIPTS, JOURNAL = signer("vault"), signer("centre journal")
_AUTHORITY = signer("authority")
_NOON = TIME.replace(hour=12, minute=0, second=0, microsecond=0)


def certificate(
    name: str,
    key: RepeatableSigner,
    *,
    unit: str = "evidence",
    by: RepeatableSigner = _AUTHORITY,
    issuer: str = "Leadglass CA",
    since: datetime = _NOON - timedelta(days=1),
    until: datetime = _NOON + timedelta(days=7),
    authority: bool = False,
    path_length: int | None = None,
    may_sign: bool = True,
) -> x509.Certificate:
    """Return a certificate that comes out the same each time."""
    usage = x509.KeyUsage(may_sign, False, not may_sign, False, False, authority, authority, False, False)
    number = int.from_bytes(bytes_of(f"certificate {name} {unit} {key.public.key_id} {since} {until} {may_sign}", 8))
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name, unit))
        .issuer_name(_name(issuer, "ca"))
        .public_key(key.key.public_key())
        .serial_number(number or 1)
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .sign(by.key, hashes.SHA256(), ecdsa_deterministic=True)
    )


def _name(common_name: str, unit: str) -> x509.Name:
    attributes = ((NameOID.ORGANIZATIONAL_UNIT_NAME, unit), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def pem(one: x509.Certificate) -> str:
    return one.public_bytes(serialization.Encoding.PEM).decode()


def authority(*, until: datetime = datetime(2056, 1, 1, tzinfo=UTC), is_one: bool = True) -> x509.Certificate:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    return certificate("Leadglass CA", _AUTHORITY, unit="ca", since=since, until=until, authority=is_one)


ISSUING = signer("issuing")


def issuing(*, until: datetime = datetime(2028, 1, 1, tzinfo=UTC), **options: Any) -> x509.Certificate:
    """Return an authority that the root certified for two years, with nobody below it."""
    since = datetime(2026, 1, 1, tzinfo=UTC)
    return certificate(
        "issuing", ISSUING, unit="ca", since=since, until=until, authority=True, path_length=0, **options
    )  # fmt: skip


def issued(key: RepeatableSigner = ISSUING, *, issuer: str = "issuing") -> x509.Certificate:
    """Return the host's certificate by an issuing authority."""
    return certificate(str(HOST), signer("host"), by=key, issuer=issuer)


CERTIFICATES = tuple(
    EvidenceCertificate(source, pem(certificate(source, key)))
    for source, key in ((str(HOST), signer("host")), (CONTROL_PLANE, RECEIPTS), (CONTROL_PLANE, JOURNAL))
)


@dataclass(frozen=True)
class Told:
    """An entry of a log before it has its place there."""

    event: Event
    what: tuple[Subject, ...] = ()
    who: tuple[Participant, ...] = ()
    private: bool = False


def log(source: str, told: Sequence[Told]) -> list[bytes]:
    """Return the public parts of a log that tells this."""
    prev, publics = GENESIS, []
    for seq, one in enumerate(told, 1):
        commitment = bytes_of(f"commitment {source} {seq}", 32) if one.private else None
        record = AuditRecord(
            source, seq, prev, TIME + timedelta(seconds=seq), one.event, Action.CREATE, Outcome.SUCCESS, one.who,
            one.what, "", commitment,
        )  # fmt: skip
        publics.append(record.encode())
        prev = leaf_hash(publics[-1])
    return publics


def proof(key: RepeatableSigner, source: str, publics: Sequence[bytes], seq: int, first: int, last: int) -> LogProof:
    """Return the proof of record `seq` out of a batch from `first` to `last`."""
    prev = leaf_hash(publics[first - 2]) if first > 1 else GENESIS
    stated = Statement(source, first, last, prev, leaf_hash(publics[last - 1]))
    return LogProof(tuple(publics[seq - 1 : last]), sign_statement(key, Label.AUDIT_BATCH, stated.encode()))


def binding_of(object_id: ObjectId = OBJECT, host: HostId = HOST, syntax: str = EXPLICIT) -> Binding:
    return Binding(object_id, host, bytes_of("SOP instance hash", 32), syntax)


def record_of(binding: Binding, dataset: bytes = DATASET) -> CaptureRecord:
    return CaptureRecord(
        object_id=binding.object_id,
        host_id=binding.host_id,
        captured=TIME,
        binding_sha256=binding.digest(),
        dataset_sha256=sha256(dataset).digest(),
        dataset_bytes=len(dataset),
        body_sha256=bytes_of("body digest", 32),
        body_bytes=len(dataset) + 72,
        index_commitment=bytes_of("index commitment", 32),
        grade="restricted",
        policy_version=3,
    )


RECORD = record_of(binding_of())
SIGNED_RECORD = sign_record(RECORD, signer("host"))
PIXELS = Pixels(
    rows=2,
    columns=2,
    samples=1,
    bits_allocated=16,
    bits_stored=12,
    signed=False,
    colour="MONOCHROME2",
    lossy=False,
    decoder="pydicom 3.0.2",
    frames=(sha256(bytes.fromhex("010002000300ff0f")).digest(),),
)
FRAMES = FrameStatement(
    OBJECT, record_digest(SIGNED_RECORD), RECORD.dataset_sha256, EXPLICIT, TIME + timedelta(seconds=9), PIXELS
)
RECEIPT = Receipt(OBJECT, record_digest(SIGNED_RECORD), TIME + timedelta(seconds=2))

_ABOUT = (Subject("object", str(OBJECT)), Subject("record", record_digest(SIGNED_RECORD).hex()))
_CT1 = (Participant("ae", "CT1", True), Participant("host", str(HOST), False))
CAPTURED = Told(Event.IMAGE_CAPTURED, _ABOUT, _CT1, private=True)
HOST_TELLS = (Told(Event.AGENT_STARTED), CAPTURED, Told(Event.AGENT_STOPPED))
ENROLLED = Told(Event.HOST_ENROLLED, (Subject("host", str(HOST)), Subject("asset", "CT 1, room 1.14")))
STORED = Told(Event.OBJECT_STORED, _ABOUT)


def digested(signed: bytes) -> Told:
    """Return what the centre's log tells of signed frame digests."""
    what = (Subject("object", str(OBJECT)), Subject("frames", sha256(signed).hexdigest()))
    return Told(Event.FRAMES_DIGESTED, what)


def statement(
    *,
    record: bytes = SIGNED_RECORD,
    binding: bytes | None = None,
    receipt: bytes | None = None,
    frames: bytes | None = None,
    certificates: tuple[EvidenceCertificate, ...] = CERTIFICATES,
    host_tells: Sequence[Told] = HOST_TELLS,
    centre_tells: Sequence[Told] = (Told(Event.SERVER_STARTED), ENROLLED, STORED),
    object_id: ObjectId = OBJECT,
) -> CustodyStatement:
    """Return the true statement, or one that differs where a scenario says so; both logs are proved whole."""
    logged = [*centre_tells, digested(frames)] if frames is not None else list(centre_tells)
    host_log, centre_log = log(str(HOST), host_tells), log(CONTROL_PLANE, logged)
    shown = [
        proof(signer("host"), str(HOST), host_log, seq, 1, len(host_log))
        for seq, told in enumerate(host_tells, 1)
        if told.event is Event.IMAGE_CAPTURED
    ]
    shown += [
        proof(JOURNAL, CONTROL_PLANE, centre_log, seq, seq, len(centre_log))
        for seq, told in enumerate(logged, 1)
        if told.event is not Event.SERVER_STARTED
    ]
    return CustodyStatement(
        object_id=object_id,
        written=TIME + timedelta(days=1),
        record=record,
        binding=binding_of().encode() if binding is None else binding,
        receipt=sign_receipt(RECEIPT, RECEIPTS) if receipt is None else receipt,
        frames=frames,
        certificates=certificates,
        log=tuple(shown),
    )


def with_frames() -> CustodyStatement:
    return statement(frames=sign_frames(FRAMES, RECEIPTS))
