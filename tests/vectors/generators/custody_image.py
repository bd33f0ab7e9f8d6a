"""Makes the scenarios of docs/formats/custody.md section 2: `image`, a file judged by a statement and an authority."""

import struct
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeAlias

from cryptography import x509

from shared.audit.events import Event, Subject
from shared.custody.frames import sign_frames
from shared.custody.statement import CustodyStatement, EvidenceCertificate
from shared.fleet.receipt import sign_receipt
from shared.identity import CONTROL_PLANE
from shared.sealing.record import record_digest, sign_record
from tests.vectors.generators import custody_story as story
from tests.vectors.generators.custody_pixels import BIG_ENDIAN, EXPLICIT, GREY, IMPLICIT, words
from tests.vectors.given import (
    HOST,
    OTHER_HOST,
    OTHER_OBJECT,
    TIME,
    Files,
    RepeatableSigner,
    Scenario,
    as_file,
    b64,
    flip,
    signer,
)

_JPEG = "1.2.840.10008.1.2.4.50"
_UNCHANGED, _NOT_PROVEN = "data set unchanged", "not proven"
_Case: TypeAlias = tuple[str, CustodyStatement, bytes, str, list[str]]


def part10(
    dataset: bytes, syntax: str = EXPLICIT, *, preamble: bool = True, length: int | None = None, more: bytes = b""
) -> bytes:
    """Return a file; `length` is what group 0002 says of its own length, -1 where it does not, None the truth."""
    group = _meta(0x0010, syntax.encode()) + more
    said = len(group) if length is None else length
    head = b"" if said < 0 else struct.pack("<HH2sHI", 2, 0, b"UL", 4, said)
    return (bytes(128) + b"DICM" if preamble else b"") + head + group + dataset


def _meta(element: int, uid: bytes) -> bytes:
    uid += b"\0" * (len(uid) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(uid)) + uid


def scenarios() -> Files:
    files = {}
    for name, (about, statement, file, state, failed) in (_unchanged() | _changed() | _forged()).items():
        files[f"image-{name}"] = _file(about, statement, file, state, failed, story.authority())
    for name, (about, authority, failed) in _authorities().items():
        files[f"image-{name}"] = _file(about, story.with_frames(), _TRUE, _NOT_PROVEN, failed, authority)
    for name, (about, file) in _unreadable().items():
        files[f"image-{name}"] = _file(about, story.with_frames(), file, None, [], story.authority())
    return {f"custody/{name}.json": text for name, text in files.items()}


_TRUE = part10(story.DATASET)


def _file(
    about: str,
    statement: CustodyStatement,
    file: bytes,
    state: str | None,
    failed: list[str],
    authority: x509.Certificate,
) -> str:
    """`state` is None where the file is no DICOM file that could be judged."""
    given = {
        "authority_pem": story.pem(authority), "statement_base64": b64(statement.encode()), "file_base64": b64(file),
    }  # fmt: skip
    expect: Scenario = {"result": "judged", "state": state, "failed": failed}
    if state is None:
        expect = {"result": "refused", "error": "Malformed"}
    return as_file({"about": about, "kind": "image", "given": given, "expect": expect})


def _unchanged() -> dict[str, _Case]:
    frames, plain, data = story.with_frames(), story.statement(), story.DATASET
    other = _meta(0x0012, b"1.2.3.44")
    astray = other + data
    conflict = story.Told(
        Event.IMAGE_CONFLICTS, (Subject("object", str(OTHER_OBJECT)), Subject("object", str(story.RECORD.object_id)))
    )
    renewed = EvidenceCertificate(str(HOST), story.pem(story.certificate(
        str(HOST), signer("host"), since=TIME.replace(microsecond=0) + timedelta(days=1),
        until=TIME.replace(microsecond=0) + timedelta(days=9),
    )))  # fmt: skip
    files = {
        "ok": ("The file as it was captured.", frames, _TRUE),
        "ok-without-frames": ("The same, and nobody digested its frames.", plain, _TRUE),
        "ok-another-program": ("Group 0002 has other elements.", plain, part10(data, more=other)),
        "ok-no-group-length": ("Group 0002 does not say how long it is.", plain, part10(data, length=-1, more=other)),
        "ok-wrong-group-length": ("Group 0002 says a wrong length.", plain, part10(data, length=7, more=other)),
        "ok-no-preamble": ("No preamble.", plain, part10(data, preamble=False)),
        "ok-group-2-in-the-data-set": (
            "Somebody sent elements of group 0002 within the data set: its length says where the file's own end.",
            _about(sign_record(story.record_of(story.binding_of(), astray), signer("host"))), part10(astray),
        ),
        "ok-bare": ("The data set alone.", plain, data),
        "ok-issuing-authority": (
            "The host's certificate is of an issuing authority's, which the root certified.",
            story.statement(certificates=(
                EvidenceCertificate(str(HOST), story.pem(story.issued()) + story.pem(story.issuing())),
                *story.CERTIFICATES[1:],
            )), _TRUE,
        ),
        "ok-issuing-authority-ended-since": (
            "Its period has ended by the time of the capture; it was valid when the host's certificate began.",
            story.statement(certificates=(
                EvidenceCertificate(str(HOST), story.pem(story.issued()) + story.pem(
                    story.issuing(until=TIME.replace(microsecond=0) - timedelta(minutes=1)))),
                *story.CERTIFICATES[1:],
            )), _TRUE,
        ),
        "ok-host-log-late": (
            "The host's log has not reached the centre: not evaluated, which is no failure.",
            story.statement(host_tells=()), _TRUE,
        ),
        "ok-enrolment-untold": (
            "The statement does not show the enrolment: nothing names the asset.",
            story.statement(centre_tells=(story.STORED,)), _TRUE,
        ),
        "ok-conflicts": (
            "Another data set was captured under the same SOP Instance UID: this one is no less what was captured.",
            story.statement(centre_tells=(story.ENROLLED, story.STORED, conflict)), _TRUE,
        ),
        "ok-renewed": (
            "A second certificate for the same key, of a later period.",
            story.statement(certificates=(renewed, *story.CERTIFICATES)), _TRUE,
        ),
    }  # fmt: skip
    return {name: (about, statement, file, _UNCHANGED, []) for name, (about, statement, file) in files.items()}


def _changed() -> dict[str, _Case]:
    """Files that are not what was captured, under a statement that holds."""
    frames, plain, data = story.with_frames(), story.statement(), story.DATASET
    big = replace(GREY, value=words(1, 2, 3, 4095, order=">")).encoded(BIG_ENDIAN)
    altered = replace(GREY, value=words(1, 2, 3, 4094))
    padded = "data set unchanged but for a zero byte at its end"
    anew = "pixel data unchanged, data set encoded anew"
    files = {
        "big-endian": ("Encoded anew in big endian.", frames, part10(big, BIG_ENDIAN), anew),
        "implicit": ("Encoded anew in Implicit VR.", frames, part10(GREY.encoded(IMPLICIT), IMPLICIT), anew),
        "implicit-without-frames": (
            "The same, and nobody digested its frames.", plain, part10(GREY.encoded(IMPLICIT), IMPLICIT),
            "data set altered",
        ),
        "implicit-bare": (
            "The same without group 0002: nothing names its transfer syntax.", frames, GREY.encoded(IMPLICIT),
            "data set altered",
        ),
        "pixel": ("A pixel is another.", frames, part10(altered.encoded(EXPLICIT)), "pixels altered"),
        "pixel-without-frames": (
            "The same, and nobody digested its frames.", plain, part10(altered.encoded(EXPLICIT)), "data set altered",
        ),
        "pixel-and-implicit": (
            "A pixel is another, and the data set encoded anew.", frames, part10(altered.encoded(IMPLICIT), IMPLICIT),
            "pixels altered",
        ),
        "lossy": (
            "A pixel is another, and the data set says that it was compressed with loss.", frames,
            part10(replace(altered, lossy="01").encoded(EXPLICIT)), "lossy change",
        ),
        "lossy-without-frames": (
            "A lossy transfer syntax, and nobody digested its frames.", plain, part10(altered.encoded(EXPLICIT), _JPEG),
            "lossy change",
        ),
        "name": (
            "The patient's name is another, the pixels are the same.", frames,
            part10(replace(GREY, name="Somebody^Else").encoded(EXPLICIT)), "data set altered",
        ),
        "bits-stored": (
            "Pixels described otherwise cannot be compared.", frames,
            part10(replace(GREY, stored=16).encoded(EXPLICIT)), "data set altered",
        ),
        "padded": ("A zero byte more.", frames, part10(data + b"\0"), padded),
        "grown": ("A byte more.", frames, part10(data + b"\1"), "data set altered"),
        "cut": ("The last byte is missing.", frames, part10(data[:-1]), "data set altered"),
        "empty": ("No data set.", frames, part10(b""), "data set altered"),
        "mislabelled": (
            "The right bytes under another transfer syntax.", frames, part10(data, IMPLICIT),
            "data set unchanged, named in a wrong transfer syntax",
        ),
    }  # fmt: skip
    cases: dict[str, _Case] = {f"bad-{name}": (*case, []) for name, case in files.items()}
    trailing = story.DATASET[:-2] + b"\x0f\x00"
    record = sign_record(story.record_of(story.binding_of(), trailing), signer("host"))
    unpadded = _about(record)
    cases["bad-unpadded"] = ("A zero byte at the end is gone.", unpadded, part10(trailing[:-1]), padded, [])
    return cases


def _about(record: bytes) -> CustodyStatement:
    """Return a statement in which receipt and logs are about this signed record."""
    digest = record_digest(record)
    about = (Subject("object", str(story.RECORD.object_id)), Subject("record", digest.hex()))
    return story.statement(
        record=record,
        receipt=sign_receipt(replace(story.RECEIPT, record_sha256=digest), story.RECEIPTS),
        host_tells=(replace(story.CAPTURED, what=about),),
        centre_tells=(story.ENROLLED, replace(story.STORED, what=about)),
    )


def _forged() -> dict[str, _Case]:
    """The true file, under statements that do not hold."""
    changed: dict[str, tuple[str, CustodyStatement, list[str]]] = {}
    for make in (_records, _bindings_and_receipts, _logs, _frames, _certificates):
        changed |= make()
    return {
        f"bad-{name}": (about, statement, _TRUE, _NOT_PROVEN, failed)
        for name, (about, statement, failed) in changed.items()
    }


_Forgeries: TypeAlias = dict[str, tuple[str, CustodyStatement, list[str]]]


def _records() -> _Forgeries:
    host, stranger = signer("host"), signer("stranger")
    own = EvidenceCertificate(str(OTHER_HOST), story.pem(story.certificate(str(OTHER_HOST), stranger)))
    before = TIME - timedelta(days=30)
    return {
        "record-bit": (
            "A bit of the record is flipped.", story.statement(record=flip(story.SIGNED_RECORD, 60)), ["record"],
        ),
        "record-stranger": (
            "Somebody signed the record.", _about(sign_record(story.RECORD, stranger)), ["record"],
        ),
        "record-centre": (
            "The centre signed the record.", _about(sign_record(story.RECORD, story.RECEIPTS)), ["record"],
        ),
        "record-other-host": (
            "Another host signed this host's record.",
            replace(_about(sign_record(story.RECORD, stranger)), certificates=(*story.CERTIFICATES, own)), ["record"],
        ),
        "record-other-object": (
            "The statement is about another object than its record.", story.statement(object_id=OTHER_OBJECT),
            ["record"],
        ),
        "record-too-early": (
            "The record says a time before its certificate's period.",
            _about(sign_record(replace(story.RECORD, captured=before), host)), ["record"],
        ),
        "record-malformed": ("No record at all.", story.statement(record=b"record"), ["record"]),
    }  # fmt: skip


def _bindings_and_receipts() -> _Forgeries:
    host, other = signer("host"), story.binding_of(OTHER_OBJECT)
    astray = replace(story.RECORD, binding_sha256=other.digest())
    nonsense = replace(story.RECORD, binding_sha256=sha256(b"binding").digest())

    def receipt(by: RepeatableSigner = story.RECEIPTS, **changes: Any) -> CustodyStatement:
        return story.statement(receipt=sign_receipt(replace(story.RECEIPT, **changes), by))

    late = TIME + timedelta(days=30)
    return {
        "binding-other": ("A binding in another transfer syntax.",
                          story.statement(binding=story.binding_of(syntax=IMPLICIT).encode()), ["binding"]),
        "binding-other-object": (
            "The record names the binding of another object.",
            replace(_about(sign_record(astray, host)), binding=other.encode()), ["binding"],
        ),
        "binding-malformed": (
            "The record names what is no binding.", replace(_about(sign_record(nonsense, host)), binding=b"binding"),
            ["binding"],
        ),
        "receipt-host": ("The host signed the receipt.", receipt(host), ["receipt"]),
        "receipt-stranger": ("Somebody signed the receipt.", receipt(signer("stranger")), ["receipt"]),
        "receipt-other-object": ("A receipt for another object.", receipt(object_id=OTHER_OBJECT), ["receipt"]),
        "receipt-other-record": ("A receipt for another record.", receipt(record_sha256=bytes(32)), ["receipt"]),
        "receipt-late": (
            "A receipt after its certificate's period.", receipt(received=late), ["receipt"],
        ),
    }  # fmt: skip


def _logs() -> _Forgeries:
    true = story.with_frames()
    captured, other = story.CAPTURED, (story.CAPTURED.what[0], Subject("record", "0" * 64))
    first = true.log[0]
    edited = first.records[0].replace(b'"outcome":0', b'"outcome":8')
    stored_other = replace(story.STORED, what=other)
    elsewhere = replace(story.STORED, what=(Subject("object", str(OTHER_OBJECT)), story.STORED.what[1]))
    by_host = story.log(str(HOST), (story.CAPTURED, story.STORED))
    shown = tuple(story.proof(signer("host"), str(HOST), by_host, seq, 1, 2) for seq in (1, 2))
    return {
        "log-none": ("No log.", replace(story.statement(), log=()), ["log"]),
        "log-edited": (
            "A word of a log record is changed.",
            replace(true, log=(replace(first, records=(edited, *first.records[1:])), *true.log[1:])), ["log"],
        ),
        "log-cut": (
            "A log record is cut short of its signature.",
            replace(true, log=(replace(first, records=first.records[:1]), *true.log[1:])), ["log"],
        ),
        "log-capture-of-another-record": (
            "The host's log tells of another record of this object.",
            story.statement(host_tells=(replace(captured, what=other),)), ["log"],
        ),
        "log-two-captures": (
            "It tells of this record and of another.",
            story.statement(host_tells=(captured, replace(captured, what=other))), ["log"],
        ),
        "log-stored-another-record": (
            "The centre's log tells that it stored another record.",
            story.statement(centre_tells=(story.ENROLLED, stored_other)), ["log"],
        ),
        "log-stored-another-object": (
            "The centre's log tells that it stored another object.",
            story.statement(centre_tells=(story.ENROLLED, elsewhere)), ["log"],
        ),
        "log-stored-by-host": (
            "The host's own log tells what the centre should have.", replace(story.statement(), log=shown), ["log"],
        ),
    }  # fmt: skip


def _frames() -> _Forgeries:
    def frames(by: RepeatableSigner = story.RECEIPTS, **changes: Any) -> CustodyStatement:
        """Return a statement with such frame digests, which the centre's log names."""
        return story.statement(frames=sign_frames(replace(story.FRAMES, **changes), by))

    unlogged = replace(story.with_frames(), frames=sign_frames(replace(story.FRAMES, made=TIME), story.RECEIPTS))
    name = "frame digests"
    return {
        "frames-host": ("The host signed the frame digests.", frames(signer("host")), [name]),
        "frames-object": ("Frame digests of another object.", frames(object_id=OTHER_OBJECT), [name]),
        "frames-record": ("Frame digests of another record.", frames(record_sha256=bytes(32)), [name]),
        "frames-dataset": ("Frame digests of another data set.", frames(dataset_sha256=bytes(32)), [name]),
        "frames-syntax": ("Frame digests of another transfer syntax.", frames(transfer_syntax=IMPLICIT), [name]),
        "frames-late": (
            "Frame digests made after the certificate's period.", frames(made=TIME + timedelta(days=30)), [name],
        ),
        "frames-not-logged": ("Frame digests that the centre's log does not name.", unlogged, [name]),
        "frames-malformed": ("Frame digests that are none.", story.statement(frames=b"frames"), [name]),
    }  # fmt: skip


def _certificates() -> _Forgeries:
    host_key, stranger = signer("host"), signer("stranger")

    def instead(pem: str) -> CustodyStatement:
        return story.statement(certificates=(EvidenceCertificate(str(HOST), pem), *story.CERTIFICATES[1:]))

    def pem(**options: Any) -> str:
        return story.pem(story.certificate(str(HOST), host_key, **options))

    swapped = tuple(
        replace(one, source=str(HOST) if one.source == CONTROL_PLANE else CONTROL_PLANE) for one in story.CERTIFICATES
    )
    both = ["certificates", "record"]
    noon = TIME.replace(microsecond=0)
    return {
        "certificates-none": ("No certificates.", story.statement(certificates=()), both),
        "certificate-malformed": ("A certificate that is none.", instead("certificate"), both),
        "certificate-of-another-authority": (
            "Somebody else certified the host's key.", instead(pem(by=stranger)), both,
        ),
        "certificate-of-another-authority-beside": (
            "The same, beside the true one: a failed certificate is a failed check.",
            story.statement(certificates=(*story.CERTIFICATES, EvidenceCertificate(str(HOST), pem(by=stranger)))),
            ["certificates"],
        ),
        "certificate-for-tls": ("A certificate of another unit.", instead(pem(unit="host")), both),
        "certificate-may-not-sign": ("A key that may not sign.", instead(pem(may_sign=False)), both),
        "certificates-swapped": (
            "Certificates under one another's names.", story.statement(certificates=swapped), both,
        ),
        "certificate-without-its-issuer": (
            "The certificate of an issuing authority's, without that one's.", instead(story.pem(story.issued())), both,
        ),
        "certificate-below-a-stranger": (
            "An issuing authority that somebody else certified.",
            instead(story.pem(story.issued()) + story.pem(story.issuing(by=stranger))), both,
        ),
        "certificate-too-far-down": (
            "An authority below one that may have none below it.",
            instead("".join(map(story.pem, (
                story.issued(stranger, issuer="below"),
                story.certificate("below", stranger, unit="ca", by=story.ISSUING, issuer="issuing", authority=True),
                story.issuing(),
            )))), both,
        ),
        "certificate-of-a-host": (
            "A certificate that another host's key issued.",
            instead("".join(map(story.pem, (
                story.issued(stranger, issuer="issuing"), story.certificate("issuing", stranger, unit="ca"),
            )))), both,
        ),
        "certificate-issuer-retired": (
            "The issuing authority's period ended before the certificate's began.",
            instead(story.pem(story.issued()) + story.pem(story.issuing(until=noon - timedelta(days=2)))), ["record"],
        ),
        "certificate-too-early": (
            "A certificate whose period ended before the capture.",
            instead(pem(since=noon - timedelta(days=9), until=noon - timedelta(days=2))), ["record"],
        ),
    }  # fmt: skip


def _authorities() -> dict[str, tuple[str, x509.Certificate, list[str]]]:
    noon = TIME.replace(microsecond=0)
    another = story.certificate("Leadglass CA", signer("stranger"), unit="ca", by=signer("stranger"), authority=True)
    return {
        "bad-authority-another": ("Another authority, of the same name.", another, ["certificates", "record"]),
        "bad-authority-none": (
            "The authority's key, certified as something else.", story.authority(is_one=False),
            ["certificates", "record"],
        ),
        "bad-authority-too-early": (
            "The authority's period ended before the capture.", story.authority(until=noon - timedelta(days=2)),
            ["record", "receipt", "frame digests"],
        ),
    }  # fmt: skip


def _unreadable() -> dict[str, tuple[str, bytes]]:
    data = story.DATASET
    cut = _meta(0x0010, EXPLICIT.encode())[:-4]
    return {
        "bad-file-without-syntax": (
            "Group 0002 names no transfer syntax.", bytes(128) + b"DICM" + _meta(0x0012, b"1.2.3") + data,
        ),
        "bad-file-syntax-by-name": ("It names one that is no UID.", part10(data, "explicit")),
        "bad-file-cut": ("It ends within group 0002.", bytes(128) + b"DICM" + cut),
    }  # fmt: skip
