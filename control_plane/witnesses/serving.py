"""This centre as a witness of others' logs, by C2SP tlog-witness: it cosigns what goes on from what it cosigned last.

What it cosigned last is read and replaced in one commit, which no other overlaps; only then it signs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import OtherLog
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.enroller import Journal
from shared.audit.checkpoint import tree_subject
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject, readable
from shared.audit.tlog.add_checkpoint import AddCheckpoint
from shared.audit.tlog.checkpoint import TreeHead, claimed_head, verify_checkpoint
from shared.audit.tlog.keys import NoteKey, NoteSigner
from shared.audit.tlog.note import Note, NoteUnverified, sign_note
from shared.audit.tlog.proofs import ProofWrong, verify_consistency
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused


class LogUnknown(Refused):
    def __init__(self) -> None:
        super().__init__("this witness is not told to witness that log")


class LogNotSigned(IntegrityFailure):
    def __init__(self) -> None:
        super().__init__("no key that is known for this log signed the checkpoint")


class SizeDiffers(Refused):
    """`size` is what this witness cosigned last."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the newest checkpoint that was cosigned has {size} entries")
        self.size = size


class NotConsistent(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the checkpoint does not go on from the one that was cosigned: {why}")
        self.why = why


@dataclass(frozen=True)
class _Refused:
    error: IntegrityFailure | Refused


class OthersWitness:
    """Safe for several threads and several processes on one database."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        logs: Sequence[NoteKey],
        signer: Callable[[], NoteSigner],
        clock: Clock,
    ) -> None:
        self._database, self._journal, self._signer, self._clock = database, journal, signer, clock
        self._logs = {key.name: key for key in logs}

    def add(self, sent: bytes) -> str:
        """Return a line with this witness's signature over the checkpoint that was sent.

        Raises Malformed, LogUnknown, LogNotSigned, SizeDiffers, NotConsistent, DatabaseUnavailable.
        """
        request = AddCheckpoint.parse(sent)
        key = self._logs.get(claimed_head(request.checkpoint).origin)
        if key is None:
            raise LogUnknown
        try:
            head = verify_checkpoint(request.checkpoint, [key])
        except NoteUnverified as exc:
            raise LogNotSigned from exc
        if request.old > head.size:
            raise Malformed("add-checkpoint", f"the old size {request.old} is above the size {head.size}")
        refused = in_one_commit(self._database, lambda session: self._advance(session, request, head))
        if refused is not None:
            raise refused.error
        note = Note.parse(request.checkpoint)
        (line,) = sign_note(note.text, self._signer(), seconds=int(self._clock.now().timestamp())).signatures
        return line.line()

    def _advance(self, session: Session, request: AddCheckpoint, head: TreeHead) -> _Refused | None:
        row = session.get(OtherLog, head.origin)
        size = 0 if row is None else row.size
        if request.old != size:
            return _Refused(SizeDiffers(size))
        if row is not None:
            try:
                _verify_goes_on(row, request, head)
            except ProofWrong as exc:
                self._journal.append(session, _refusal(row, head, exc))
                same_size = row.size == head.size
                return _Refused(SizeDiffers(row.size) if same_size else NotConsistent(exc.why))
        elif request.proof:
            return _Refused(NotConsistent("from no entries nothing has to be proved"))
        session.merge(
            OtherLog(origin=head.origin, size=head.size, root=head.root, note=request.checkpoint,
                     cosigned=self._clock.now())
        )  # fmt: skip
        return None


def _verify_goes_on(row: OtherLog, request: AddCheckpoint, head: TreeHead) -> None:
    """Raises ProofWrong."""
    if row.size == 0:
        if request.proof:
            raise ProofWrong("consistency", "from no entries nothing has to be proved")
        return
    verify_consistency(row.size, head.size, request.proof, row.root, head.root)


def _refusal(row: OtherLog, head: TreeHead, why: ProofWrong) -> Happening:
    who = Participant("service", readable(head.origin, 200), True)
    what = (tree_subject(row.size), Subject("digest", row.root.hex()), tree_subject(head.size),
            Subject("digest", head.root.hex()))  # fmt: skip
    return Happening(Event.OTHER_LOG_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, (who,), what, str(why))
