"""Judges a sealed object file with what an outsider has: the host's evidence certificate, and perhaps the dataset."""

from dataclasses import dataclass
from hashlib import sha256

from provisioning.verify import certificate as certificates
from provisioning.verify.certificate import Certified
from provisioning.verify.checks import Check, failures, judged, not_evaluated
from shared import clock
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Malformed
from shared.sealing import object_file
from shared.sealing.binding import Binding
from shared.sealing.chunked import CHUNK_BYTES, HEADER_BYTES, TAG_BYTES
from shared.sealing.hpke import SealedBox
from shared.sealing.object_file import BodyWindow, ObjectParts, SeekableSource
from shared.sealing.record import CaptureRecord, verify_record

_READ_BYTES = 1 << 20
_SEALED = "not evaluated here: it is sealed, and only the holder of the key can"


@dataclass(frozen=True)
class DatasetFacts:
    """What was found in the file that is said to be the captured image; no syntax where a bare dataset was given."""

    sha256: bytes
    size_bytes: int
    transfer_syntax: str | None


@dataclass(frozen=True)
class ObjectReport:
    checks: tuple[Check, ...]
    conclusion: str

    @property
    def ok(self) -> bool:
        return not failures(self.checks)


def judge_object(
    source: SeekableSource,
    certified: Certified,
    trust: Trust | None,
    dataset: DatasetFacts | None,
) -> ObjectReport:
    """Judge everything that can be judged without a private key; the body is read once, in constant memory."""
    key = certificates.evidence_key(certified.certificate)
    try:
        parts = object_file.parse(source)
    except Malformed as exc:
        return _report((judged("object file", False, str(exc)),), None, trust, dataset)
    checks = [judged("object file", True, f"object {parts.binding.object_id}")]
    try:
        record = verify_record(parts.record, key)
    except (Malformed, IntegrityFailure) as exc:
        checks.append(judged("capture record signed by the certificate's key", False, str(exc)))
        checks.append(not_evaluated("everything else", "there is no capture record that could be believed"))
        return _report(tuple(checks), None, trust, dataset)
    checks.append(judged("capture record signed by the certificate's key", True, f"key {key.key_id}"))
    checks += _check_certificate(certified, trust, record)
    checks += _check_parts(parts, record)
    checks += _check_body(source, parts, record)
    checks.append(not_evaluated("entry in the audit log", "an object file does not hold it; see `audit`"))
    checks += _check_dataset(dataset, parts.binding, record)
    return _report(tuple(checks), record, trust, dataset)


def _check_certificate(certified: Certified, trust: Trust | None, record: CaptureRecord) -> tuple[Check, ...]:
    issued = (
        certificates.check_issuer(certified, trust)
        if trust is not None
        else not_evaluated("certificate issued by the authority", "no authority was given (--ca)")
    )
    return (
        certificates.check_purpose(certified.certificate, str(record.host_id)),
        issued,
        certificates.check_validity(certified, trust, record.captured, "time of capture"),
    )


def _check_parts(parts: ObjectParts, record: CaptureRecord) -> tuple[Check, ...]:
    binding = parts.binding
    same = (binding.object_id, binding.host_id) == (record.object_id, record.host_id)
    return (
        judged("binding is the one signed", binding.digest() == record.binding_sha256, "by its SHA-256"),
        judged("binding and record name one object and host", same, f"{record.object_id} of {record.host_id}"),
        _check_box("key wrap has its form", parts.wrap),
        _check_box("sealed index has its form", parts.index),
        not_evaluated("contents of key wrap and sealed index", _SEALED),
    )


def _check_box(name: str, box: bytes) -> Check:
    try:
        return judged(name, True, f"for key {SealedBox.parse(box).key_id}")
    except Malformed as exc:
        return judged(name, False, str(exc))


def _check_body(source: SeekableSource, parts: ObjectParts, record: CaptureRecord) -> tuple[Check, ...]:
    digest, window, buffer = sha256(), BodyWindow(source, parts), memoryview(bytearray(_READ_BYTES))
    while count := window.readinto(buffer):
        digest.update(buffer[:count])
    expected = HEADER_BYTES + record.dataset_bytes + TAG_BYTES * (record.dataset_bytes // CHUNK_BYTES + 1)
    return (
        judged(
            "sealed body has the signed size",
            parts.body_bytes == record.body_bytes,
            f"{parts.body_bytes} bytes, signed {record.body_bytes}",
        ),
        judged("sealed body is the one signed", digest.digest() == record.body_sha256, "by its SHA-256"),
        judged(
            "sizes of body and dataset agree",
            record.body_bytes == expected,
            f"{record.dataset_bytes} bytes make a body of {expected}",
        ),
    )


def _check_dataset(dataset: DatasetFacts | None, binding: Binding, record: CaptureRecord) -> tuple[Check, ...]:
    content = not_evaluated("content of the sealed body", _SEALED)
    if dataset is None:
        return (content, not_evaluated("the captured dataset", "no dataset was given (--dataset)"))
    return (
        content,
        judged(
            "given dataset has the signed size",
            dataset.size_bytes == record.dataset_bytes,
            f"{dataset.size_bytes} bytes, signed {record.dataset_bytes}",
        ),
        judged("given dataset is the one captured", dataset.sha256 == record.dataset_sha256, "by its SHA-256"),
        not_evaluated("transfer syntax of the given dataset", "a bare dataset does not name it")
        if dataset.transfer_syntax is None
        else judged(
            "transfer syntax is the captured one",
            dataset.transfer_syntax == binding.transfer_syntax,
            f"{dataset.transfer_syntax}, bound {binding.transfer_syntax}",
        ),
    )


def _report(
    checks: tuple[Check, ...], record: CaptureRecord | None, trust: Trust | None, dataset: DatasetFacts | None
) -> ObjectReport:
    failed = failures(checks)
    if failed or record is None:
        names = "; ".join(check.name for check in failed)
        return ObjectReport(checks, f"NOT PROVEN. Do not rely on this object: {names}.")
    proven = f"the holder of the certificate's key signed this sealed body as object {record.object_id}"
    if dataset is not None:
        proven += ", and the given dataset, bit for bit, as what was captured"
    open_points = ["what the sealed body holds", f"that its clock was right ({clock.text(record.captured)})"]
    open_points += ["that the audit log has this capture"]
    if trust is None:
        open_points.append("who stands behind the certificate (no --ca)")
    return ObjectReport(checks, f"Proven: {proven}. Not proven: {'; '.join(open_points)}.")
