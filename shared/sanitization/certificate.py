"""The certificate of a wipe: all that proves it in one file, countersigned by the centre.

    file      = canonical JSON {"v": 1, "body", "key", "signature"}
    signature = base64 of r || s of a signed statement (shared.signing, label WIPE_CERTIFICATE) whose payload is the
                body as canonical JSON; `key` is the id of the centre's evidence key that it names
    body      = {"statement", "certificates": [{"source", "pem"}, ...], "log": {"record", "proof"}}

`record` is the centre's public record of this certificate, which names the SHA-256 of the statement as canonical JSON,
and `proof` where in the log that record is. So the statement was fixed before the record, and the file after it.
docs/formats/wipe-certificate.md section 3
"""

from dataclasses import dataclass
from dataclasses import fields as members
from datetime import datetime
from functools import cached_property
from hashlib import sha256

from shared import canonical, clock
from shared.audit.record import MAX_PUBLIC_BYTES
from shared.audit.tlog.proof_text import MAX_CHARS as MAX_PROOF_CHARS
from shared.canonical import Json
from shared.devices.printable import FIT
from shared.enrolment.exchange import CHAIN_PATTERN
from shared.errors import Malformed
from shared.fields import Fields, encode_base64
from shared.identity import SOURCE_PATTERN, KeyId
from shared.sanitization.destruction import Destruction
from shared.sanitization.judged import Judged
from shared.sanitization.report import WipeReport
from shared.sanitization.ticket import PERSON_PATTERN, Ticket
from shared.signing import (
    EvidencePublicKey,
    EvidenceSigner,
    Label,
    attached,
    detached,
    sign_statement,
    signing_key_id,
    verify_statement,
)

ATTACHMENT = "wipe-certificate.json"
MAX_BYTES = 2 << 20
MAX_FACT_CHARS = 200
_MAX_APPROVALS, _MAX_CHAINS, _MAX_CHAIN_CHARS = 8, 4, 64 << 10
_SIGNATURE_BYTES, _MAX_SPKI_BYTES = 64, 128
_TEXT = rf"{FIT}*"
_WHAT = "wipe certificate"


@dataclass(frozen=True)
class Facts:
    """What people state of a wipe, beside what its ticket says. Nothing proves it; what is empty was not stated.

    The fields are those that NIST SP 800-88 asks for, and GB 46864-2025 of whoever resells.
    """

    organisation: str = ""
    property_number: str = ""
    media_source: str = ""
    confidentiality_before: str = ""
    confidentiality_after: str = ""
    backup: str = ""
    destination: str = ""
    owner_consent: str = ""
    location: str = ""
    contact: str = ""
    technician_role: str = ""
    verifier_role: str = ""

    def json(self) -> dict[str, Json]:
        return {one.name: getattr(self, one.name) for one in members(self)}

    @classmethod
    def parse(cls, read: Fields) -> "Facts":
        """Raises Malformed."""
        facts = cls(**{one.name: read.text(one.name, _TEXT, max_chars=MAX_FACT_CHARS) for one in members(cls)})
        read.done()
        return facts


@dataclass(frozen=True)
class Approval:
    """One signature over the ticket. `name` is whose key the centre's policy said it is."""

    name: str
    key: EvidencePublicKey
    signature: bytes

    def signed(self, ticket: Ticket) -> bytes:
        return attached(self.key.key_id, ticket.encode(), self.signature)

    def json(self) -> Json:
        return {
            "name": self.name,
            "key": encode_base64(self.key.spki),
            "signature": encode_base64(self.signature),
        }

    @classmethod
    def parse(cls, value: Json) -> "Approval":
        """Raises Malformed."""
        read = Fields(value, f"{_WHAT} field 'approvals'")
        approval = cls(
            read.text("name", PERSON_PATTERN),
            EvidencePublicKey.parse(read.base64("key", max_bytes=_MAX_SPKI_BYTES)),
            _signature(read, "signature"),
        )
        read.done()
        return approval


@dataclass(frozen=True)
class Reported:
    """A host's report and its signature, by the evidence key that the ticket names."""

    report: WipeReport
    signature: bytes

    def signed(self, key_id: KeyId) -> bytes:
        return attached(key_id, self.report.encode(), self.signature)

    def json(self) -> Json:
        report = canonical.parse(self.report.encode(), "wipe report")
        return {"report": report, "signature": encode_base64(self.signature)}

    @classmethod
    def parse(cls, read: Fields) -> "Reported":
        """Raises Malformed."""
        report = WipeReport.parse(canonical.encode({**read.mapping("report", most=64)}))
        reported = cls(report, _signature(read, "signature"))
        read.done()
        return reported


@dataclass(frozen=True)
class Statement:
    """What the centre states. A wipe has what its host `reported`, a destruction what people said of it, never both.

    `rules` is the version of the rules by which it was judged; `certified_by` is who had it certified.
    """

    ticket: Ticket
    approvals: tuple[Approval, ...]
    reported: Reported | None
    destruction: Destruction | None
    judged: Judged
    rules: int
    facts: Facts
    certified_by: str
    made: datetime
    software: str

    @cached_property
    def payload(self) -> bytes:
        return canonical.encode(self.json())

    @cached_property
    def sha256(self) -> str:
        """The digest by which record and page name it."""
        return sha256(self.payload).hexdigest()

    def json(self) -> Json:
        return {
            "v": 1,
            "ticket": canonical.parse(self.ticket.encode(), "wipe ticket"),
            "approvals": [one.json() for one in self.approvals],
            "reported": None if self.reported is None else self.reported.json(),
            "destruction": None if self.destruction is None else self.destruction.json(),
            "judged": self.judged.json(),
            "rules": self.rules,
            "facts": self.facts.json(),
            "certified_by": self.certified_by,
            "made": clock.text(self.made),
            "software": self.software,
        }

    @classmethod
    def parse(cls, read: Fields) -> "Statement":
        """Raises Malformed."""
        read.version()
        statement = cls(
            ticket=Ticket.parse(canonical.encode({**read.mapping("ticket", most=64)})),
            approvals=tuple(map(Approval.parse, read.items("approvals", most=_MAX_APPROVALS))),
            reported=None if read.is_null("reported") else Reported.parse(read.fields("reported")),
            destruction=None if read.is_null("destruction") else _destruction(read),
            judged=Judged.parse(read.fields("judged")),
            rules=read.integer("rules"),
            facts=Facts.parse(read.fields("facts")),
            certified_by=read.text("certified_by", PERSON_PATTERN),
            made=read.instant("made"),
            software=read.text("software", _TEXT, max_chars=80),
        )
        read.done()
        if (statement.reported is None) == (statement.destruction is None):
            raise Malformed(_WHAT, "expected what a host reported, or what people said of a destruction")
        return statement


@dataclass(frozen=True)
class Chain:
    """What is said to be an evidence certificate of `source`, in PEM, with those of the authorities above it."""

    source: str
    pem: str


@dataclass(frozen=True)
class Body:
    statement: Statement
    certificates: tuple[Chain, ...]
    record: bytes
    proof: str

    @cached_property
    def payload(self) -> bytes:
        return canonical.encode(self.json())

    def json(self) -> Json:
        return {
            "statement": self.statement.json(),
            "certificates": [{"source": one.source, "pem": one.pem} for one in self.certificates],
            "log": {"record": self.record.decode(), "proof": self.proof},
        }

    @classmethod
    def parse(cls, read: Fields) -> "Body":
        """Raises Malformed."""
        statement = Statement.parse(read.fields("statement"))
        chains = tuple(map(_chain, read.items("certificates", most=_MAX_CHAINS)))
        log = read.fields("log")
        body = cls(
            statement,
            chains,
            log.text("record", r"(?s:.*)", max_chars=MAX_PUBLIC_BYTES).encode(),
            log.text("proof", r"(?s:.*)", max_chars=MAX_PROOF_CHARS),
        )
        log.done()
        read.done()
        return body


@dataclass(frozen=True)
class WipeCertificate:
    """Nothing is verified by reading it."""

    body: Body
    key_id: KeyId
    signature: bytes

    def verify(self, key: EvidencePublicKey) -> None:
        """Raises Malformed, WrongSigner, SignatureInvalid."""
        verify_statement(attached(self.key_id, self.body.payload, self.signature), Label.WIPE_CERTIFICATE, key)

    @cached_property
    def encoded(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "body": self.body.json(),
                "key": str(self.key_id),
                "signature": encode_base64(self.signature),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "WipeCertificate":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed(_WHAT, f"larger than {MAX_BYTES} bytes")
        read = Fields(canonical.parse(data, _WHAT), _WHAT)
        read.version()
        certificate = cls(Body.parse(read.fields("body")), KeyId.parse(read.text("key")), _signature(read, "signature"))
        read.done()
        if certificate.encoded != data:
            raise Malformed(_WHAT, "it does not print as it was read")
        return certificate


def sign(body: Body, signer: EvidenceSigner) -> WipeCertificate:
    signed = sign_statement(signer, Label.WIPE_CERTIFICATE, body.payload)
    return WipeCertificate(body, signing_key_id(signed), detached(signed))


def _signature(read: Fields, name: str) -> bytes:
    signature = read.base64(name, max_bytes=_SIGNATURE_BYTES)
    if len(signature) != _SIGNATURE_BYTES:
        raise Malformed(f"{_WHAT} field {name!r}", f"expected {_SIGNATURE_BYTES} bytes")
    return signature


def _destruction(read: Fields) -> Destruction:
    return Destruction.parse(canonical.encode({**read.mapping("destruction", most=16)}).decode())


def _chain(value: Json) -> Chain:
    read = Fields(value, f"{_WHAT} field 'certificates'")
    chain = Chain(read.text("source", SOURCE_PATTERN), read.text("pem", CHAIN_PATTERN, max_chars=_MAX_CHAIN_CHARS))
    read.done()
    return chain
