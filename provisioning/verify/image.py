"""Judges an image against a custody statement: the captured data set bit for bit, or what can be said of the rest."""

import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from provisioning.verify.audit_export import AuditReport
from provisioning.verify.checks import Check, failures, judged, not_evaluated
from provisioning.verify.custody import Evidence, judge_evidence
from provisioning.verify.part10 import SeekableSource, Split
from provisioning.verify.pixels import PixelState, PixelVerdict, compare
from shared import clock
from shared.canonical import Json
from shared.custody.frames import LOSSY_SYNTAXES, Pixels
from shared.custody.statement import CustodyStatement
from shared.enrolment.chain import Trust
from shared.errors import Refused

DATASET = "data set is the one captured"
SYNTAX = "transfer syntax is the captured one"
PIXELS = "decoded pixels are those captured"
_READ_BYTES = 1 << 20


class ImageState(StrEnum):
    """What is proven of the image. Only the first is *verified*."""

    UNCHANGED = "data set unchanged"
    MISLABELLED = "data set unchanged, named in a wrong transfer syntax"
    PADDED = "data set unchanged but for a zero byte at its end"
    PIXELS_UNCHANGED = "pixel data unchanged, data set encoded anew"
    LOSSY_CHANGE = "lossy change"
    PIXELS_ALTERED = "pixels altered"
    ALTERED = "data set altered"
    NOT_PROVEN = "not proven"


class FrameDecoder(Protocol):
    def decode(self, pieces: Iterator[bytes], transfer_syntax: str) -> Pixels:
        """Return the digests of a dataset's frames. Raises Refused: there are none, and why."""


@dataclass(frozen=True)
class ImageReport:
    checks: tuple[Check, ...]
    state: ImageState
    captured: dict[str, Json]
    conclusion: str

    @property
    def ok(self) -> bool:
        return self.state is ImageState.UNCHANGED and not failures(self.checks)


@dataclass(frozen=True)
class _Bytes:
    """What was read of the file's dataset; `without_padding` leaves a last zero byte out, `padded` has one more."""

    sha256: bytes
    size_bytes: int
    without_padding: bytes | None
    padded: bytes


class ImageJudge:
    """`same` and `decoder` are what a test replaces to see that they are what decides."""

    def __init__(self, decoder: FrameDecoder, same: Callable[[bytes, bytes], bool] = hmac.compare_digest) -> None:
        self._decoder, self._same = decoder, same

    def judge(
        self,
        source: SeekableSource,
        split: Split,
        statement: CustodyStatement,
        trust: Trust,
        log: AuditReport | None,
    ) -> ImageReport:
        """Judge the file at `source`, in which the dataset begins where `split` says."""
        evidence = judge_evidence(statement, trust, log)
        checks = evidence.checks
        if evidence.record is None or evidence.binding is None:
            checks.append(not_evaluated(DATASET, "nothing says what was captured"))
            return _report(checks, ImageState.NOT_PROVEN, evidence)
        read = _read(source, split.dataset_offset)
        same = self._same(read.sha256, evidence.record.dataset_sha256)
        how = f"{split.form}: {read.size_bytes} bytes with SHA-256 {read.sha256.hex()}"
        checks.append(judged(DATASET, same, how if same else f"{how}, signed {evidence.record.dataset_sha256.hex()}"))
        syntax, captured_in = split.transfer_syntax, evidence.binding.transfer_syntax
        checks.append(_syntax(syntax, captured_in, same=same))
        if same:
            checks.append(not_evaluated(PIXELS, "not needed: they are part of the data set"))
            named_right = syntax in (None, captured_in)
            return _report(checks, ImageState.UNCHANGED if named_right else ImageState.MISLABELLED, evidence)
        if evidence.record.dataset_sha256 in (read.without_padding, read.padded):
            checks.append(not_evaluated(PIXELS, "not needed: only a zero byte at the end came or went"))
            return _report(checks, ImageState.PADDED, evidence)
        verdict = self._pixels(source, split, evidence)
        checks.append(_pixel_check(verdict))
        return _report(checks, _state(verdict, recompressed=syntax not in (None, captured_in)), evidence, verdict)

    def _pixels(self, source: SeekableSource, split: Split, evidence: Evidence) -> PixelVerdict:
        syntax = split.transfer_syntax
        if syntax is None:
            return PixelVerdict(PixelState.NOT_EVALUATED, "a data set alone does not name its transfer syntax")
        assert evidence.binding is not None  # noqa: S101 (the caller looked)
        captured_in = evidence.binding.transfer_syntax
        by_syntax = syntax in LOSSY_SYNTAXES and captured_in != syntax
        if evidence.frames is None:
            if by_syntax:
                return PixelVerdict(
                    PixelState.LOSSY, f"its transfer syntax {syntax} is a lossy one, captured {captured_in}"
                )
            return PixelVerdict(PixelState.NOT_EVALUATED, "there are no frame digests that could be believed")
        try:
            found = self._decoder.decode(_pieces(source, split.dataset_offset), syntax)
        except Refused as exc:
            if by_syntax:
                return PixelVerdict(PixelState.LOSSY, f"its transfer syntax {syntax} is a lossy one; {exc}")
            return PixelVerdict(PixelState.NOT_EVALUATED, str(exc))
        return compare(evidence.frames, found, syntax)


def _read(source: SeekableSource, offset: int) -> _Bytes:
    """Digest a dataset as it is, without a last zero byte, and with one more (PS3.5 sections 7.1.2 and A.5)."""
    digest, held, size = sha256(), b"", 0
    for piece in _pieces(source, offset):
        digest.update(held)
        digest.update(piece[:-1])
        held = piece[-1:]
        size += len(piece)
    before, last = digest.copy(), digest.copy()
    last.update(held)
    padded = last.copy()
    padded.update(b"\x00")
    return _Bytes(last.digest(), size, before.digest() if held == b"\x00" else None, padded.digest())


def _pieces(source: SeekableSource, offset: int) -> Iterator[bytes]:
    source.seek(offset)
    while piece := source.read(_READ_BYTES):
        yield piece


def _syntax(syntax: str | None, captured: str, *, same: bool) -> Check:
    if syntax is None:
        return not_evaluated(SYNTAX, f"a data set alone does not name it; captured {captured}")
    if syntax == captured:
        return judged(SYNTAX, True, syntax)
    # Beside the right bytes, a wrong name for them; beside others, what has to be explained.
    return judged(SYNTAX, False, f"{syntax}, captured {captured}") if same else not_evaluated(
        SYNTAX, f"another one: {syntax}, captured {captured}; the data set was encoded anew"
    )  # fmt: skip


def _pixel_check(verdict: PixelVerdict) -> Check:
    if verdict.state is PixelState.NOT_EVALUATED:
        return not_evaluated(PIXELS, verdict.why)
    return judged(PIXELS, verdict.state is PixelState.SAME, f"{verdict.state.value}: {verdict.why}")


def _state(verdict: PixelVerdict, *, recompressed: bool) -> ImageState:
    match verdict.state:
        case PixelState.SAME if recompressed:
            return ImageState.PIXELS_UNCHANGED
        case PixelState.LOSSY:
            return ImageState.LOSSY_CHANGE
        case PixelState.ALTERED:
            return ImageState.PIXELS_ALTERED
        case _:
            return ImageState.ALTERED


def _report(
    checks: list[Check], state: ImageState, evidence: Evidence, pixels: PixelVerdict | None = None
) -> ImageReport:
    doubtful = [check for check in failures(checks) if check.name not in (DATASET, SYNTAX, PIXELS)]
    if doubtful or evidence.record is None:
        names = "; ".join(check.name for check in doubtful)
        conclusion = f"NOT PROVEN. The evidence does not hold, so it says nothing about this image: {names}."
        return ImageReport(tuple(checks), ImageState.NOT_PROVEN, {}, conclusion)
    says = _SAYS[state] if pixels is None else f"{_SAYS[state]} Decoded pixels: {pixels.state.value} ({pixels.why})."
    conclusion = f"{says} {_told(evidence)} {_open_points(evidence, checks)}"
    return ImageReport(tuple(checks), state, _facts(evidence), conclusion)


_SAYS = {
    ImageState.UNCHANGED: "Proven: the data set of this file is, bit for bit, the one that was captured.",
    ImageState.MISLABELLED: "The data set is, bit for bit, the one that was captured, but the file names another "
    "transfer syntax for it: whoever reads it so reads something else.",
    ImageState.PADDED: "NOT the captured data set, bit for bit: a zero byte at its very end came or went. All before "
    "that is what was captured.",
    ImageState.PIXELS_UNCHANGED: "NOT the captured data set: it was encoded anew, in another transfer syntax. Its "
    "pixels are those captured; its other attributes were not evaluated.",
    ImageState.LOSSY_CHANGE: "NOT the captured image: a lossy change. Whether more than compression changed it, or it "
    "is another image, was not evaluated.",
    ImageState.PIXELS_ALTERED: "NOT the captured image: its pixels were altered, or it is another image than the one "
    "that this statement is about.",
    ImageState.ALTERED: "NOT the captured data set: it was altered after capture, or it is another image than the one "
    "that this statement is about.",
}


def _facts(evidence: Evidence) -> dict[str, Json]:
    record = evidence.record
    assert record is not None  # noqa: S101 (the caller looked)
    return {
        "object": str(record.object_id),
        "host": str(record.host_id),
        "asset": evidence.asset,
        "ae_title": evidence.sender,
        "time": clock.text(record.captured),
        "received": None if evidence.receipt is None else clock.text(evidence.receipt.received),
        "conflicts_with": list(evidence.conflicts),
        "grade": record.grade,
        "policy_version": record.policy_version,
        "dataset_sha256": record.dataset_sha256.hex(),
        "dataset_bytes": record.dataset_bytes,
    }


def _told(evidence: Evidence) -> str:
    record = evidence.record
    assert record is not None  # noqa: S101 (the caller looked)
    who = f"{record.host_id}" + (f" ({evidence.asset})" if evidence.asset else "")
    sender = f" from {evidence.sender}" if evidence.sender else ""
    return (
        f"Captured by {who}{sender} at {clock.text(record.captured)} under policy version {record.policy_version}, "
        f"as object {record.object_id}."
    )


def _open_points(evidence: Evidence, checks: list[Check]) -> str:
    points = ["that the host's clock was right"]
    if evidence.captured is None:
        points.append("which device sent it (the host's log is not in the statement)")
    else:
        points.append("that the AE title is the device's own (it is what the device called itself)")
    if evidence.conflicts:
        others = ", ".join(evidence.conflicts)
        points.append(f"that it is the true one: other data sets were captured under its SOP Instance UID ({others})")
    points += [
        f"{check.name} ({check.detail})" for check in checks if check.name.endswith("whole log") and not check.holds
    ]
    return f"Not proven: {'; '.join(points)}."
