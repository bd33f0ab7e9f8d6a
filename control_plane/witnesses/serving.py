"""This centre as a witness of others' logs, by C2SP tlog-witness: it cosigns what goes on from what it cosigned last.

What it cosigned last is read and replaced in one commit, which no other overlaps; only then it signs.
"""

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import OtherLog
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.enroller import Journal
from control_plane.witnesses.submission import NotConsistent, SizeDiffers, Submission
from shared.audit.checkpoint import tree_subject
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import readable
from shared.audit.tlog.checkpoint import TreeHead
from shared.audit.tlog.keys import NoteKey, NoteSigner
from shared.clock import Clock


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
        submission = Submission.parse(sent, self._logs)
        refused = in_one_commit(self._database, lambda session: self._advance(session, submission))
        if refused is not None:
            raise refused
        return submission.cosigned(self._signer(), int(self._clock.now().timestamp()))

    def _advance(self, session: Session, submission: Submission) -> SizeDiffers | NotConsistent | None:
        """Return why not, rather than raise it, so that the record of it is committed."""
        head = submission.head
        row = session.get(OtherLog, head.origin)
        held = None if row is None else TreeHead(row.origin, row.size, row.root)
        try:
            submission.verify_goes_on(held)
        except SizeDiffers as exc:
            return exc
        except NotConsistent as exc:
            if held is not None:
                self._journal.append(session, _refusal(held, head, exc))
            return exc
        note, now = submission.request.checkpoint, self._clock.now()
        session.merge(OtherLog(origin=head.origin, size=head.size, root=head.root, note=note, cosigned=now))
        return None


def _refusal(held: TreeHead, head: TreeHead, why: NotConsistent) -> Happening:
    who = Participant("service", readable(head.origin, 200), True)
    what = (tree_subject(held.size), Subject("digest", held.root.hex()), tree_subject(head.size),
            Subject("digest", head.root.hex()))  # fmt: skip
    return Happening(Event.OTHER_LOG_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, (who,), what, str(why))
