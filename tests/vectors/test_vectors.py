"""Every vector of ours, read by our code and by the second reader: both must give exactly what the vector expects."""

import base64
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control_plane.custody import decoding
from control_plane.custody.decoder import Decoder, NotDecoded, Why
from control_plane.enrolment.enroller import requested_key
from control_plane.http.enrolment_door import WITNESS_STATUS
from control_plane.witnesses.submission import SizeDiffers, Submission
from edge_agent.capture import grade
from edge_agent.moving.manifest import PartList, verify_manifest
from provisioning.handover.report import SignedHandOver
from provisioning.verify.certificate import parse_trust
from provisioning.verify.checks import failures
from provisioning.verify.image import DATASET, PIXELS, SYNTAX, ImageJudge
from provisioning.verify.part10 import split
from provisioning.verify.pixels import compare
from shared import canonical, clock
from shared.audit import packed
from shared.audit.batch import Batch, ChainHead, judge_arrival, verify_batch
from shared.audit.record import StoredRecord, open_private
from shared.audit.tlog import add_checkpoint
from shared.audit.tlog.keys import KeyType, NoteKey, NoteSigner, cosigned_at
from shared.audit.tlog.note import Note
from shared.custody.frames import FrameStatement, Pixels, verify_frames
from shared.custody.statement import CustodyStatement, LogProof, verify_log_proof
from shared.enrolment.chain import Trust, follow, parse_chain, verify_chain
from shared.enrolment.code import EnrolmentCode
from shared.enrolment.exchange import EnrolmentAnswer, EnrolmentRequest
from shared.enrolment.lapsed import LapsedRequest, csr_digest, fingerprint, verify_ask
from shared.envelope import Signatories
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fields import Fields
from shared.fleet.command import SignedCommand, arguments_of, verify_command, verify_result
from shared.fleet.receipt import verify_receipt
from shared.fleet.state import verify_state
from shared.identity import HostId, ObjectId
from shared.policy.accept import AcceptedPolicy, accept
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import KeyPurpose, PolicyDocument
from shared.policy.effective import effective
from shared.policy.grading import Grading
from shared.policy.part import PartDocument
from shared.policy.wipe import WipePolicy
from shared.sanitization.certificate import WipeCertificate
from shared.sanitization.envelope import SignedTicket, verify_ticket
from shared.sanitization.judge import judge
from shared.sanitization.qr_text import from_lines
from shared.sanitization.report import WipeReport
from shared.sanitization.sampling import places
from shared.sanitization.stream import Content
from shared.sanitization.ticket import Ticket
from shared.sealing import object_file
from shared.sealing.hpke import SealingPrivateKey
from shared.sealing.index import SealedIndex, open_index
from shared.sealing.object_file import BodyWindow
from shared.sealing.open import StoredObject, open_range, open_verified, verify_parts
from shared.self_test.exchange import SelfTestQuestion, verify_answer, verify_answers, verify_question
from shared.signing import EvidencePublicKey, Label, claimed_payload, verify_statement
from tests.vectors import second_reader, second_witness
from tests.vectors.generate import FORMATS
from tests.vectors.generators import policy as policy_generator
from tests.vectors.generators import wipe_stream as wipe_generator
from tests.vectors.given import OBJECT, TIME
from tests.vectors.second_reader import Asked, Refusal

Value: TypeAlias = dict[str, Any]
Reader: TypeAlias = Callable[[Value], Value]

FOLDER = Path(__file__).parent
VECTORS = {
    str(p.relative_to(FOLDER)): json.loads(p.read_text()) for f in FORMATS for p in sorted((FOLDER / f).glob("*"))
}


def b64(value: Value, name: str) -> bytes:
    return base64.b64decode(value[f"{name}_base64"], validate=True)


def judged(read: Callable[[], Value]) -> Value:
    """Return what `read` gives, or its refusal by name, in the words of the vectors."""
    try:
        return read()
    except (Refused, IntegrityFailure) as exc:
        return {"result": "refused", "error": type(exc).__name__}
    except Refusal as exc:
        return {"result": "refused", "error": exc.name}


def described(dataset: bytes) -> Value:
    shown = {"data_hex": dataset.hex()} if len(dataset) <= 64 else {}
    return {"result": "verified", "bytes": len(dataset), "sha256": sha256(dataset).hexdigest(), **shown}


def described_range(data: bytes) -> Value:
    what = {"data_hex": data.hex()} if len(data) <= 64 else {"sha256": sha256(data).hexdigest()}
    return {"result": "chunks authentic, object not evaluated", "bytes": len(data), **what}


# ---- read by our code


class _Opened:
    def __init__(self, given: Value) -> None:
        self.file = io.BytesIO(b64(given, "file"))
        self.parts = object_file.parse(self.file)
        self.host_key = EvidencePublicKey.parse(b64(given, "host_spki"))
        self.data_key = SealingPrivateKey(bytes.fromhex(given["data_seed_hex"]))
        self.index_key = SealingPrivateKey(bytes.fromhex(given["index_seed_hex"]))
        asked = ObjectId.parse(given["object_id"])
        self.stored = StoredObject(asked, self.parts.binding.encode(), self.parts.wrap, self.parts.record)

    def dataset(self) -> bytes:
        body = BodyWindow(self.file, self.parts)
        return b"".join(bytes(piece) for piece in open_verified(self.stored, body, self.host_key, self.data_key))

    def index(self) -> Value:
        binding, record = verify_parts(self.stored, self.host_key)
        entry = open_index(SealedIndex(self.parts.index, record.index_commitment), binding, self.index_key)
        return {"result": "verified", "entry": asdict(entry)}

    def read_at(self, offset: int, size: int) -> bytes:
        self.file.seek(self.parts.body_offset + offset)
        return self.file.read(max(0, min(size, self.parts.body_bytes - offset)))


def our_open(given: Value) -> Value:
    return {
        "dataset": judged(lambda: described(_Opened(given).dataset())),
        "index": judged(lambda: _Opened(given).index()),
    }


def our_range(given: Value) -> Value:
    opened = _Opened(given)
    keys = opened.host_key, opened.data_key
    return described_range(open_range(opened.stored, opened.read_at, *keys, given["start"], given["length"]))


def our_statement(given: Value) -> Value:
    key = EvidencePublicKey.parse(b64(given, "spki"))
    payload = verify_statement(b64(given, "signed"), Label(given["label"]), key)
    return {"result": "verified", "payload_base64": base64.b64encode(payload).decode()}


def our_public_key(given: Value) -> Value:
    return {"result": "parsed", "key_id": str(EvidencePublicKey.parse(b64(given, "spki")).key_id)}


def our_batch(given: Value) -> Value:
    data = b64(given, "batch")
    batch = packed.unpack(data) if data.startswith(packed.MAGIC) else Batch.parse(data)
    assert data in (batch.encode(), packed.pack(batch))
    records = verify_batch(batch, given["source"], EvidencePublicKey.parse(b64(given, "spki")))
    held = ChainHead(given["held"]["seq"], bytes.fromhex(given["held"]["leaf_hex"]))
    return {"result": "verified", "new_leaves_hex": [new.leaf.hex() for new in judge_arrival(batch, records, held)]}


def our_private(given: Value) -> Value:
    sealed = None if given["sealed_base64"] is None else b64(given, "sealed")
    key = SealingPrivateKey(bytes.fromhex(given["audit_seed_hex"]))
    return {"result": "verified", "private": open_private(StoredRecord(given["public"].encode(), sealed), key)}


def our_document(given: Value) -> Value:
    policy = PolicyDocument.parse(b64(given, "bytes"))
    assert policy.encode() == b64(given, "bytes")
    return {"result": "parsed", "data_key_id": str(policy.key_for(KeyPurpose.DATA, policy.default_grade).key_id)}


def our_part(given: Value) -> Value:
    part = PartDocument.parse(b64(given, "bytes"))
    assert part.encode() == b64(given, "bytes")
    hosts = [str(host) for host, _ in part.hosts]
    return {"result": "parsed", "layer": part.layer, "version": part.version, "hosts": hosts}


def our_together(given: Value) -> Value:
    organisation = PolicyDocument.parse(b64(given, "organisation"))
    parts = [PartDocument.parse(base64.b64decode(part)) for part in given["parts_base64"]]
    found = effective(organisation, parts, HostId.parse(given["host"]))
    return {"result": "parsed", "policy": json.loads(found.policy.encode())}


def our_grading(given: Value) -> Value:
    policy = replace(policy_generator.document(), grading=Grading.parse(Fields(given["grading"], "vector")))
    chosen = grade.choose(policy, given["calling_ae_title"], given["attributes"])
    return {"grade": chosen.grade, "routes": list(chosen.routes)}


def our_head(given: Value) -> Value:
    head = HeadBundle.parse(b64(given, "bytes"))
    assert head.encode() == b64(given, "bytes")
    texts = {name: getattr(head, name).decode() for name in ("timestamp", "snapshot", "targets")}
    return {"result": "parsed", "root": [root.decode() for root in head.roots], **texts}


def our_layer(given: Value) -> Value:
    layer = LayerBundle.parse(b64(given, "bytes"))
    assert layer.encode() == b64(given, "bytes")
    return {
        "result": "parsed", "layer": layer.layer, "metadata": layer.metadata.decode(), "policy": layer.policy.decode(),
    }  # fmt: skip


def our_acceptance(given: Value) -> Value:
    held, each = None, []
    for offered in given["offered"]:
        try:
            policy = AcceptedPolicy(offered["layer"], offered["version"], bytes.fromhex(offered["sha256_hex"]))
            held = accept(policy, held)
            each.append({"result": "accepted"})
        except (Refused, IntegrityFailure) as exc:
            each.append({"result": "refused", "error": type(exc).__name__})
    return {"each": each}


def our_chain(given: Value) -> Value:
    leaf, *between = parse_chain(given["pem"].encode(), "chain")
    at = None if given["at"] is None else clock.parse(given["at"])
    verify_chain(leaf, Trust(parse_chain(given["root_pem"].encode(), "root")), between, at=at)
    return {"result": "holds"}


def our_follow(given: Value) -> Value:
    pinned, *_ = parse_chain(given["pinned_pem"].encode(), "pinned")
    return followed(next(iter(follow(pinned, parse_chain(given["offered_pem"].encode(), "offered"))), None))


def followed(root: x509.Certificate | None) -> Value:
    if root is None:
        return {"result": "nothing later"}
    return {"result": "followed", "sha256_hex": root.fingerprint(hashes.SHA256()).hex()}


def our_code(given: Value) -> Value:
    code = EnrolmentCode.parse(given["text"])
    secrets = {"secret_hex": code.secret.hex(), "ca_sha256_hex": code.ca_sha256.hex()}
    return {"result": "parsed", **secrets, "text": code.text()}


def our_request(given: Value) -> Value:
    request = EnrolmentRequest.parse(b64(given, "bytes"))
    assert request.encode() == b64(given, "bytes")
    return {"result": "parsed", "asset": request.asset, "secret_hex": request.secret.hex()}


def our_lapsed(given: Value) -> Value:
    request = LapsedRequest.parse(b64(given, "bytes"))
    assert request.encode() == b64(given, "bytes")
    said = verify_ask(request, EvidencePublicKey.parse(b64(given, "spki")))
    if said.tls_csr_sha256 != csr_digest(request.tls_csr):
        raise Malformed("lapsed request", "another certificate request")
    short = fingerprint(requested_key(request.tls_csr))
    return {"result": "verified", "payload": json.loads(said.encode()), "fingerprint": short}


def our_answer(given: Value) -> Value:
    answer = EnrolmentAnswer.parse(b64(given, "bytes"))
    assert answer.encode() == b64(given, "bytes")
    told = {"host": str(answer.host_id), "layers": list(answer.layers), "policy_root": answer.policy_root.decode()}
    return {"result": "parsed", **told, "mqtt_port": answer.doors.mqtt_port}


def our_state(given: Value) -> Value:
    state = verify_state(b64(given, "signed"), EvidencePublicKey.parse(b64(given, "spki")))
    return {"result": "verified", "payload": json.loads(state.encode())}


def our_command(given: Value) -> Value:
    keys = tuple(EvidencePublicKey.parse(base64.b64decode(spki)) for spki in given["spkis_base64"])
    envelope = SignedCommand.parse(b64(given, "bytes"))
    assert envelope.encode() == b64(given, "bytes")
    command = verify_command(envelope, Signatories(keys, given["threshold"]))
    arguments_of(command)
    return {"result": "verified", "payload": json.loads(command.encode())}


def our_command_result(given: Value) -> Value:
    result = verify_result(b64(given, "signed"), EvidencePublicKey.parse(b64(given, "spki")))
    return {"result": "verified", "payload": json.loads(result.encode())}


def our_wipe_ticket(given: Value) -> Value:
    keys = [(one["name"], EvidencePublicKey.parse(b64(one, "spki"))) for one in given["keys"]]
    names = {key.key_id: name for name, key in keys if name}
    people = Signatories(tuple(key for _, key in keys), given["threshold"], names)
    policy = given["policy"] and WipePolicy.parse(Fields(given["policy"], "policy wipe"))
    envelope = SignedTicket.parse(b64(given, "bytes"))
    assert envelope.encode() == b64(given, "bytes")
    return {"result": "verified", "payload": json.loads(verify_ticket(envelope, people, policy).ticket.encode())}


def our_wipe_text(given: Value) -> Value:
    return {"result": "read", "bytes_base64": base64.b64encode(from_lines(given["lines"])).decode()}


def our_receipt(given: Value) -> Value:
    key, digest = EvidencePublicKey.parse(b64(given, "spki")), bytes.fromhex(given["record_sha256_hex"])
    receipt = verify_receipt(b64(given, "signed"), key, ObjectId.parse(given["object_id"]), digest)
    return {"result": "verified", "payload": json.loads(receipt.encode())}


def our_manifest(given: Value) -> Value:
    manifest = verify_manifest(b64(given, "signed"), EvidencePublicKey.parse(b64(given, "spki")))
    return {"result": "verified", "payload": json.loads(manifest.encode())}


def our_list(given: Value) -> Value:
    part = PartList.parse(b64(given, "bytes"))
    assert part.encode() == b64(given, "bytes")
    return {"result": "parsed", "payload": json.loads(part.encode())}


def our_parse(given: Value) -> Value:
    data = b64(given, "bytes")
    assert canonical.encode(canonical.parse(data, "vector")) == data
    return {"result": "parsed"}


def our_pass_content(given: Value) -> Value:
    content, into = Content.parse(Fields(given["content"], "vector")), bytearray(given["size"])
    content.source().fill(given["offset"], memoryview(into))
    commitment = None if content.commitment is None else content.commitment.hex()
    return {"result": "made", "commitment": commitment, "data_hex": into.hex()}


def our_samples(given: Value) -> Value:
    seed = bytes.fromhex(given["sample_seed_hex"])
    found = places(seed, given["size_bytes"], given["sector_bytes"])
    return wipe_generator.described([[one.first, one.count] for one in found])


def our_wipe_judgement(given: Value) -> Value:
    ticket, report = Ticket.parse(b64(given, "ticket")), WipeReport.parse(b64(given, "report"))
    assert (ticket.encode(), report.encode()) == (b64(given, "ticket"), b64(given, "report"))
    return {"result": "judged", "judged": judge(ticket, report).json()}


def our_wipe_certificate(given: Value) -> Value:
    certificate = WipeCertificate.parse(b64(given, "bytes"))
    assert certificate.encoded == b64(given, "bytes")
    certificate.verify(EvidencePublicKey.parse(b64(given, "centre_spki")))
    statement, host = certificate.body.statement, EvidencePublicKey.parse(b64(given, "host_spki"))
    if statement.reported is not None:
        verify_statement(statement.reported.signed(statement.ticket.evidence_key), Label.WIPE_REPORT, host)
    for one in statement.approvals:
        verify_statement(one.signed(statement.ticket), Label.WIPE_TICKET, one.key)
    return {"result": "verified", "statement_sha256": statement.sha256}


def our_custody(given: Value) -> Value:
    one = CustodyStatement.parse(b64(given, "bytes"))
    assert one.encode() == b64(given, "bytes")
    return described_custody(
        str(one.object_id), (one.record, one.binding, one.receipt, one.frames),
        [certificate.source for certificate in one.certificates], [len(proof.records) for proof in one.log],
    )  # fmt: skip


def described_custody(
    object_id: str, parts: tuple[bytes, bytes, bytes, bytes | None], certificates: list[str], log: list[int]
) -> Value:
    names = ("record", "binding", "receipt", "frames")
    digests = {
        f"{name}_sha256_hex": None if data is None else sha256(data).hexdigest()
        for name, data in zip(names, parts, strict=True)
    }
    return {"result": "parsed", "object": object_id, **digests, "certificates": certificates, "log": log}


def our_log_proof(given: Value) -> Value:
    key = EvidencePublicKey.parse(b64(given, "spki"))
    record = verify_log_proof(LogProof.parse(given["proof"]), given["source"], key)
    return {"result": "shown", "record": json.loads(record.encode())}


def our_frames(given: Value) -> Value:
    frames = verify_frames(b64(given, "signed"), EvidencePublicKey.parse(b64(given, "spki")))
    return {"result": "verified", "payload": json.loads(frames.encode())}


def our_pixels(given: Value) -> Value:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about what it should refuse
        try:
            found = decoding.digests(b64(given, "dataset"), given["transfer_syntax"])
        except decoding.Refusal as exc:
            raise NotDecoded(Why(exc.why)) from exc
    return {"result": "digested", **{name: found[name] for name in found if name != "decoder"}}


def our_comparison(given: Value) -> Value:
    captured, found = (Pixels.parse(Fields(given[name], "vector")) for name in ("captured", "found"))
    about = OBJECT, bytes(32), bytes(32), given["captured_transfer_syntax"], TIME
    verdict = compare(FrameStatement(*about, captured), found, given["found_transfer_syntax"])
    return {"state": verdict.state.name.lower().replace("_", " ")}


# What our checks are called, by the step of docs/formats/custody.md section 2 that they are of.
STEPS = {
    "evidence certificates": "certificates",
    "capture record signed by the host": "record",
    "certificate valid at time of capture": "record",
    "binding is the one signed": "binding",
    "receipt signed by the vault": "receipt",
    "certificate valid at time of the receipt": "receipt",
    "log records signed by their sources": "log",
    "capture in the host's log": "log",
    "arrival in the centre's log": "log",
    "frame digests signed by the centre": "frame digests",
    "certificate valid at time of the frame digests": "frame digests",
    "frame digests in the centre's log": "frame digests",
}


def our_image(given: Value) -> Value:
    file = io.BytesIO(b64(given, "file"))
    authority = parse_trust(given["authority_pem"].encode(), "authority")
    custody = CustodyStatement.parse(b64(given, "statement"))
    report = ImageJudge(Decoder()).judge(file, split(file), custody, authority, None)
    of_the_image = {DATASET, SYNTAX, PIXELS}
    failed = [STEPS[check.name] for check in failures(report.checks) if check.name not in of_the_image]
    return {"result": "judged", "state": report.state.value, "failed": list(dict.fromkeys(failed))}


def our_self_test_question(given: Value) -> Value:
    question = verify_question(b64(given, "signed"), EvidencePublicKey.parse(b64(given, "spki")))
    return {"result": "verified", "payload": json.loads(question.encode())}


def our_self_test_answer(given: Value) -> Value:
    asked = b64(given, "question")
    answer = verify_answer(b64(given, "signed"), EvidencePublicKey.parse(b64(given, "spki")))
    verify_answers(answer, SelfTestQuestion.parse(claimed_payload(asked)), asked)
    return {"result": "verified", "payload": json.loads(answer.encode())}


def our_hand_over(given: Value) -> Value:
    signed = SignedHandOver.parse(b64(given, "bytes"))
    assert signed.encode() == b64(given, "bytes")
    signed.verify(EvidencePublicKey.parse(b64(given, "spki")))
    return {"result": "verified", "report": signed.report.json()}


def our_add_checkpoint(given: Value) -> Value:
    logs = {key.name: key for key in map(NoteKey.parse, given["logs"])}
    seed = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(given["witness"]["seed_hex"]))
    signer = NoteSigner(given["witness"]["name"], seed, KeyType.COSIGNATURE)
    assert signer.public.vkey == given["witness"]["vkey"]
    held = None
    for sent in map(base64.b64decode, given["before_base64"]):
        before = Submission.parse(sent, logs)
        before.verify_goes_on(held)
        held = before.head
    try:
        submission = Submission.parse(b64(given, "request"), logs)
        submission.verify_goes_on(held)
    except SizeDiffers as exc:
        return {**_refused(exc), "content_type": add_checkpoint.SIZE_TYPE, "body": f"{exc.size}\n"}
    except (Refused, IntegrityFailure) as exc:
        return _refused(exc)
    return {"result": "cosigned", "status": 200, "body": submission.cosigned(signer, given["time"])}


def _refused(exc: Refused | IntegrityFailure) -> Value:
    return {"result": "refused", "error": type(exc).__name__, "status": WITNESS_STATUS[type(exc)]}


def our_cosignatures(given: Value) -> Value:
    keys, checkpoint = [NoteKey.parse(vkey) for vkey in given["witnesses"]], Note.parse(given["checkpoint"])
    lines = add_checkpoint.parse_signatures(b64(given, "answer"), given["checkpoint"])
    found = [one for _, one in Note(checkpoint.text, lines).verify(keys)]
    by: list[Value] = [{"name": one.name, "time": cosigned_at(one.signature)} for one in found]
    return {
        "result": "cosigned", "by": by, "note": Note(checkpoint.text, (*checkpoint.signatures, *found)).encode(),
    }  # fmt: skip


OURS: dict[str, Reader] = {
    "open": our_open,
    "range": our_range,
    "statement": our_statement,
    "public-key": our_public_key,
    "batch": our_batch,
    "private": our_private,
    "document": our_document,
    "part": our_part,
    "together": our_together,
    "grading": our_grading,
    "head": our_head,
    "layer": our_layer,
    "acceptance": our_acceptance,
    "code": our_code,
    "chain": our_chain,
    "follow": our_follow,
    "request": our_request,
    "answer": our_answer,
    "lapsed": our_lapsed,
    "state": our_state,
    "receipt": our_receipt,
    "command": our_command,
    "command-result": our_command_result,
    "wipe-ticket": our_wipe_ticket,
    "wipe-qr-text": our_wipe_text,
    "export-manifest": our_manifest,
    "export-list": our_list,
    "parse": our_parse,
    "custody": our_custody,
    "log-proof": our_log_proof,
    "frames": our_frames,
    "pixels": our_pixels,
    "comparison": our_comparison,
    "image": our_image,
    "self-test-question": our_self_test_question,
    "self-test-answer": our_self_test_answer,
    "hand-over": our_hand_over,
    "pass-content": our_pass_content,
    "samples": our_samples,
    "wipe-judgement": our_wipe_judgement,
    "wipe-certificate": our_wipe_certificate,
    "add-checkpoint": our_add_checkpoint,
    "cosignatures": our_cosignatures,
    "witness-size": lambda given: {"result": "parsed", "size": add_checkpoint.parse_size(b64(given, "body"))},
}

# ---- read by the second reader


def asked(given: Value) -> Asked:
    seeds = bytes.fromhex(given["data_seed_hex"]), bytes.fromhex(given["index_seed_hex"])
    return Asked(given["object_id"], b64(given, "host_spki"), *seeds)


def second_open(given: Value) -> Value:
    def dataset() -> Value:
        return described(second_reader.open_dataset(second_reader.split_file(b64(given, "file")), asked(given)))

    def index() -> Value:
        entry = second_reader.open_index(second_reader.split_file(b64(given, "file")), asked(given))
        return {"result": "verified", "entry": {name: entry[name] for name in entry if name != "v"}}

    return {"dataset": judged(dataset), "index": judged(index)}


def second_range(given: Value) -> Value:
    parts = second_reader.split_file(b64(given, "file"))
    return described_range(second_reader.open_range(parts, asked(given), given["start"], given["length"]))


def second_statement(given: Value) -> Value:
    payload = second_reader.statement(b64(given, "signed"), given["label"], b64(given, "spki"))
    return {"result": "verified", "payload_base64": base64.b64encode(payload).decode()}


def second_batch(given: Value) -> Value:
    held = given["held"]["seq"], given["held"]["leaf_hex"]
    new = second_reader.audit_batch(b64(given, "batch"), given["source"], b64(given, "spki"), *held)
    return {"result": "verified", "new_leaves_hex": new}


def second_private(given: Value) -> Value:
    sealed = None if given["sealed_base64"] is None else b64(given, "sealed")
    seed = bytes.fromhex(given["audit_seed_hex"])
    return {"result": "verified", "private": second_reader.audit_private(given["public"].encode(), sealed, seed)}


def second_document(given: Value) -> Value:
    return {
        "result": "parsed",
        "data_key_id": second_reader.data_key_id(second_reader.policy_document(b64(given, "bytes"))),
    }


def second_part(given: Value) -> Value:
    part = second_reader.policy_part(b64(given, "bytes"))
    hosts = sorted(part.get("hosts", {}))
    return {"result": "parsed", "layer": part["layer"], "version": part["version"], "hosts": hosts}


def second_together(given: Value) -> Value:
    parts = [second_reader.policy_part(base64.b64decode(part)) for part in given["parts_base64"]]
    organisation = second_reader.policy_document(b64(given, "organisation"))
    return {"result": "parsed", "policy": second_reader.put_together(organisation, parts, given["host"])}


def second_grading(given: Value) -> Value:
    found, routes = second_reader.graded(given["grading"], given["calling_ae_title"], given["attributes"])
    return {"grade": found, "routes": routes}


def second_code(given: Value) -> Value:
    secret, digest = second_reader.enrolment_code(given["text"])
    written = second_reader.written_code(secret, digest)
    return {"result": "parsed", "secret_hex": secret.hex(), "ca_sha256_hex": digest.hex(), "text": written}


def second_chain(given: Value) -> Value:
    leaf, *above = x509.load_pem_x509_certificates(given["pem"].encode())
    at = None if given["at"] is None else datetime.fromisoformat(given["at"])
    second_reader.chain_to(leaf, above, x509.load_pem_x509_certificate(given["root_pem"].encode()), at)
    return {"result": "holds"}


def second_follow(given: Value) -> Value:
    offered = x509.load_pem_x509_certificates(given["offered_pem"].encode())
    return followed(second_reader.follow(x509.load_pem_x509_certificate(given["pinned_pem"].encode()), offered))


def second_lapsed(given: Value) -> Value:
    payload, short = second_reader.lapsed(b64(given, "bytes"), b64(given, "spki"))
    return {"result": "verified", "payload": payload, "fingerprint": short}


def second_command(given: Value) -> Value:
    keys = [base64.b64decode(spki) for spki in given["spkis_base64"]]
    return {"result": "verified", "payload": second_reader.command(b64(given, "bytes"), keys, given["threshold"])}


def second_wipe_ticket(given: Value) -> Value:
    keys = [(one["name"], b64(one, "spki")) for one in given["keys"]]
    payload = second_reader.wipe_ticket(b64(given, "bytes"), keys, given["threshold"], given["policy"])
    return {"result": "verified", "payload": payload}


def second_wipe_text(given: Value) -> Value:
    return {"result": "read", "bytes_base64": base64.b64encode(second_reader.wipe_qr_text(given["lines"])).decode()}


def second_command_result(given: Value) -> Value:
    payload = second_reader.command_result(b64(given, "signed"), b64(given, "spki"))
    return {"result": "verified", "payload": payload}


def second_receipt(given: Value) -> Value:
    about = given["object_id"], given["record_sha256_hex"]
    payload = second_reader.receipt(b64(given, "signed"), b64(given, "spki"), *about)
    return {"result": "verified", "payload": payload}


def second_parse(given: Value) -> Value:
    second_reader.canonical(b64(given, "bytes"))
    return {"result": "parsed"}


def second_pass_content(given: Value) -> Value:
    commitment, data = second_reader.pass_content(given["content"], given["offset"], given["size"])
    return {"result": "made", "commitment": commitment, "data_hex": data.hex()}


def second_custody(given: Value) -> Value:
    one = second_reader.custody(b64(given, "bytes"))
    return described_custody(
        one.object_id, (one.record, one.binding, one.receipt, one.frames),
        [certificate["source"] for certificate in one.certificates], [len(proof["records"]) for proof in one.log],
    )  # fmt: skip


def second_log_proof(given: Value) -> Value:
    record = second_reader.log_proof(given["proof"], given["source"], b64(given, "spki"))
    return {"result": "shown", "record": record}


def second_comparison(given: Value) -> Value:
    captured, found = ((given[name], given[f"{name}_transfer_syntax"]) for name in ("captured", "found"))
    return {"state": second_reader.compare_frames(*captured, *found)}


def second_image(given: Value) -> Value:
    files = b64(given, "file"), b64(given, "statement"), given["authority_pem"].encode()
    state, failed = second_reader.image(*files)
    return {"result": "judged", "state": state, "failed": failed}


def second_add_checkpoint(given: Value) -> Value:
    one = given["witness"]
    witness = second_witness.Witness(given["logs"], one["name"], bytes.fromhex(one["seed_hex"]), one["vkey"])
    for sent in map(base64.b64decode, given["before_base64"]):
        assert witness.answer(sent, given["time"])["status"] == 200
    answer: Value = witness.answer(b64(given, "request"), given["time"])
    return answer


SECOND: dict[str, Reader] = {
    "open": second_open,
    "range": second_range,
    "statement": second_statement,
    "public-key": lambda given: {"result": "parsed", "key_id": second_reader.public_key(b64(given, "spki"))[1].hex()},
    "batch": second_batch,
    "private": second_private,
    "document": second_document,
    "part": second_part,
    "together": second_together,
    "grading": second_grading,
    "code": second_code,
    "chain": second_chain,
    "follow": second_follow,
    "lapsed": second_lapsed,
    "state": lambda given: {
        "result": "verified", "payload": second_reader.host_state(b64(given, "signed"), b64(given, "spki")),
    },
    "receipt": second_receipt,
    "command": second_command,
    "command-result": second_command_result,
    "wipe-ticket": second_wipe_ticket,
    "wipe-qr-text": second_wipe_text,
    "export-manifest": lambda given: {
        "result": "verified", "payload": second_reader.export_manifest(b64(given, "signed"), b64(given, "spki")),
    },
    "export-list": lambda given: {"result": "parsed", "payload": second_reader.export_list(b64(given, "bytes"))},
    "parse": second_parse,
    "custody": second_custody,
    "log-proof": second_log_proof,
    "frames": lambda given: {
        "result": "verified", "payload": second_reader.frame_digests(b64(given, "signed"), b64(given, "spki")),
    },
    "pixels": lambda given: {
        "result": "digested", **second_reader.pixels(b64(given, "dataset"), given["transfer_syntax"])[0],
    },
    "comparison": second_comparison,
    "image": second_image,
    "self-test-question": lambda given: {
        "result": "verified", "payload": second_reader.self_test_question(b64(given, "signed"), b64(given, "spki")),
    },
    "self-test-answer": lambda given: {
        "result": "verified",
        "payload": second_reader.self_test_answer(b64(given, "signed"), b64(given, "spki"), b64(given, "question")),
    },
    "hand-over": lambda given: {
        "result": "verified", "report": second_reader.hand_over(b64(given, "bytes"), b64(given, "spki")),
    },
    "wipe-judgement": lambda given: {
        "result": "judged", "judged": second_reader.wipe_judgement(b64(given, "ticket"), b64(given, "report")),
    },
    "wipe-certificate": lambda given: {
        "result": "verified",
        "statement_sha256": second_reader.wipe_certificate(
            b64(given, "bytes"), b64(given, "centre_spki"), b64(given, "host_spki")
        ),
    },
    "pass-content": second_pass_content,
    "samples": lambda given: wipe_generator.described(
        second_reader.samples(bytes.fromhex(given["sample_seed_hex"]), given["size_bytes"] // given["sector_bytes"])
    ),
    "add-checkpoint": second_add_checkpoint,
    "cosignatures": lambda given: second_witness.cosignatures(
        given["checkpoint"], b64(given, "answer"), given["witnesses"]
    ),
    "witness-size": lambda given: {"result": "parsed", "size": second_witness.size(b64(given, "body"))},
}  # fmt: skip

READ_TWICE = [name for name, vector in VECTORS.items() if vector["kind"] in SECOND]


@pytest.mark.parametrize("name", VECTORS)
def test_our_code_gives_what_the_vector_expects(name: str) -> None:
    vector = VECTORS[name]

    found = judged(lambda: OURS[vector["kind"]](vector["given"]))

    assert found == vector["expect"]


@pytest.mark.parametrize("name", READ_TWICE)
def test_a_reader_made_from_the_pages_alone_gives_what_the_vector_expects(name: str) -> None:
    vector = VECTORS[name]

    found = judged(lambda: SECOND[vector["kind"]](vector["given"]))

    assert found == vector["expect"]


@pytest.mark.parametrize("name", [name for name, vector in VECTORS.items() if "canonical_hex" in vector])
def test_the_canonical_form_that_is_shown_is_the_one_that_was_digested(name: str) -> None:
    vector = VECTORS[name]
    shown = [bytes.fromhex(frame) for frame in vector["canonical_hex"]]

    _, frames = second_reader.pixels(b64(vector["given"], "dataset"), vector["given"]["transfer_syntax"])

    assert frames == shown
    assert [sha256(frame).hexdigest() for frame in shown] == vector["expect"]["frames"]


@pytest.mark.parametrize("format_", FORMATS)
def test_most_vectors_must_be_refused(format_: str) -> None:
    names = [Path(name).stem for name in VECTORS if name.startswith(f"{format_}/")]
    refused = [name for name in names if "bad-" in name]

    assert len(refused) > len(names) / 2


def test_the_second_reader_shares_no_code_with_the_first() -> None:
    source = (FOLDER / "second_reader.py").read_text() + (FOLDER / "second_witness.py").read_text()

    assert "import shared" not in source
    assert "from shared" not in source
