"""Holds the Merkle log against heads that somebody saw of it, within a session of the caller's.

Which heads are ours is for the caller to have verified. What is read of the log is its tiles: they are what consistency
proofs are made of, and `audit verify` holds them against the records.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.checkpoints import rows as numbers
from control_plane.checkpoints.judge import Kind
from control_plane.db.models import TreeLoss
from control_plane.tlog import rows
from shared import clock as clocks
from shared.audit.checkpoint import Checkpoint, tree_subject
from shared.audit.events import Subject
from shared.audit.tlog.checkpoint import TreeHead
from shared.audit.tlog.proofs import make_consistency, root_of
from shared.audit.tlog.tiles import nodes_of
from shared.audit.tlog.tree import EMPTY_ROOT
from shared.errors import Malformed
from shared.signing import EvidencePublicKey


@dataclass(frozen=True)
class TreeFinding:
    """`now` is how many entries the log has."""

    kind: Kind
    seen: TreeHead
    now: int


def judge_head(session: Session, seen: TreeHead, at: Checkpoint) -> TreeFinding | None:
    """Return what is wrong with the log to whoever saw `seen` of it, with the centre's own at `at`, else None.

    Whoever was there before the end of a loss that was found saw the part that is lost, and says nothing new, unless
    they saw it after a person had accepted that.
    """
    size, _, _ = rows.head(session)
    if root_at(session, seen.size) == seen.root:
        return None
    for known in losses(session):
        if known.size >= seen.size and (known.accepted_seq is None or at.seq < known.accepted_seq):
            return None
    return TreeFinding(Kind.SHRANK if seen.size > size else Kind.FORKED, seen, size)


def root_at(session: Session, size: int) -> bytes | None:
    """Return the root of the first `size` entries, None where there are not as many, or their tiles are not whole."""
    if size == 0:
        return EMPTY_ROOT
    now, _, _ = rows.head(session)
    try:
        return root_of(size, nodes_of(rows.reader(session))) if size <= now else None
    except Malformed:
        return None


def consistency(session: Session, seen: TreeHead, to: TreeHead) -> tuple[bytes, ...] | None:
    """Return the proof that leads from one head to another, None where none does."""
    if seen.size > to.size or root_at(session, seen.size) != seen.root:
        return None
    if seen.size in (0, to.size):
        return ()
    return tuple(make_consistency(seen.size, to.size, nodes_of(rows.reader(session))))


def losses(session: Session) -> Sequence[TreeLoss]:
    return session.scalars(select(TreeLoss).order_by(TreeLoss.size, TreeLoss.root)).all()


def accepted_by(session: Session, loss: TreeLoss, own: EvidencePublicKey) -> str | None:
    """Return who accepted a loss, None where it is open, as of what is lost of our own numbers."""
    return loss.accepted_by if numbers.is_signed(numbers.accepted_tree_loss(session, loss.size), own) else None


def open_losses(session: Session, own: EvidencePublicKey) -> list[TreeLoss]:
    return [loss for loss in losses(session) if accepted_by(session, loss, own) is None]


def subjects(head: TreeHead) -> tuple[Subject, ...]:
    return tree_subject(head.size), Subject("digest", head.root.hex())


def words(loss: TreeLoss) -> str:
    found = clocks.text(loss.found)
    what = f"had {loss.now}" if loss.kind == Kind.SHRANK else f"had {loss.now} that do not begin with those"
    return (
        f"{loss.seen_by} saw {loss.size} entries of the Merkle log, root {loss.root.hex()}, and at {found} it {what}; "
        "records of hosts among them may be lost too"
    )
