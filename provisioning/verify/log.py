"""Judges the centre's Merkle log from files alone: a proof of one record, or all of it (docs/formats/audit-log.md).

The one thing to trust is the authority's certificate, or the log's key itself as a C2SP vkey.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioning.verify.checks import Check, State, failures, judged, not_evaluated
from provisioning.verify.witnesses import Quorum, judge_quorum
from shared.audit.record import MAX_PUBLIC_BYTES, leaf_hash
from shared.audit.tlog.checkpoint import TreeHead, verify_checkpoint
from shared.audit.tlog.keys import NoteKey
from shared.audit.tlog.log_key import offered_key
from shared.audit.tlog.note import MAX_BYTES as MAX_NOTE_BYTES
from shared.audit.tlog.proof_text import MAX_CHARS, ProofText, verify_inclusion
from shared.audit.tlog.tiles import WIDTH, Tile, parse_bundle
from shared.audit.tlog.walk import Walked, walk
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Malformed

_MAX_TILE_BYTES = WIDTH * (2 + 65_535)
_MAX_OFFER_BYTES = 64 << 10


@dataclass(frozen=True)
class LogReport:
    checks: tuple[Check, ...]
    conclusion: str

    @property
    def ok(self) -> bool:
        return all(check.holds for check in self.checks)


Trusted = Trust | NoteKey


def judge_proof(proof: str, public: bytes | None, trusted: Trusted, quorum: Quorum | None = None) -> LogReport:
    """Judge a tlog-proof of the record whose public part is given. Raises Malformed: it is no proof."""
    parsed = ProofText.parse(proof)
    key, checks = _key(trusted, lambda: parsed.extra)
    head, found = _head(parsed.checkpoint, key)
    checks += [found]
    if public is None:
        checks.append(not_evaluated("inclusion", "no record was given (--record)"))
    elif key is None or head is None:
        checks.append(not_evaluated("inclusion", "the checkpoint above it does not hold"))
    else:
        checks.append(_attempted("inclusion", lambda: _included(proof, public, key)))
    if quorum is not None:
        checks.append(judge_quorum(quorum, [] if head is None else [(parsed.checkpoint, head)]))
    done = f"this record is in the log {head.origin}, under a checkpoint of {head.size} entries" if head else ""
    return _report(checks, f"{done}. Whether others are shown the same log, a checkpoint that they kept says")


def judge_folder(folder: Path, trusted: Trusted, kept: Sequence[str], quorum: Quorum | None = None) -> LogReport:
    """Judge a log as C2SP tlog-tiles lays it out, in constant memory, and that it goes on from `kept` checkpoints.

    With a `quorum`, one of these or the log's own has to be cosigned by it.
    """
    key, checks = _key(trusted, lambda: _read(folder / "log-key.json", _MAX_OFFER_BYTES))
    newest = _read(folder / "checkpoint", MAX_NOTE_BYTES).decode(errors="replace")
    head, found = _head(newest, key)
    checks.append(found)
    older = [_head(note, key) for note in kept]
    if head is None or key is None:
        return _report([*checks, not_evaluated("entries", "the checkpoint above them does not hold")], "")
    sizes = [one.size for one, _ in older if one is not None]
    try:
        walked = walk(_leaves(folder, head.size), sizes, lambda *at: _hashes(folder, head.size, *at))
    except Malformed as exc:
        return _report([*checks, judged("entries", False, str(exc))], "")
    checks += _judged_walk(walked, head)
    proved = [(newest, head)]
    for note, (one, why) in zip(kept, older, strict=True):
        judged_kept = _judged_kept(one, why, walked, head)
        checks.append(judged_kept)
        if one is not None and judged_kept.holds:
            proved.append((note, one))
    if quorum is not None:
        checks.append(judge_quorum(quorum, proved))
    return _report(checks, f"the log {head.origin} has {head.size} entries, and these are they")


def _key(trusted: Trusted, offer: Callable[[], bytes]) -> tuple[NoteKey | None, list[Check]]:
    if isinstance(trusted, NoteKey):
        return trusted, [judged("log key", True, f"{trusted.name}, as it was given")]
    try:
        key = offered_key(offer(), trusted)
    except (Malformed, IntegrityFailure) as exc:
        return None, [judged("log key", False, str(exc))]
    return key, [judged("log key", True, f"{key.name}, vouched for by a certificate of the authority")]


def _head(note: str, key: NoteKey | None) -> tuple[TreeHead | None, Check]:
    if key is None:
        return None, not_evaluated("checkpoint", "no key to judge it by")
    try:
        head = verify_checkpoint(note, [key])
    except (Malformed, IntegrityFailure) as exc:
        return None, judged("checkpoint", False, str(exc))
    return head, judged("checkpoint", True, f"signed: {head.size} entries, root {head.root.hex()}")


def _included(proof: str, public: bytes, key: NoteKey) -> str:
    return f"entry {verify_inclusion(proof, leaf_hash(public), [key]).index}, by the record's own bytes"


def _attempted(name: str, judge: Callable[[], str]) -> Check:
    try:
        return Check(name, State.PASSED, judge())
    except (Malformed, IntegrityFailure) as exc:
        return Check(name, State.FAILED, str(exc))


def _judged_walk(walked: Walked, head: TreeHead) -> list[Check]:
    holds = (walked.size, walked.root) == (head.size, head.root)
    where = "" if walked.other_leaf is None else f"; entry {walked.other_leaf} is not what its tile says"
    said = f"{walked.size} recomputed from their bytes" if holds else f"their root is {walked.root.hex()}{where}"
    tiles = walked.other_tile
    return [
        judged("entries", holds, said),
        judged("tiles", tiles is None, "those of the entries" if tiles is None else f"{tiles.path()} is another"),
    ]


def _judged_kept(kept: TreeHead | None, found: Check, walked: Walked, head: TreeHead) -> Check:
    if kept is None:
        return Check("kept checkpoint", found.state, found.detail)
    if kept.size > head.size:
        return judged("kept checkpoint", False, f"the log had {kept.size} entries then: it was cut off")
    same = walked.roots.get(kept.size) == kept.root
    return judged(
        "kept checkpoint",
        same,
        f"of {kept.size} entries" + ("" if same else ": this log is another, there are two views"),
    )


def _report(checks: Sequence[Check], done: str) -> LogReport:
    if failed := failures(checks):
        return LogReport(tuple(checks), f"NOT PROVEN: {failed[0].name} does not hold")
    unjudged = [check.name for check in checks if check.state is State.NOT_EVALUATED]
    return LogReport(
        tuple(checks), f"not proven: {', '.join(unjudged)} not evaluated" if unjudged else f"Proven: {done}."
    )


def _leaves(folder: Path, size: int) -> Iterator[bytes]:
    for number in range(-(-size // WIDTH)):
        tile = Tile(None, number, min(WIDTH, size - number * WIDTH))
        entries = parse_bundle(_read(folder / tile.path(), _MAX_TILE_BYTES))
        if len(entries) != tile.width or any(len(entry) > MAX_PUBLIC_BYTES for entry in entries):
            raise Malformed("entry bundle", f"{tile.path()} has {len(entries)} entries, or one that is no record")
        yield from map(leaf_hash, entries)


def _hashes(folder: Path, size: int, level: int, number: int) -> bytes:
    width = min(WIDTH, (size >> (8 * level)) - number * WIDTH)
    return _read(folder / Tile(level, number, width).path(), WIDTH * 32)


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError as exc:
        raise Malformed("log folder", f"{path} is missing") from exc
    if len(data) > most:
        raise Malformed("log folder", f"{path} is larger than {most} bytes")
    return data


def read_proof(path: Path) -> str:
    """Raises Malformed."""
    return _read(path, MAX_CHARS).decode(errors="replace")
