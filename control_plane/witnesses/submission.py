"""What a witness makes of a checkpoint that it is sent, in the order of C2SP tlog-witness 1.1.0 (add-checkpoint).

docs/formats/log-checkpoint.md section 7
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.audit.tlog.add_checkpoint import AddCheckpoint
from shared.audit.tlog.checkpoint import EmptyRootWrong, TreeHead, claimed_head, verify_checkpoint
from shared.audit.tlog.keys import NoteKey, NoteSigner
from shared.audit.tlog.note import Note, NoteUnverified, sign_note
from shared.audit.tlog.proofs import ProofWrong, verify_consistency
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
class Submission:
    """A checkpoint that its log signed. It is judged against what was cosigned last, and then cosigned."""

    request: AddCheckpoint
    head: TreeHead

    @classmethod
    def parse(cls, sent: bytes, logs: Mapping[str, NoteKey]) -> "Submission":
        """Read what was sent; `logs` has the keys of those that are witnessed by their names, which are the origins.

        Raises Malformed, LogUnknown, LogNotSigned, NotConsistent.
        """
        request = AddCheckpoint.parse(sent)
        key = logs.get(claimed_head(request.checkpoint).origin)
        if key is None:
            raise LogUnknown
        try:
            head = verify_checkpoint(request.checkpoint, [key])
        except NoteUnverified as exc:
            raise LogNotSigned from exc
        except EmptyRootWrong as exc:
            raise NotConsistent(exc.why) from exc
        if request.old > head.size:
            raise Malformed("add-checkpoint", f"the old size {request.old} is above the size {head.size}")
        return cls(request, head)

    def verify_goes_on(self, held: TreeHead | None) -> None:
        """Raises SizeDiffers, NotConsistent: it does not go on from `held`, which was cosigned last, or None."""
        size = 0 if held is None else held.size
        if self.request.old != size:
            raise SizeDiffers(size)
        if held is None or size == 0:
            if self.request.proof:
                raise NotConsistent("from no entries nothing has to be proved")
            return
        try:
            verify_consistency(size, self.head.size, self.request.proof, held.root, self.head.root)
        except ProofWrong as exc:
            raise NotConsistent(exc.why) from exc

    def cosigned(self, signer: NoteSigner, seconds: int) -> str:
        """Return the line of the answer."""
        note = Note.parse(self.request.checkpoint)
        (line,) = sign_note(note.text, signer, seconds=seconds).signatures
        return line.line()
