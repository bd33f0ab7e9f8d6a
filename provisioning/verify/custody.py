"""Judges a custody statement: what of it a host, the centre and their logs signed, and whether they tell one story.

Nothing is believed because it stands in the statement. Everything hangs on the authority that the reader trusts: it
certified the keys, the keys signed record, receipt, frame digests and logs, and each of them names the others.
docs/formats/custody.md section 2
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from provisioning.verify import certificate as certificates
from provisioning.verify.audit_export import AuditReport, ChainState
from provisioning.verify.certificate import Certified
from provisioning.verify.checks import Check, judged, not_evaluated
from provisioning.verify.pixels import counted
from shared import clock
from shared.audit.events import Event
from shared.audit.record import AuditRecord, leaf_hash
from shared.custody.frames import FrameStatement, verify_frames
from shared.custody.statement import CustodyStatement, LogProof, verify_log_proof
from shared.enrolment.chain import Trust, is_valid_at
from shared.errors import IntegrityFailure, Malformed
from shared.fleet.receipt import Receipt, verify_receipt
from shared.identity import CONTROL_PLANE
from shared.sealing.binding import Binding
from shared.sealing.record import CaptureRecord, record_digest, verify_record
from shared.signing import EvidencePublicKey, signing_key_id

_RECORD = "capture record signed by the host"


@dataclass(frozen=True)
class Signer:
    source: str
    key: EvidencePublicKey
    certified: Certified


@dataclass(frozen=True)
class Shown:
    """A record of a log, proved to be one that its source signed."""

    record: AuditRecord
    leaf: bytes

    def names(self, kind: str) -> set[str]:
        return {subject.name for subject in self.record.what if subject.kind == kind}


@dataclass
class Evidence:
    """What held of a custody statement; None where it did not, or is not there."""

    checks: list[Check] = field(default_factory=list)
    record: CaptureRecord | None = None
    binding: Binding | None = None
    receipt: Receipt | None = None
    frames: FrameStatement | None = None
    captured: Shown | None = None
    stored: Shown | None = None
    enrolled: Shown | None = None
    conflicts: tuple[str, ...] = ()  # objects with another data set under the same SOP Instance UID, as the logs tell

    @property
    def sender(self) -> str | None:
        """The calling AE title, where the host's log tells of the capture."""
        who = () if self.captured is None else self.captured.record.who
        return next((one.name for one in who if one.kind == "ae"), None)

    @property
    def asset(self) -> str | None:
        return None if self.enrolled is None else next(iter(self.enrolled.names("asset")), None)


def judge_evidence(statement: CustodyStatement, trust: Trust, log: AuditReport | None) -> Evidence:
    """Judge everything but the image; `log` is the whole audit log, where the reader has it."""
    evidence = Evidence()
    signers = _Signers(statement, trust, evidence.checks)
    record = _judge_record(statement, signers, evidence, trust)
    if record is None:
        evidence.checks.append(not_evaluated("everything else", "there is no capture record that could be believed"))
        return evidence
    _judge_binding(statement, record, evidence)
    _judge_receipt(statement, record, signers, evidence, trust)
    shown = list(_judge_proofs(statement, signers, evidence.checks))
    _judge_captured(statement, record, shown, evidence)
    _judge_stored(statement, record, shown, evidence)
    enrolled = _about(shown, Event.HOST_ENROLLED, CONTROL_PLANE, "host", str(record.host_id))
    evidence.enrolled = enrolled[0] if enrolled else None
    evidence.conflicts = _conflicts(shown, record)
    _judge_frames(statement, record, shown, signers, evidence, trust)
    evidence.checks.append(_whole_log(shown, log))
    return evidence


class _Signers:
    """The keys of the statement that the authority certified, each for its source."""

    def __init__(self, statement: CustodyStatement, trust: Trust, checks: list[Check]) -> None:
        self._signers: list[Signer] = []
        bad: list[str] = []
        for offered in statement.certificates:
            try:
                certified = certificates.parse_certified(offered.pem.encode(), "evidence certificate")
                signer = Signer(offered.source, certificates.evidence_key(certified.certificate), certified)
            except Malformed as exc:
                bad.append(f"{offered.source}: {exc}")
                continue
            judgements = (
                certificates.check_purpose(certified.certificate, offered.source),
                certificates.check_issuer(certified, trust),
            )
            problems = [f"{offered.source}: {one.detail}" for one in judgements if not one.holds]
            bad += problems
            if not problems:
                self._signers.append(signer)
        detail = "; ".join(bad) or f"{len(self._signers)} good, by the authority with SHA-256 " + (
            certificates.fingerprints(trust)
        )
        checks.append(judged("evidence certificates", not bad and bool(self._signers), detail))

    def of(self, signed: bytes, source: str | None, at: datetime | None = None) -> Signer:
        """Return who is certified for the key that `signed` names, best one that was so `at` that time.

        Raises Malformed, NobodyCertified.
        """
        named = signing_key_id(signed)
        found = [one for one in self._signers if one.key.key_id == named and source in (None, one.source)]
        if not found:
            raise NobodyCertified(str(named), source)
        valid = [one for one in found if at is not None and is_valid_at(one.certified.certificate, at)]
        return (valid or found)[0]


class NobodyCertified(IntegrityFailure):
    def __init__(self, key: str, source: str | None) -> None:
        super().__init__(f"the authority certified key {key} for nobody here" + f" as {source}'s" * bool(source))


def _judge_record(
    statement: CustodyStatement, signers: _Signers, evidence: Evidence, trust: Trust
) -> CaptureRecord | None:
    try:
        signer = signers.of(statement.record, None)
        record = verify_record(statement.record, signer.key)
    except (Malformed, IntegrityFailure) as exc:
        evidence.checks.append(judged(_RECORD, False, str(exc)))
        return None
    if signer.source != str(record.host_id) or record.object_id != statement.object_id:
        why = f"it is {signer.source}'s word about object {record.object_id} of {record.host_id}"
        evidence.checks.append(judged(_RECORD, False, why))
        return None
    evidence.checks.append(
        judged(_RECORD, True, f"object {record.object_id}, {record.host_id}, key {signer.key.key_id}")
    )
    certified = signers.of(statement.record, signer.source, record.captured).certified
    evidence.checks.append(certificates.check_validity(certified, trust, record.captured, "time of capture"))
    evidence.record = record
    return record


def _judge_binding(statement: CustodyStatement, record: CaptureRecord, evidence: Evidence) -> None:
    name = "binding is the one signed"
    if sha256(statement.binding).digest() != record.binding_sha256:
        evidence.checks.append(judged(name, False, "by its SHA-256"))
        return
    try:
        binding = Binding.parse(statement.binding)
    except Malformed as exc:
        evidence.checks.append(judged(name, False, str(exc)))
        return
    same = (binding.object_id, binding.host_id) == (record.object_id, record.host_id)
    evidence.checks.append(judged(name, same, f"transfer syntax {binding.transfer_syntax}"))
    evidence.binding = binding if same else None


def _judge_receipt(
    statement: CustodyStatement, record: CaptureRecord, signers: _Signers, evidence: Evidence, trust: Trust
) -> None:
    name = "receipt signed by the vault"
    try:
        signer = signers.of(statement.receipt, CONTROL_PLANE)
        receipt = verify_receipt(statement.receipt, signer.key, record.object_id, record_digest(statement.record))
    except (Malformed, IntegrityFailure) as exc:
        evidence.checks.append(judged(name, False, str(exc)))
        return
    evidence.checks.append(judged(name, True, f"received {clock.text(receipt.received)}"))
    certified = signers.of(statement.receipt, CONTROL_PLANE, receipt.received).certified
    evidence.checks.append(certificates.check_validity(certified, trust, receipt.received, "time of the receipt"))
    evidence.receipt = receipt


def _judge_proofs(statement: CustodyStatement, signers: _Signers, checks: list[Check]) -> Iterator[Shown]:
    """Yield the log records that their sources signed; what does not hold is a failed check."""
    bad = []
    for number, proof in enumerate(statement.log, 1):
        try:
            yield _shown(proof, signers)
        except (Malformed, IntegrityFailure) as exc:
            bad.append(f"record {number} of the statement: {exc}")
    detail = "; ".join(bad) or f"{len(statement.log)} records"
    checks.append(judged("log records signed by their sources", not bad, detail))


def _shown(proof: LogProof, signers: _Signers) -> Shown:
    signer = signers.of(proof.statement, None)
    return Shown(verify_log_proof(proof, signer.source, signer.key), leaf_hash(proof.records[0]))


def _about(shown: list[Shown], event: Event, source: str, kind: str, name: str) -> list[Shown]:
    return [
        one for one in shown if one.record.event is event and one.record.source == source and name in one.names(kind)
    ]


def _conflicts(shown: list[Shown], record: CaptureRecord) -> tuple[str, ...]:
    """Return what else was captured under this SOP Instance UID, by the logs of this host and of the centre."""
    own = str(record.object_id)
    sources = (str(record.host_id), CONTROL_PLANE)
    told = (one for source in sources for one in _about(shown, Event.IMAGE_CONFLICTS, source, "object", own))
    return tuple(sorted({name for one in told for name in one.names("object")} - {own}))


def _judge_captured(statement: CustodyStatement, record: CaptureRecord, shown: list[Shown], evidence: Evidence) -> None:
    name, host = "capture in the host's log", str(record.host_id)
    found = _about(shown, Event.IMAGE_CAPTURED, host, "object", str(record.object_id))
    if not found:
        why = "the statement has no such record; it may not have reached the centre yet"
        evidence.checks.append(not_evaluated(name, why))
        return
    digest = record_digest(statement.record).hex()
    ours = [one for one in found if digest in one.names("record")]
    others = [one for one in found if one.names("record") and digest not in one.names("record")]
    evidence.captured = ours[0] if ours and not others else None
    detail = f"record {(ours or found)[0].record.seq} of {host}" + "; it names another capture record" * bool(others)
    evidence.checks.append(judged(name, evidence.captured is not None, detail))


def _judge_stored(statement: CustodyStatement, record: CaptureRecord, shown: list[Shown], evidence: Evidence) -> None:
    digest = record_digest(statement.record).hex()
    found = _about(shown, Event.OBJECT_STORED, CONTROL_PLANE, "object", str(record.object_id))
    ours = [one for one in found if digest in one.names("record")]
    evidence.stored = ours[0] if ours else None
    detail = f"record {ours[0].record.seq} of {CONTROL_PLANE}" if ours else "no record of it names this capture record"
    evidence.checks.append(judged("arrival in the centre's log", bool(ours), detail))


def _judge_frames(
    statement: CustodyStatement,
    record: CaptureRecord,
    shown: list[Shown],
    signers: _Signers,
    evidence: Evidence,
    trust: Trust,
) -> None:
    name = "frame digests signed by the centre"
    if statement.frames is None:
        why = "there are none: policy did not ask, the frames were refused, or they were not made yet"
        evidence.checks.append(not_evaluated(name, why))
        return
    try:
        signer = signers.of(statement.frames, CONTROL_PLANE)
        frames = verify_frames(statement.frames, signer.key)
    except (Malformed, IntegrityFailure) as exc:
        evidence.checks.append(judged(name, False, str(exc)))
        return
    about = (frames.object_id, frames.record_sha256, frames.dataset_sha256, frames.transfer_syntax)
    syntax = None if evidence.binding is None else evidence.binding.transfer_syntax
    ours = about == (record.object_id, record_digest(statement.record), record.dataset_sha256, syntax)
    detail = f"{counted(frames.pixels)}, decoded by {frames.pixels.decoder}"
    evidence.checks.append(judged(name, ours, detail if ours else "they are about another image"))
    certified = signers.of(statement.frames, CONTROL_PLANE, frames.made).certified
    evidence.checks.append(certificates.check_validity(certified, trust, frames.made, "time of the frame digests"))
    logged = _about(shown, Event.FRAMES_DIGESTED, CONTROL_PLANE, "object", str(record.object_id))
    named = any(sha256(statement.frames).hexdigest() in one.names("frames") for one in logged)
    evidence.checks.append(judged("frame digests in the centre's log", named, "by their SHA-256"))
    evidence.frames = frames if ours and named else None


def _whole_log(shown: list[Shown], log: AuditReport | None) -> Check:
    name = "these records in the whole log"
    if log is None:
        return not_evaluated(name, "no audit export was given (--log)")
    states = {source.source: source.state for source in log.sources}
    missing = [one.record for one in shown if not _is_in(log.leaves, one)]
    unproved = {one.record.source for one in shown if states.get(one.record.source) is not ChainState.VERIFIED}
    if missing:
        named = ", ".join(f"record {record.seq} of {record.source}" for record in missing)
        return judged(name, False, f"the export does not have {named}")
    if unproved:
        return judged(name, False, f"the export does not prove the log of {', '.join(sorted(unproved))}")
    return judged(name, True, f"each of the {len(shown)} in a chain that is whole from record 1")


def _is_in(leaves: Mapping[str, Mapping[int, bytes]], one: Shown) -> bool:
    return leaves.get(one.record.source, {}).get(one.record.seq) == one.leaf
