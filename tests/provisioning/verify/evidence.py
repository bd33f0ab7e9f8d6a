"""Evidence as a host and its authority make it, for outsiders to judge."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared import clock
from shared.audit.batch import Batch, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.record import GENESIS, StoredRecord, compose
from shared.canonical import Json
from shared.enrolment.chain import Trust
from shared.identity import HostId, ObjectId
from shared.sealing.binding import Binding
from shared.sealing.hpke import SealingPrivateKey
from shared.sealing.index import IndexEntry
from shared.sealing.seal import ObjectSealer, Sealing, StreamSink
from shared.signing import SoftwareSigner

NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
KEY = SealingPrivateKey(bytes(32))


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class Authority:
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def certificate(self) -> x509.Certificate:
        return self.certify("Leadglass CA", "ca", self.key, authority=True, until=NOW + 3650 * DAY)

    @property
    def trust(self) -> Trust:
        return Trust((self.certificate,))

    def certify(
        self,
        name: str,
        unit: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        authority: bool = False,
        since: datetime = NOW - DAY,
        until: datetime = NOW + DAY,
    ) -> x509.Certificate:
        usage = x509.KeyUsage(True, False, False, False, False, authority, authority, False, False)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name, unit))
            .issuer_name(_name("Leadglass CA", "ca"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )


@dataclass
class Source:
    """A host that captures and keeps an audit journal."""

    host: HostId = field(default_factory=HostId.new)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    records: list[StoredRecord] = field(default_factory=list)

    @property
    def signer(self) -> SoftwareSigner:
        return SoftwareSigner(self.key)

    def seal(self, dataset: bytes) -> bytes:
        binding = Binding(ObjectId.new(), self.host, bytes(32), EXPLICIT_LITTLE)
        out = io.BytesIO()
        sealer = ObjectSealer(StreamSink(out), binding)
        sealer.update(dataset)
        entry = IndexEntry(False, *[""] * 9)
        sealer.finish(Sealing("restricted", KEY.public, KEY.public, 1, NOW), entry, self.signer)
        return out.getvalue()

    def note(self, count: int) -> None:
        for _ in range(count):
            private: dict[str, Json] | None = {"patient_id": "X"} if len(self.records) % 2 else None
            happening = Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, private=private)
            seq = len(self.records) + 1
            prev = self.records[-1].leaf if self.records else GENESIS
            self.records.append(
                compose(happening, source=str(self.host), seq=seq, prev=prev, time=NOW, salt=bytes(32), key=KEY.public)
            )

    def batch(self, first: int, last: int) -> Batch:
        prev = self.records[first - 2].leaf if first > 1 else GENESIS
        return sign_batch(str(self.host), prev, self.records[first - 1 : last], self.signer)


def export(
    batches: Sequence[Batch],
    evidence: Sequence[tuple[str, x509.Certificate]] = (),
    ca: x509.Certificate | None = None,
) -> list[bytes]:
    lines: list[dict[str, object]] = [{"v": 1, "kind": "leadglass audit export", "exported": clock.text(NOW)}]
    if ca is not None:
        lines.append({"kind": "ca", "pem": pem(ca).decode()})
    lines += [{"kind": "evidence", "source": name, "certificate": pem(one).decode()} for name, one in evidence]
    lines += [{"kind": "batch", "batch": batch.encode().decode()} for batch in batches]
    return [json.dumps(line).encode() + b"\n" for line in lines]


def part10(dataset: bytes, *, syntax: str = EXPLICIT_LITTLE, junk: bytes = b"") -> bytes:
    uid = syntax.encode() + b"\x00" * (len(syntax) % 2)
    group = bytes.fromhex("02000100") + b"OB\x00\x00\x02\x00\x00\x00\x00\x01"
    group += bytes.fromhex("02001000") + b"UI" + len(uid).to_bytes(2, "little") + uid + junk
    return (
        bytes(128)
        + b"DICM"
        + bytes.fromhex("02000000")
        + b"UL\x04\x00"
        + len(group).to_bytes(4, "little")
        + group
        + dataset
    )


def _name(common_name: str, unit: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
