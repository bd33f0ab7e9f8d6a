"""The laws of every parser of ours: what parses prints back unchanged, and nothing but our own refusals comes out."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical, clock
from shared.audit.batch import Batch, Statement, sign_batch
from shared.audit.checkpoint import AcceptedLoss, CheckpointAnswer, CheckpointQuestion
from shared.audit.record import GENESIS, AuditRecord
from shared.audit.tlog.witnessing import Cosigned, HeadAnswer, HeadQuestion
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.enrolment.lapsed import LapsedAsk, LapsedRequest, ask
from shared.enrolment.renewal import RenewalAnswer, RenewalRequest
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fields import Fields
from shared.fleet.command import (
    Command,
    CommandResult,
    Outcome,
    SignedCommand,
    encode_commands,
    parse_commands,
    sign_command,
)
from shared.fleet.devices import GuardReport
from shared.fleet.receipt import Receipt
from shared.fleet.state import HostState
from shared.identity import CommandId, HostId, Identifier, KeyId, ObjectId
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import PolicyDocument
from shared.sanitization.certificate import WipeCertificate
from shared.sanitization.destruction import Destruction
from shared.sanitization.envelope import SignedTicket, sign_ticket
from shared.sanitization.exchange import Asked, ListedWipes
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.report import WipeReport
from shared.sanitization.ticket import Ticket, TicketId
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.hpke import BoxLabel, SealedBox, SealingPublicKey
from shared.sealing.index import IndexEntry
from shared.sealing.record import CaptureRecord
from shared.self_test.exchange import CentresWord, Comparison, SelfTestAnswer, SelfTestQuestion
from shared.signing import EvidencePublicKey, Label, sign_statement, verify_statement
from tests.shared import drawn, made
from tests.shared.sanitization import tickets, wipes

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class Form:
    """One format: reads bytes and prints them again, and a valid example."""

    read_and_print: Callable[[bytes], bytes]
    valid: bytes


def _object_file(data: bytes) -> bytes:
    source = io.BytesIO(data)
    parts = object_file.parse(source)
    body = data[parts.body_offset : parts.body_offset + parts.body_bytes]
    tail = object_file.tail(parts.body_bytes, wrap=parts.wrap, index=parts.index, record=parts.record)
    return object_file.head(parts.binding) + body + tail


def _statement(data: bytes) -> bytes:
    payload = verify_statement(data, Label.CAPTURE, made.HOST_SIGNER.public)
    return data[:24] + len(payload).to_bytes(4) + payload + data[-64:]


_FILE, _SEALED = made.sealed_file(b"a dataset")
_CHAIN = made.chain(3)
_BATCH = sign_batch(str(made.HOST), GENESIS, _CHAIN, made.HOST_SIGNER)
_STATE = HostState(made.HOST, 1, made.NOW, "leadglass", 1, 1, "", True, 0, 1, 1, 0, 0)
_COMMAND = Command(
    CommandId(bytes(16)), made.HOST, "rescan", {"ae_title": ""}, made.NOW, made.NOW + timedelta(hours=1), "ada"
)
_RESULT = CommandResult(
    _COMMAND.command_id, _COMMAND.digest, made.HOST, Outcome.DONE, "", made.NOW, {"files": 3, "folders": ["CT1: 3"]}
)
_NOTE = "leadglass/log/1\n3\n" + "A" * 43 + "=\n\n\N{EM DASH} leadglass/log/1 AAAAAAAA\n"
_ANSWER = EnrolmentAnswer(made.HOST, PEM, PEM, bytes(32), Doors("centre", 443, 8883), b"{}", ("organisation",))

JSON_FORMS = {
    "canonical JSON": Form(lambda data: canonical.encode(canonical.parse(data, "it")), b'{"a":[1,"\xc3\xbc",null]}'),
    "capture record": Form(lambda data: CaptureRecord.parse(data).encode(), _SEALED.record.encode()),
    "sealed index": Form(lambda data: IndexEntry.parse(data).encode(), made.ENTRY.encode()),
    "audit record": Form(lambda data: AuditRecord.parse(data).encode(), _CHAIN[2].public),
    "audit statement": Form(
        lambda data: Statement.parse(data).encode(), Statement(str(made.HOST), 1, 3, GENESIS, bytes(32)).encode()
    ),
    "audit batch": Form(lambda data: Batch.parse(data).encode(), _BATCH.encode()),
    "checkpoint question": Form(
        lambda data: CheckpointQuestion.parse(data).encode(), CheckpointQuestion(_BATCH.statement).encode()
    ),
    "checkpoint answer": Form(
        lambda data: CheckpointAnswer.parse(data).encode(),
        CheckpointAnswer(
            _BATCH.statement, _BATCH.statement, AcceptedLoss(_CHAIN[2].public, _BATCH.statement), PEM
        ).encode(),
    ),
    "log question": Form(
        lambda data: HeadQuestion.parse(data).encode(),
        HeadQuestion(CheckpointQuestion(_BATCH.statement), _NOTE).encode(),
    ),
    "log answer": Form(
        lambda data: HeadAnswer.parse(data).encode(),
        HeadAnswer(
            CheckpointAnswer(_BATCH.statement, None, None, PEM),
            _BATCH.statement,
            _NOTE,
            (bytes(32), bytes(32)),
            AcceptedLoss(_CHAIN[2].public, _BATCH.statement),
        ).encode(),
    ),
    "cosigned checkpoint": Form(
        lambda data: Cosigned.parse(data).encode(), Cosigned(_BATCH.statement, _NOTE).encode()
    ),
    "policy": Form(lambda data: PolicyDocument.parse(data).encode(), made.policy().encode()),
    "head bundle": Form(
        lambda data: HeadBundle.parse(data).encode(), HeadBundle((b"1", b"2"), b"3", b"4", b"5").encode()
    ),
    "layer bundle": Form(lambda data: LayerBundle.parse(data).encode(), LayerBundle("site", b"1", b"2").encode()),
    "enrolment request": Form(
        lambda data: EnrolmentRequest.parse(data).encode(), EnrolmentRequest(bytes(16), PEM, PEM, "CT 2").encode()
    ),
    "renewal request": Form(lambda data: RenewalRequest.parse(data).encode(), RenewalRequest(PEM).encode()),
    "renewal answer": Form(lambda data: RenewalAnswer.parse(data).encode(), RenewalAnswer(PEM).encode()),
    "lapsed ask": Form(lambda data: LapsedAsk.parse(data).encode(), LapsedAsk(made.HOST, bytes(32), made.NOW).encode()),
    "lapsed request": Form(
        lambda data: LapsedRequest.parse(data).encode(), ask(made.HOST_SIGNER, made.HOST, PEM, made.NOW).encode()
    ),
    "enrolment answer": Form(lambda data: EnrolmentAnswer.parse(data).encode(), _ANSWER.encode()),
    "state": Form(lambda data: HostState.parse(data).encode(), _STATE.encode()),
    "guard report": Form(
        lambda data: canonical.encode(GuardReport.parse(Fields(canonical.parse(data, "it"), "it")).json()),
        canonical.encode(made.GUARD_REPORT.json()),
    ),
    "command": Form(lambda data: Command.parse(data).encode(), _COMMAND.encode()),
    "command envelope": Form(
        lambda data: SignedCommand.parse(data).encode(),
        sign_command(_COMMAND, [made.HOST_SIGNER, made.VAULT_SIGNER]).encode(),
    ),
    "command result": Form(lambda data: CommandResult.parse(data).encode(), _RESULT.encode()),
    "list of commands": Form(
        lambda data: encode_commands(parse_commands(data)),
        encode_commands([sign_command(_COMMAND, [made.HOST_SIGNER]).encode()]),
    ),
    "wipe ticket": Form(lambda data: Ticket.parse(data).encode(), tickets.ticket().encode()),
    "wipe ticket envelope": Form(
        lambda data: SignedTicket.parse(data).encode(),
        sign_ticket(tickets.ticket(), [tickets.BEA, tickets.CAI]).encode(),
    ),
    "wipe report": Form(lambda data: WipeReport.parse(data).encode(), wipes.sanitized()[1].encode()),
    "wipe certificate": Form(lambda data: WipeCertificate.parse(data).encoded, wipes.certificate().encoded),
    "certificate of a destruction": Form(
        lambda data: WipeCertificate.parse(data).encoded,
        wipes.certificate(Destruction("Dan", "Eve", "shredder HSM 3, H-5", (bytes(32),), made.NOW)).encoded,
    ),
    "wipe note": Form(
        lambda data: WipeNote.parse(data).encode(),
        WipeNote(TicketId(bytes(16)), 1, NoteEvent.STARTED, made.NOW, "pass 1 of 1").encode(),
    ),
    "list of wipe tickets": Form(
        lambda data: ListedWipes.parse(data).encode(), ListedWipes(True, (b"1", b"2")).encode()
    ),
    "centre's word on wipes": Form(lambda data: Asked.parse(data).encode(), Asked(made.NOW, False).encode()),
    "self-test question": Form(
        lambda data: SelfTestQuestion.parse(data).encode(),
        SelfTestQuestion(made.HOST, made.OBJECT, bytes(32), bytes(32)).encode(),
    ),
    "self-test answer": Form(
        lambda data: SelfTestAnswer.parse(data).encode(),
        SelfTestAnswer(bytes(32), made.HOST, made.OBJECT, bytes(32), made.NOW, Comparison.DIFFERS).encode(),
    ),
    "the centre's word": Form(lambda data: CentresWord.parse(data).encode(), CentresWord(b"signed", PEM).encode()),
    "receipt": Form(
        lambda data: Receipt.parse(data).encode(), Receipt(made.OBJECT, bytes(32), made.NOW).encode()
    ),
}  # fmt: skip
BINARY_FORMS = {
    "binding": Form(lambda data: Binding.parse(data).encode(), made.BINDING.encode()),
    "box": Form(
        lambda data: SealedBox.parse(data).encode(), made.DATA_KEY.public.seal(BoxLabel.DATA_KEY, b"bound", bytes(32))
    ),
    "object file": Form(_object_file, _FILE),
    "signed statement": Form(_statement, sign_statement(made.HOST_SIGNER, Label.CAPTURE, b"payload")),
    "evidence public key": Form(lambda data: EvidencePublicKey.parse(data).spki, made.HOST_SIGNER.public.spki),
    "sealing public key": Form(lambda data: SealingPublicKey(data).raw, made.DATA_KEY.public.raw),
}
FORMS = JSON_FORMS | BINARY_FORMS
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_json_form = pytest.mark.parametrize("form", JSON_FORMS.values(), ids=JSON_FORMS)


def reads(form: Form, data: bytes) -> bool:
    """Whether `data` is read, in which case it must print back unchanged; any exception but ours rises."""
    try:
        printed = form.read_and_print(data)
    except (Refused, IntegrityFailure):
        return False
    assert printed == data
    return True


@every_form
def test_a_valid_one_is_read_and_prints_back_unchanged(form: Form) -> None:
    assert reads(form, form.valid)


@every_form
@given(data=st.data())
def test_a_valid_one_with_a_small_change_prints_back_unchanged_or_is_refused(form: Form, data: st.DataObject) -> None:
    reads(form, data.draw(drawn.spoiled(form.valid)))


@every_form
@given(noise=st.binary(max_size=300))
def test_random_bytes_are_never_read(form: Form, noise: bytes) -> None:
    # A few digits or quotation marks are canonical JSON by chance; no format is that short.
    assert not reads(form, noise) or form is JSON_FORMS["canonical JSON"]


@every_form
@given(noise=st.binary(max_size=200))
def test_random_bytes_after_a_valid_beginning_are_never_read(form: Form, noise: bytes) -> None:
    start = form.valid[: len(form.valid) // 2]

    assert not reads(form, start + noise) or start + noise == form.valid


@every_json_form
@given(data=st.data())
def test_a_valid_one_with_another_member_prints_back_unchanged_or_is_refused(form: Form, data: st.DataObject) -> None:
    value = data.draw(drawn.with_another_member(json.loads(form.valid)))

    reads(form, canonical.encode(value))


@every_json_form
@given(value=drawn.json_values)
def test_other_json_is_never_read(form: Form, value: canonical.Json) -> None:
    if form is not JSON_FORMS["canonical JSON"]:
        assert not reads(form, canonical.encode(value))


@every_json_form
def test_white_space_and_line_ends_are_refused(form: Form) -> None:
    for spoiled in (
        form.valid + b"\n",
        b" " + form.valid,
        form.valid.replace(b":", b": ", 1),
        b"\xef\xbb\xbf" + form.valid,
    ):
        with pytest.raises(Malformed):
            form.read_and_print(spoiled)


@every_json_form
@given(data=st.data())
def test_every_member_is_needed_and_none_may_be_added(form: Form, data: st.DataObject) -> None:
    value = json.loads(form.valid)
    if form is JSON_FORMS["canonical JSON"]:
        return
    gone = data.draw(st.sampled_from(sorted(value)))

    assert not reads(form, canonical.encode({name: value[name] for name in value if name != gone}))
    assert not reads(form, canonical.encode({**value, "zz": None}))


@pytest.mark.parametrize("kind", [HostId, ObjectId, KeyId])
@given(text=st.text(max_size=40) | st.from_regex(r"(host-)?[0-9a-fA-F]{30,34}\n?", fullmatch=True))
def test_an_identifier_has_one_text_form(kind: type[Identifier], text: str) -> None:
    try:
        identifier = kind.parse(text)
    except Malformed:
        return
    assert str(identifier) == text


@pytest.mark.parametrize("kind", [HostId, ObjectId, KeyId])
@given(raw=st.binary(min_size=16, max_size=16))
def test_an_identifiers_text_reads_back(kind: type[Identifier], raw: bytes) -> None:
    assert kind.parse(str(kind(raw))) == kind(raw)


@given(text=st.text(max_size=110))
def test_random_text_is_never_an_enrolment_code(text: str) -> None:
    with pytest.raises(Refused):
        EnrolmentCode.parse(text)


@given(text=st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,7})?Z?\n?", fullmatch=True))
def test_a_time_reads_or_is_refused_as_malformed(text: str) -> None:
    try:
        instant = clock.parse(text)
    except Malformed:
        return
    assert clock.text(instant) in (text, text.replace("Z", ".000000Z"))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1(), ec.BrainpoolP256R1()], ids=lambda c: c.name)
def test_an_evidence_key_on_another_curve_is_refused(curve: ec.EllipticCurve) -> None:
    public = ec.derive_private_key(5, curve).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    with pytest.raises(Malformed):
        EvidencePublicKey.parse(der)


@given(bit=st.integers(0, 8 * 91 - 1))
def test_an_evidence_key_with_a_flipped_bit_is_refused_or_is_another_key(bit: int) -> None:
    spoiled = made.flipped(made.HOST_SIGNER.public.spki, bit)
    try:
        key = EvidencePublicKey.parse(spoiled)
    except Malformed:
        return
    assert key.key_id != made.HOST_SIGNER.public.key_id
