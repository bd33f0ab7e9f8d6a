"""Who cosigned a checkpoint, and whether that is as many as whoever verifies asks for (C2SP tlog-cosignature)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from provisioning.verify.checks import Check, judged
from shared import clock as clocks
from shared.audit.tlog.checkpoint import TreeHead
from shared.audit.tlog.keys import KeyType, NoteKey, cosigned_at
from shared.audit.tlog.note import Note, NoteUnverified
from shared.errors import Malformed

_LAST_SECOND = 253_402_300_799  # of the year 9999


@dataclass(frozen=True)
class Quorum:
    """`at_least` of `witnesses` have to have cosigned."""

    witnesses: tuple[NoteKey, ...]
    at_least: int

    @classmethod
    def parse(cls, vkeys: Sequence[str], at_least: int | None) -> "Quorum | None":
        """Return what a command asks for, None where it names no witness. Raises Malformed."""
        witnesses = tuple(NoteKey.parse(vkey) for vkey in vkeys)
        if not witnesses and at_least is None:
            return None
        if any(key.type is not KeyType.COSIGNATURE for key in witnesses):
            raise Malformed("witness", "its key is not one of cosignatures (type 4)")
        # What is signed does not name who signs: one key under two names is one witness.
        if len({key.public for key in witnesses}) != len(witnesses):
            raise Malformed("witness", "the same key is given twice")
        wanted = len(witnesses) if at_least is None else at_least
        if not 1 <= wanted <= len(witnesses):
            raise Malformed("command", f"--at-least {wanted} of {len(witnesses)} witnesses asks for what cannot be")
        return cls(witnesses, wanted)


def judge_quorum(quorum: Quorum, notes: Sequence[tuple[str, TreeHead]]) -> Check:
    """Judge whether as many as asked for cosigned one of `notes`, which are checkpoints that were proved otherwise."""
    best, said = (-1, -1), "no checkpoint that could be cosigned"
    for note, head in notes:
        try:
            signed = _cosigned(note, quorum.witnesses)
        except NoteUnverified as exc:
            return judged("witnesses", False, exc.why)
        if (len(signed), head.size) > best:
            best = len(signed), head.size
            who = "; ".join(f"{name} at {_time(at)}" for name, at in sorted(signed.items())) or "nobody"
            of = f"{best[0]} of {len(quorum.witnesses)}"
            said = f"{of} cosigned {head.size} entries, asked for {quorum.at_least}: {who}"
    return judged("witnesses", best[0] >= quorum.at_least, said)


def _cosigned(note: str, witnesses: Sequence[NoteKey]) -> dict[str, int]:
    """Return which witnesses cosigned a checkpoint, and when each says it did. Raises NoteUnverified: one is forged."""
    parsed = Note.parse(note)
    known = {(key.name, key.key_id) for key in witnesses}
    if not any((one.name, one.key_id) in known for one in parsed.signatures):
        return {}
    return {key.name: cosigned_at(one.signature) for key, one in parsed.verify(witnesses)}


def _time(seconds: int) -> str:
    return clocks.text(datetime.fromtimestamp(seconds, UTC)) if seconds <= _LAST_SECOND else f"second {seconds}"
