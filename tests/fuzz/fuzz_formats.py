"""Our own formats, as they come from outside: sealed object files, policies, signed statements, batches, answers."""

import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from control_plane.audit_log.quick_reader import read_batch, record_reader
from edge_agent.audit.uploader import held_by
from edge_agent.config import HostConfig
from edge_agent.enrol.judge import verify_centre, verify_certificate
from edge_agent.host_keys import credential
from edge_agent.https import Answer, problem
from edge_agent.moving.judge import Passing, certified, verify_object
from edge_agent.moving.manifest import (
    ExportId,
    Left,
    LeftObject,
    ListedBatch,
    ListedObject,
    Manifest,
    PartList,
    sign_manifest,
    verify_manifest,
)
from edge_agent.policy_sync.choice import Choice
from edge_agent.policy_sync.fetcher import claimed_layer_version, claimed_version
from edge_agent.usb_policy import exchange
from edge_agent.usb_policy.trust import Trust
from shared.audit.batch import Batch, ChainHead, Statement, sign_batch, verify_batch
from shared.audit.checkpoint import AcceptedLoss, CheckpointAnswer, CheckpointQuestion
from shared.audit.packed import pack, unpack
from shared.audit.record import AuditRecord, ReadRecord
from shared.audit.tlog.add_checkpoint import AddCheckpoint
from shared.audit.tlog.witnessing import Cosigned, HeadAnswer, HeadQuestion
from shared.custody.frames import FrameStatement
from shared.custody.statement import CustodyStatement
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.enrolment.lapsed import LapsedAsk, LapsedRequest, ask
from shared.enrolment.renewal import RenewalAnswer, RenewalRequest
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fleet.command import (
    Command,
    CommandResult,
    Outcome,
    SignedCommand,
    encode_commands,
    parse_commands,
    sign_command,
)
from shared.fleet.devices import GuardLayer
from shared.fleet.keys import KeyProtection
from shared.fleet.receipt import Receipt, sign_receipt, verify_receipt
from shared.fleet.state import HostState, sign_state, verify_state
from shared.identity import CommandId
from shared.policy.accept import AcceptedPolicy
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, AfterReceipt, Coverage, Modality, PolicyDocument, Station
from shared.policy.grading import Grading, Rule
from shared.policy.part import PartContent, PartDocument
from shared.policy.routes import Peer, Route, Via
from shared.sanitization.certificate import WipeCertificate
from shared.sanitization.envelope import SignedTicket, sign_ticket
from shared.sanitization.exchange import Asked, ListedWipes
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.qr_text import from_lines, to_lines
from shared.sanitization.report import WipeReport
from shared.sanitization.ticket import Reason, Ticket
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.hpke import SealedBox
from shared.sealing.index import IndexEntry
from shared.sealing.record import CaptureRecord, record_digest
from shared.self_test.exchange import CentresWord, SelfTestQuestion
from shared.signing import EvidencePublicKey, Label, SoftwareSigner, sign_statement, verify_statement
from tests.fakes.centre import Authority
from tests.fuzz.target import Target
from tests.shared import made
from tests.shared.custody.test_statement import FRAMES, STATEMENT
from tests.shared.sanitization import tickets
from tests.shared.sanitization.wipes import certificate as wipe_certificate
from tests.shared.sanitization.wipes import overwritten, sanitized
from tests.vectors.generators import policy_devices

_MOST_BYTES = 1 << 20


class _Patched:
    """Signs for the fuzzer what it made, so that it gets past the signature; the real key was never asked."""

    def __init__(self, label: Label, read: Callable[[bytes], object], signer: SoftwareSigner) -> None:
        self._label, self._read, self._signer = label, read, signer

    def __call__(self, data: bytes) -> None:
        for signed in (data, sign_statement(self._signer, self._label, data[:_MOST_BYTES])):
            try:
                self._read(signed)
            except (Malformed, IntegrityFailure):
                continue


def _guard_answer(data: bytes) -> None:
    assert exchange.line(exchange.parse_line(data)) == data, "two encodings of one answer are read"


def _object(data: bytes) -> None:
    parts = object_file.parse(BytesIO(data))
    assert parts.body_offset + parts.body_bytes <= len(data)
    assert len(parts.wrap) + len(parts.index) + len(parts.record) <= len(data)
    made.opened(data)


def _encoded(value: object) -> bytes:
    return bytes(value.encode())  # type: ignore[attr-defined]


def _target(name: str, parse: Callable[[bytes], object], *seeds: bytes) -> Target:
    def read(data: bytes) -> None:
        assert _encoded(parse(data)) == data, "two encodings of one value are read"

    return Target(name, read, seeds)


def _parse_statement(data: bytes) -> None:
    verify_statement(data, Label.RECEIPT, made.VAULT_SIGNER.public)


def _batch(data: bytes) -> None:
    verify_batch(Batch.parse(data), str(made.HOST), made.HOST_SIGNER.public)


def _packed(data: bytes) -> None:
    batch = unpack(data)
    assert pack(batch) == data, "two encodings of one batch are read"
    verify_batch(batch, str(made.HOST), made.HOST_SIGNER.public)


def _quick_batch(data: bytes) -> None:
    """Both ways of reading, which have to refuse the same in the same words."""
    assert _outcome(read_batch, data) == _outcome(Batch.parse, data), "two readers disagree on a batch"


def _quick_record(public: bytes) -> None:
    quick, careful = _outcome(record_reader(), public), _outcome(AuditRecord._parse_any, public)
    assert (quick is None) == (careful is None), "two readers disagree on a record"
    assert quick is None or _same(quick, careful), "two readers read another record"  # type: ignore[arg-type]


def _outcome(read: Callable[[bytes], object], data: bytes) -> object:
    try:
        return read(data)
    except Malformed:
        return None


def _same(one: ReadRecord, other: ReadRecord) -> bool:
    names = ("source", "seq", "prev", "time", "happened", "event", "action", "outcome", "commitment")
    return all(getattr(one, name) == getattr(other, name) for name in names) and all(
        [(each.kind, each.name) for each in getattr(one, name)]
        == [(each.kind, each.name) for each in getattr(other, name)]
        for name in ("who", "what")
    )


def _capture_record(sealed: bytes) -> bytes:
    parts = object_file.parse(BytesIO(sealed))
    return verify_statement(parts.record, Label.CAPTURE, made.HOST_SIGNER.public)


def _state(data: bytes) -> None:
    verify_state(data, made.HOST_SIGNER.public)


_SEALED = made.sealed_file(b"\x08\x00\x05\x00" * 50)[0]
_PARTS = object_file.parse(BytesIO(_SEALED))
_RECEIPT = Receipt(made.OBJECT, record_digest(_PARTS.record), made.NOW)
_GUARD = replace(made.GUARD_REPORT, layers=(GuardLayer("site-north", 2),))
_STATE = HostState(
    host_id=made.HOST, number=4, time=made.NOW, software="leadglass-agent 0.1.0", policy_accepted=3, policy_in_force=3,
    policy_error="", listening=True, waiting=1, captured=9, delivered=8, refused=0, audit_waiting=2,
)  # fmt: skip


_COMMAND = Command(
    CommandId(bytes(16)), made.HOST, "diagnostics", {"events": 5}, made.NOW, made.NOW + timedelta(hours=1), "ada"
)
_COMMANDERS = [made.HOST_SIGNER], [made.HOST_SIGNER, made.VAULT_SIGNER]
_COMMAND_RESULT = CommandResult(
    _COMMAND.command_id, _COMMAND.digest, made.HOST, Outcome.DONE, "", made.NOW, {"files": 3, "events": ["a", "b"]}
)


def _command_of(signers: list[SoftwareSigner]) -> SignedCommand:
    return sign_command(_COMMAND, signers)


_TICKET, _APPROVERS = tickets.ticket(), ([tickets.BEA], [tickets.BEA, tickets.CAI])


def _certificate_of_wipe(data: bytes) -> None:
    assert WipeCertificate.parse(data).encoded == data, "two encodings of one certificate are read"


def _qr_text(data: bytes) -> None:
    from_lines(data.decode("utf-8", "replace").splitlines())


def _commands(data: bytes) -> None:
    assert encode_commands(parse_commands(data)) == data, "two encodings of one list are read"


_PART = PartList(
    (ListedObject(1, made.OBJECT, len(_SEALED), bytes(32), record_digest(_PARTS.record)),),
    (LeftObject(made.OBJECT, Left.DAMAGED),),
    (ListedBatch(made.HOST, 1, 4, 900, bytes(32)),),
)
_MANIFEST = Manifest(
    ExportId(bytes(16)), made.HOST, made.NOW, 1, len(_SEALED), 1, ChainHead(4, bytes(32)), (bytes(32),)
)


def _manifest(data: bytes) -> None:
    verify_manifest(data, made.HOST_SIGNER.public)


_AUTHORITY = Authority()
_SIGNERS = certified(_AUTHORITY.issue(str(made.HOST), "evidence", made.HOST_SIGNER.public.key), _AUTHORITY.trust)


def _carried(data: bytes) -> None:
    parts, record = verify_object(BytesIO(data), made.OBJECT, _SIGNERS)
    passing = Passing(BytesIO(data), parts, record)
    assert b"".join(passing.pieces()) == data
    assert passing.size_bytes == len(data)


def _receipt(data: bytes) -> None:
    verify_receipt(data, made.VAULT_SIGNER.public, made.OBJECT, record_digest(_PARTS.record))


_PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
_CHECKPOINT = sign_batch(str(made.HOST), bytes(32), made.chain(1), made.HOST_SIGNER).statement
_PLAIN = made.chain(3)
_ARCHIVE = Peer("PACS", "127.0.0.1", 104)
_RICH_POLICY = replace(
    made.policy(),
    modalities=(
        Modality(
            "CT1", "", ("192.0.2.7", "2001:db8::/32"), ("00" * 32,), _ARCHIVE, AfterReceipt.MOVE, Station("CT", "A")
        ),
    ),
    grading=Grading(
        "restricted",
        ("restricted",),
        (Rule((("modality", ("M?", "C*")), ("patient_name", ("[*",))), "restricted", ("pacs",)),),
        ("pacs",),
    ),
    routes=(Route("pacs", Via.CENTRE, "LEADGLASS", _ARCHIVE),),
    dicom_trust=_PEM,
    coverage=Coverage("LEADGLASS", _ARCHIVE),
    spool_quota_bytes=1 << 30,
    frame_digests=True,
)
_ANSWERS = [
    EnrolmentAnswer(made.HOST, _PEM, _PEM, bytes(32), doors, b"{}", ("organisation",))
    for doors in (
        Doors("centre.example", 443, 8883),
        Doors("[2001:db8::1]", 443, None),
        Doors("centre", 443, 8883, "broker.example", _PEM),
    )
]
_DEVICES = policy_devices.devices_document()
_JUDGEMENTS: tuple[exchange.Judgement, ...] = (
    exchange.VerifiedPolicy(ORGANISATION, 3, bytes(32), made.NOW, made.NOW, _DEVICES.devices, _DEVICES.watch),
    exchange.VerifiedPolicy(
        ORGANISATION,
        3,
        bytes(32),
        made.NOW,
        None,
        None,
        parts=(AcceptedPolicy("site-north", 2, bytes(32)),),
        newer=(AcceptedPolicy(ORGANISATION, 4, bytes(32)),),
        choice=Choice("0a" * 32, 2, 9),
    ),
    exchange.RefusedOffer(exchange.Kind.REFUSED, "PolicyExpired: timestamp expired"),
)
_CONFIG = HostConfig(made.HOST, "CT 2", Doors("centre", 443, None), bytes(32), b"{}", ORGANISATION)
_HOST_KEY = ec.derive_private_key(7, ec.SECP256R1())
_AUTHORITY = Authority()
_ISSUED = _AUTHORITY.issue(str(made.HOST), "host", _HOST_KEY.public_key())
_HEAD = b'{"signed":{"_type":"timestamp","version":7}}'
_SNAPSHOT = b'{"signed":{"_type":"snapshot","meta":{"organisation.json":{"version":7}}}}'


_CREDENTIAL = b64encode(
    credential.BY_TPM_ALONE
    + b"".join(size.to_bytes(4, "little") for size in (32, 16, 12, 16))
    + bytes(16)
    + (1 << credential.STILL_PCR).to_bytes(8, "little")
)


def _credential(data: bytes) -> None:
    """These bytes as the block that lies on the disk, and as what stands in it."""
    public, block = credential.split(data)
    assert public + block == data
    credential.parse(block)


def _code(data: bytes) -> None:
    code = EnrolmentCode.parse(data.decode("utf-8", "replace"))
    assert EnrolmentCode.parse(code.text()) == code


def _evidence_key(data: bytes) -> None:
    assert EvidencePublicKey.parse(data).spki == data


def _certificate(der: bytes) -> None:
    """These bytes as the certificate of a centre, and as what a centre answers."""
    pem = ssl.DER_cert_to_PEM_cert(der)
    try:
        verify_centre(pem.encode(), EnrolmentCode(bytes(16), _AUTHORITY.fingerprint))
    except Refused:
        verify_certificate(pem, "TLS", _HOST_KEY, str(made.HOST), _AUTHORITY.trust.with_between([_AUTHORITY.issuing]))


def _centre_answer(data: bytes) -> None:
    """What is read of answers and metadata before anything of them is verified has to be harmless."""
    held = held_by(Answer(200, data))
    assert held is None or held >= 0
    assert all(len(text) <= 200 for text in problem(Answer(400, data)).values())
    assert f"{claimed_version(data)} {claimed_layer_version(data, ORGANISATION)}".isprintable()


TARGETS = (
    Target("object-file", _object, (_SEALED, made.sealed_file(b"")[0])),
    Target("statement", _parse_statement, (sign_receipt(_RECEIPT, made.VAULT_SIGNER),)),
    Target(
        "receipt",
        _Patched(Label.RECEIPT, _receipt, made.VAULT_SIGNER),
        (_RECEIPT.encode(), sign_receipt(_RECEIPT, made.VAULT_SIGNER)),
    ),
    Target(
        "host-state",
        _Patched(Label.HOST_STATE, _state, made.HOST_SIGNER),
        (_STATE.encode(), sign_state(_STATE, made.HOST_SIGNER), replace(_STATE, guard=_GUARD).encode()),
    ),
    Target(
        "batch",
        _batch,
        (sign_batch(str(made.HOST), bytes(32), made.chain(4), made.HOST_SIGNER).encode(),),
    ),
    Target(
        "batch-read-twice", _quick_batch, (sign_batch(str(made.HOST), bytes(32), _PLAIN, made.HOST_SIGNER).encode(),)
    ),
    Target("packed-batch", _packed, (pack(sign_batch(str(made.HOST), bytes(32), made.chain(4), made.HOST_SIGNER)),)),
    Target("audit-record-read-twice", _quick_record, tuple(record.public for record in _PLAIN)),
    Target(
        "spool-export-manifest",
        _Patched(Label.SPOOL_EXPORT, _manifest, made.HOST_SIGNER),
        (_MANIFEST.encode(), sign_manifest(_MANIFEST, made.HOST_SIGNER)),
    ),
    Target("spool-export-object", _carried, (_SEALED, made.sealed_file(b"")[0])),
    _target("spool-export-payload", Manifest.parse, _MANIFEST.encode()),
    _target("spool-export-list", PartList.parse, _PART.encode()),
    _target(
        "policy",
        PolicyDocument.parse,
        made.policy().encode(),
        _RICH_POLICY.encode(),
        _DEVICES.encode(),
    ),
    _target("receipt-payload", Receipt.parse, _RECEIPT.encode()),
    _target("state-payload", HostState.parse, _STATE.encode()),
    _target("command", Command.parse, _COMMAND.encode(), replace(_COMMAND, action="rescan", arguments={}).encode()),
    _target("command-envelope", SignedCommand.parse, *(_command_of(signers).encode() for signers in _COMMANDERS)),
    _target("command-result", CommandResult.parse, _COMMAND_RESULT.encode()),
    Target("commands", _commands, (encode_commands([_command_of(_COMMANDERS[0]).encode()]), encode_commands([]))),
    _target("wipe-ticket", Ticket.parse, _TICKET.encode(), tickets.ticket(reason=Reason.OTHER).encode()),
    _target("wipe-envelope", SignedTicket.parse, *(sign_ticket(_TICKET, by).encode() for by in _APPROVERS)),
    _target("wipe-note", WipeNote.parse, WipeNote(_TICKET.ticket_id, 1, NoteEvent.ENDED, made.NOW, "well").encode()),
    _target("wipe-report", WipeReport.parse, *(wiped()[1].encode() for wiped in (overwritten, sanitized))),
    Target("wipe-certificate", _certificate_of_wipe, (wipe_certificate().encoded,)),
    _target("wipe-list", ListedWipes.parse, ListedWipes(True, (b"1", b"2")).encode()),
    _target("wipe-asked", Asked.parse, Asked(made.NOW, False).encode()),
    Target("wipe-qr-text", _qr_text, ("\n".join(to_lines(sign_ticket(_TICKET, _APPROVERS[1]).encode())).encode(),)),
    _target("capture-record", CaptureRecord.parse, _capture_record(_SEALED)),
    _target("binding", Binding.parse, made.BINDING.encode()),
    _target("audit-record", AuditRecord.parse, *(record.public for record in made.chain(3))),
    Target("sealed-box", SealedBox.parse, (_PARTS.wrap, _PARTS.index)),
    _target("head-bundle", HeadBundle.parse, HeadBundle((b"root",), b"timestamp", b"snapshot", b"targets").encode()),
    _target("layer-bundle", LayerBundle.parse, LayerBundle(ORGANISATION, b"metadata", b"policy", b"stable").encode()),
    _target("policy-part", PartDocument.parse, PartDocument("site-a", 1, PartContent(state_every_s=5)).encode()),
    _target("audit-statement", Statement.parse, Statement(str(made.HOST), 1, 3, bytes(32), bytes(32)).encode()),
    _target("checkpoint-question", CheckpointQuestion.parse, CheckpointQuestion(_CHECKPOINT).encode()),
    _target(
        "checkpoint-answer",
        CheckpointAnswer.parse,
        CheckpointAnswer(_CHECKPOINT, None, None, _PEM).encode(),
        CheckpointAnswer(_CHECKPOINT, _CHECKPOINT, AcceptedLoss(made.chain(1)[0].public, _CHECKPOINT), _PEM).encode(),
    ),
    _target(
        "log-question",
        HeadQuestion.parse,
        HeadQuestion(CheckpointQuestion(None), None).encode(),
        HeadQuestion(CheckpointQuestion(_CHECKPOINT), "a note").encode(),
    ),
    _target(
        "log-answer",
        HeadAnswer.parse,
        HeadAnswer(CheckpointAnswer(_CHECKPOINT, None, None, _PEM), _CHECKPOINT, "a note", (bytes(32),), None).encode(),
    ),
    _target("cosigned", Cosigned.parse, Cosigned(_CHECKPOINT, "a note").encode()),
    _target("add-checkpoint", AddCheckpoint.parse, AddCheckpoint(3, (bytes(32),), "a note").encode()),
    _target("index-entry", IndexEntry.parse, made.ENTRY.encode(), IndexEntry(False, *[""] * 9).encode()),
    _target("enrolment-request", EnrolmentRequest.parse, EnrolmentRequest(bytes(16), _PEM, _PEM, "CT 2").encode()),
    _target("enrolment-answer", EnrolmentAnswer.parse, *(answer.encode() for answer in _ANSWERS)),
    _target("renewal-request", RenewalRequest.parse, *(RenewalRequest(_PEM, name).encode() for name in (None, "CT"))),
    _target("renewal-answer", RenewalAnswer.parse, *(RenewalAnswer(_PEM, name).encode() for name in (None, "CT"))),
    _target(
        "self-test-question",
        SelfTestQuestion.parse,
        SelfTestQuestion(made.HOST, made.OBJECT, bytes(32), bytes(32)).encode(),
    ),
    _target("centres-word", CentresWord.parse, CentresWord(b"signed", _PEM).encode()),
    _target("lapsed-ask", LapsedAsk.parse, LapsedAsk(made.HOST, bytes(32), made.NOW).encode()),
    _target("lapsed-request", LapsedRequest.parse, ask(made.HOST_SIGNER, made.HOST, _PEM, made.NOW).encode()),
    Target("guard-answer", _guard_answer, tuple(exchange.line(each) for each in _JUDGEMENTS)),
    _target(
        "guard-offer",
        exchange.Offer.parse,
        *(exchange.Offer(b"head", layers).encode() for layers in ((), (b"layer",), (b"1", b"", b"3"))),
    ),
    _target(
        "guard-trust",
        Trust.parse,
        *(Trust(made.HOST, ORGANISATION, b"{}", parts).encode() for parts in ((), ("site-north",))),
    ),
    _target("host-config", HostConfig.parse, _CONFIG.encode(), replace(_CONFIG, keys=KeyProtection.TPM).encode()),
    Target("tpm-credential", _credential, (credential.armour(_CREDENTIAL),)),
    Target("enrolment-code", _code, (EnrolmentCode(bytes(16), bytes(32)).text().encode(),)),
    Target("evidence-key", _evidence_key, (made.HOST_SIGNER.public.spki, made.VAULT_SIGNER.public.spki)),
    Target(
        "certificate",
        _certificate,
        tuple(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) for pem in (_AUTHORITY.pem, _ISSUED)),
    ),
    _target("custody-statement", CustodyStatement.parse, STATEMENT.encode(), replace(STATEMENT, frames=None).encode()),
    _target("frame-statement", FrameStatement.parse, FRAMES.encode()),
    Target("centre-answer", _centre_answer, (b'{"held":3}', b'{"title":"no","status":403}', _HEAD, _SNAPSHOT)),
)
