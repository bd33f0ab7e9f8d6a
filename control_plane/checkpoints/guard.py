"""Holds the centre's log against whatever somebody saw of it, and stops all issuing while it has less.

Two things are seen: how far the numbers of the centre's own records went, so that none is given twice, and how far the
Merkle log went with everybody's.

Those who saw it: a file beside the root key, and every host. What they bring counts if the centre's own keys
signed it, so nobody stops the centre by a lie. What was found is kept until a named person accepts the loss.
"""

import logging
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import rows as log_rows
from control_plane.backup.restored import end_what_opens_again
from control_plane.checkpoints import rows, trees
from control_plane.checkpoints.judge import Finding, Kind, judge
from control_plane.checkpoints.mark import MarkFile, MarkUnusable
from control_plane.checkpoints.trees import TreeFinding
from control_plane.db.models import Fact, LogLoss, TreeLoss
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.tlog import rows as tlog_rows
from shared import clock as clocks
from shared.audit.batch import Statement
from shared.audit.checkpoint import (
    Checkpoint,
    claimed_checkpoint,
    gap_subject,
    loss_subject,
    tree_subject,
    verify_checkpoint,
)
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.tlog.checkpoint import TreeHead
from shared.audit.tlog.checkpoint import verify_checkpoint as verify_head
from shared.audit.tlog.keys import NoteKey
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import CONTROL_PLANE
from shared.signing import EvidencePublicKey, claimed_payload

_LOG = logging.getLogger(__name__)
STOPPED = "issuing-stopped"
"""The fact that a restore leaves in the database that it wrote; it stops issuing as a finding does."""
THE_MARK = "the mark beside the root key"
_WHAT_TO_DO = (
    "no certificate is issued or renewed until, after a look at every host, "
    "`leadglass-server log accept-loss --reason …`"
)


class IssuingStopped(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"no certificate is issued now: {why}")
        self.why = why


class NothingToAccept(Refused):
    def __init__(self) -> None:
        super().__init__("nothing of the centre's log is known to be lost, so there is nothing to accept")


class Journal(Protocol):
    def append(self, session: Session, happening: Happening, /) -> None: ...


@dataclass(frozen=True)
class Accepted:
    """`tree` is how many entries the Merkle log had that is lost, 0 where nothing of it is."""

    first: int
    last: int
    tree: int


@dataclass(frozen=True)
class Marks:
    """What was seen beside the root key: of the centre's own numbers, and of the Merkle log."""

    numbers: MarkFile
    head: MarkFile


class LogGuard:
    """Safe for several threads."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        own: EvidencePublicKey,
        log_key: NoteKey,
        marks: Marks,
        clock: Clock,
    ) -> None:
        self._database, self._journal, self._own, self._log_key = database, journal, own, log_key
        self._mark, self._head_mark, self._clock = marks.numbers, marks.head, clock
        self._one_look = Lock()
        self._at_start, self._fault = "", ""  # what was wrong with the mark then, and is by the last look

    def begin(self) -> None:
        """Hold the log against the mark before this process writes anything to it."""
        was_there = self._looked()
        if not was_there:
            self._at_start = (
                f"{THE_MARK} was missing at this start, so only hosts can say whether this log is the newest"
            )
            _LOG.warning("log.mark-missing", extra={"path": str(self._mark.path)})

    def look(self) -> None:
        """Hold the log against the mark and move the mark up. Never raises: what is wrong is in `gaps`."""
        self._looked()

    def seen(self, who: str, signed: bytes, note: str | None = None) -> None:
        """Take note of a statement of this log, and of a checkpoint of the Merkle log, that `who` had together.

        A checkpoint that is none takes nothing from the statement. Raises Malformed, WrongSigner, SignatureInvalid,
        NotOfThisLog, NoteUnverified: one of them is none; DatabaseUnavailable.
        """
        checkpoint = verify_checkpoint(signed, self._own)
        try:
            head = None if note is None else verify_head(note, [self._log_key])
        except (Malformed, IntegrityFailure):
            self._take(who, signed, checkpoint, None, None)
            raise
        self._take(who, signed, checkpoint, note, head)

    def _take(self, who: str, signed: bytes, checkpoint: Checkpoint, note: str | None, head: TreeHead | None) -> None:
        def judged(session: Session) -> tuple[Finding | None, TreeFinding | None]:
            lost = None if head is None else trees.judge_head(session, head, checkpoint)
            return self._judged(session, checkpoint), lost

        with snapshot(self._database) as session:
            if judged(session) == (None, None):
                return
        in_one_commit(self._database, lambda session: self._keep(session, *judged(session), signed, note, who))

    def verify_may_issue(self, session: Session) -> None:
        """Raises IssuingStopped."""
        for why in self._reasons(session):
            raise IssuingStopped(why)

    def gaps(self) -> list[str]:
        """Say what is not proved of the log, in words a person can act on."""
        with self._database() as session:
            reasons = self._reasons(session)
        faults = [fault for fault in (self._at_start, self._fault) if fault]
        return [f"centre's log: {said}" for said in (*(f"{why}; {_WHAT_TO_DO}" for why in reasons), *faults)]

    def _reasons(self, session: Session) -> list[str]:
        restored = session.get(Fact, STOPPED)
        reasons = [_words(loss) for loss in rows.open_losses(session, self._own)]
        reasons += [trees.words(loss) for loss in trees.open_losses(session, self._own)]
        if restored is not None:
            reasons.append(f"the database was restored ({restored.value}), and what was recorded after that is unknown")
        return reasons

    def accept(self, person: str, reason: str) -> Accepted:
        """Go on without what is lost, in the name of `person`. Raises NothingToAccept, DatabaseUnavailable."""
        accepted = in_one_commit(self._database, lambda session: self._accept(session, person, reason))
        self.look()
        return accepted

    def _accept(self, session: Session, person: str, reason: str) -> Accepted:
        found, lost = rows.open_losses(session, self._own), trees.open_losses(session, self._own)
        restored = session.get(Fact, STOPPED)
        if not found and not lost and restored is None:
            raise NothingToAccept
        head = log_rows.head(session, CONTROL_PLANE)
        first = min((loss.first for loss in found), default=head.seq + 1)
        last = max((loss.seq for loss in found), default=head.seq + 1)
        for loss in found:
            loss.accepted, loss.accepted_by = self._clock.now(), person
            if loss.seq > head.seq:
                # The journal goes on after the highest number that it ever signed, so none is given twice.
                signed = Statement.parse(claimed_payload(loss.statement))
                log_rows.keep_statements(session, CONTROL_PLANE, [(signed.first, signed.last, loss.statement)])
        gap = (gap_subject(head.seq + 1, last),) if found and last > head.seq else ()
        tree = max((loss.size for loss in lost), default=0)
        if restored is not None:
            session.delete(restored)
        end_what_opens_again(session, self._clock.now())
        private: dict[str, Json] = {"reason": reason}
        who = (Participant("person", person, True),)
        seen = [*(loss.leaf for loss in found), *(loss.root for loss in lost)]
        what = (loss_subject(first, last), *gap, *((tree_subject(tree),) if lost else ()),
                *(Subject("digest", digest.hex()) for digest in seen[:60]))  # fmt: skip
        self._journal.append(
            session, Happening(Event.LOG_LOSS_ACCEPTED, Action.EXECUTE, Outcome.SUCCESS, who, what, private=private)
        )
        number = log_rows.head(session, CONTROL_PLANE).seq
        for one in lost:
            one.accepted, one.accepted_by, one.accepted_seq = self._clock.now(), person, number
        return Accepted(first, last, tree)

    def _looked(self) -> bool:
        """Return whether there was a mark."""
        with self._one_look:
            try:
                held, head = self._mark.read(), self._head_mark.read()
                self._fault = ""
                if held is not None:
                    self.seen(THE_MARK, held, None if head is None else head.decode(errors="replace"))
                self._move_up(held, head)
            except MarkUnusable as exc:
                self._fault, held = f"{THE_MARK}: {exc}", b""
                _LOG.warning("log.mark-unusable", extra={"why": str(exc)})
            except (Malformed, IntegrityFailure) as exc:
                self._fault, held = f"{THE_MARK} is not of this log: {exc}; find out who changed it", b""
                _LOG.error("log.mark-altered", extra={"why": str(exc)})
            except Unavailable as exc:
                _LOG.warning("log.look-waits", extra={"why": str(exc)})
                held = b""
            return held is not None

    def _move_up(self, held: bytes | None, held_head: bytes | None) -> None:
        with snapshot(self._database) as session:
            newest, (_, _, checkpoint) = rows.newest_statement(session), tlog_rows.head(session)
            if newest is None or (newest, checkpoint.encode()) == (held, held_head):
                return
            if trees.open_losses(session, self._own):
                return  # lost and not accepted: it stays for whoever puts the database back once more
            if held is not None:
                mark = claimed_checkpoint(held)
                kept = [
                    loss.seq for loss in rows.losses(session) if rows.accepted_by(session, loss, self._own) is not None
                ]
                if judge(mark, log_rows.head(session, CONTROL_PLANE), rows.leaf_at(session, mark.seq), kept):
                    return
        try:
            verify_checkpoint(newest, self._own)
            verify_head(checkpoint, [self._log_key])
        except (Malformed, IntegrityFailure) as exc:
            self._fault = f"its newest statement does not hold: {exc}; `leadglass-server audit verify` says more"
            _LOG.error("log.statement-altered", extra={"why": str(exc)})
            return
        # In this order: numbers that are too high for a head make a loss be looked at, and never passed over.
        self._mark.write(newest)
        self._head_mark.write(checkpoint.encode())

    def _judged(self, session: Session, seen: Checkpoint) -> Finding | None:
        known = [loss.seq for loss in rows.losses(session)]
        return judge(seen, log_rows.head(session, CONTROL_PLANE), rows.leaf_at(session, seen.seq), known)

    def _keep(
        self,
        session: Session,
        finding: Finding | None,
        lost: TreeFinding | None,
        signed: bytes,
        note: str | None,
        who: str,
    ) -> None:
        what, said = list[Subject](), list[str]()
        if finding is not None:
            loss = self._loss(finding, signed, who)
            session.add(loss)
            what += (loss_subject(finding.first, finding.seen.seq), Subject("digest", finding.seen.leaf.hex()))
            said.append(_words(loss))
        if lost is not None and note is not None:
            tree = self._tree_loss(lost, note, who)
            session.add(tree)
            what += trees.subjects(lost.seen)
            said.append(trees.words(tree))
        if not said:
            return
        by = Participant("host", who, True) if who != THE_MARK else Participant("service", CONTROL_PLANE, True)
        self._journal.append(
            session,
            Happening(Event.LOG_LOSS_FOUND, Action.EXECUTE, Outcome.MAJOR_FAILURE, (by,), tuple(what), "; ".join(said)),
        )

    def _loss(self, finding: Finding, signed: bytes, who: str) -> LogLoss:
        return LogLoss(
            seq=finding.seen.seq,
            leaf=finding.seen.leaf,
            statement=signed,
            kind=finding.kind.value,
            first=finding.first,
            seen_by=who,
            found=self._clock.now(),
        )

    def _tree_loss(self, lost: TreeFinding, note: str, who: str) -> TreeLoss:
        return TreeLoss(
            size=lost.seen.size,
            root=lost.seen.root,
            note=note,
            kind=lost.kind.value,
            now=lost.now,
            seen_by=who,
            found=self._clock.now(),
        )


def _words(loss: LogLoss) -> str:
    found = clocks.text(loss.found)
    what = f"ended at {loss.first - 1}" if loss.kind == Kind.SHRANK else "said something else there"
    return (
        f"{loss.seen_by} saw number {loss.seq} of it, and at {found} it {what}; records {loss.first} to {loss.seq} "
        "are lost, and revocations among them are unknown"
    )
