"""Proves the stored Merkle log: leaves from the records as they stand, the root from the leaves, against the signed.

A log that was put back as a whole, with the checkpoint of that day, holds by itself. Whoever kept a later checkpoint
finds it: that one is then of a log that this is not.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, LogTile
from control_plane.tlog import rows
from control_plane.tlog.rows import LogAltered
from shared.audit.tlog.checkpoint import TreeHead, verify_checkpoint
from shared.audit.tlog.keys import NoteKey
from shared.audit.tlog.tiles import tiles_of
from shared.audit.tlog.tree import CompactRange, leaf_hash
from shared.audit.tlog.walk import Walked, walk
from shared.errors import IntegrityFailure, Malformed

_AT_ONCE = 500


@dataclass(frozen=True)
class LogVerdict:
    """`first_bad` is the number of the first entry that does not hold; `why` is empty where all hold."""

    size: int
    first_bad: int | None
    why: str


def verify_log(session: Session, key: NoteKey, kept: Sequence[str] = ()) -> LogVerdict:
    """Prove the log within one snapshot, and that it goes on from each of the checkpoints that somebody `kept`.

    Raises Malformed, NoteUnverified: what was kept is no checkpoint that `key` signed.
    """
    heads = [verify_checkpoint(note, [key]) for note in kept]
    try:
        size, encoded, checkpoint = rows.head(session)
    except LogAltered as exc:
        return LogVerdict(0, None, exc.why)
    if not checkpoint and not size:
        return _against_kept(LogVerdict(0, None, ""), {}, heads)
    try:
        signed = verify_checkpoint(checkpoint, [key])
        root = CompactRange.parse(size, encoded).root()
    except (Malformed, IntegrityFailure) as exc:
        return LogVerdict(size, None, f"its checkpoint or its head does not hold: {exc}")
    entries = _Entries()
    with closing(entries.leaves(session)) as leaves:
        walked = walk(leaves, [head.size for head in heads], lambda *at: rows.tile(session, *at))
    if entries.missing is not None:
        return LogVerdict(size, entries.missing, "it is missing, or another one stands in its place")
    if (walked.size, walked.root) != (signed.size, signed.root):
        return _differs(session, walked, signed)
    for why in _beside(session, walked, size, root):
        return LogVerdict(size, None, why)
    return _against_kept(LogVerdict(size, None, ""), walked.roots, heads)


class _Entries:
    """Reads records by the numbers of their entries, up to the first that is not where it belongs."""

    def __init__(self) -> None:
        self.missing: int | None = None

    def leaves(self, session: Session) -> Generator[bytes, None, None]:
        stored = select(AuditRow.entry, AuditRow.public).where(AuditRow.entry.is_not(None)).order_by(AuditRow.entry)
        expected = 0
        with session.execute(stored.execution_options(yield_per=_AT_ONCE)) as found:
            for entry, public in found:
                if entry != expected:
                    self.missing = expected
                    return
                yield leaf_hash(public)
                expected += 1


def _differs(session: Session, walked: Walked, signed: TreeHead) -> LogVerdict:
    if walked.size < signed.size:
        return LogVerdict(signed.size, walked.size, f"it is missing; the log was signed up to {signed.size}")
    if walked.size > signed.size:
        return LogVerdict(signed.size, signed.size, f"it was never entered; the log was signed up to {signed.size}")
    if walked.other_leaf is None:
        return LogVerdict(signed.size, None, "the records are not those of the signed root, nor are the tiles")
    source, seq = session.execute(
        select(AuditRow.source, AuditRow.seq).where(AuditRow.entry == walked.other_leaf)
    ).one()
    return LogVerdict(signed.size, walked.other_leaf, f"record {seq} of {source} is not the one that was entered")


def _beside(session: Session, walked: Walked, size: int, root: bytes) -> Iterator[str]:
    """Yield what is wrong beside the records, which are those that were signed."""
    if (size, root) != (walked.size, walked.root):
        yield "its head is not the one that was signed; the records are proved"
    if walked.other_tile is not None:
        yield f"{walked.other_tile.path()} is not of the log; the records are proved"
    if session.scalar(select(func.count()).select_from(LogTile)) != sum(1 for _ in tiles_of(walked.size)):
        yield "there are tiles beyond its end; the records are proved"
    never = select(AuditRow.source, AuditRow.seq).where(AuditRow.entry.is_(None)).limit(1)
    for source, seq in session.execute(never):
        yield f"record {seq} of {source} was never entered"


def _against_kept(verdict: LogVerdict, roots: dict[int, bytes], heads: Sequence[TreeHead]) -> LogVerdict:
    for head in heads:
        if head.size > verdict.size:
            why = (
                f"a checkpoint that was kept is of {head.size} entries, and the log has {verdict.size}: it was cut off"
            )
            return LogVerdict(verdict.size, verdict.size, why)
        if roots.get(head.size, head.root) != head.root:
            why = f"a checkpoint that was kept, of {head.size} entries, is of another log: this one shows two views"
            return LogVerdict(verdict.size, None, why)
    return verdict
