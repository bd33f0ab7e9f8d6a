"""Whether a medium is encrypted, for rules that are `only-encrypted`.

    allowed        the whole disk, or every partition of it, is LUKS2 that encrypts all it holds;
                   or policy lists the device as one that encrypts in hardware: asserted by list, not measured
    refused        anything else that could be read, each by its own name
    not evaluated  what could not be read. Nobody may take it for encrypted

That a header is there does not prove that what follows is encrypted by it: a file system in clear within its data is
looked for, and the rest of the data is not. docs/formats/storage-judgement.md
"""

from dataclasses import dataclass
from enum import StrEnum

from edge_agent.media.head import Head, Kind
from edge_agent.media.survey import Survey

MAX_REASON_CHARS, MAX_EVIDENCE = 300, 16


class StorageVerdict(StrEnum):
    ALLOWED = "allowed"
    REFUSED = "refused"
    NOT_EVALUATED = "not evaluated"


class StorageState(StrEnum):
    LUKS2 = "luks2"
    ASSERTED = "asserted by list, not measured"
    LUKS1 = "luks1"
    LUKS2_DAMAGED = "luks2, no header whole"
    LUKS2_WEAK = "luks2, not all encrypted"
    BITLOCKER = "bitlocker"
    BITLOCKER_TO_GO = "bitlocker to go"
    HIGH_ENTROPY = "unknown, high entropy"
    IN_CLEAR = "in clear"
    EMPTY = "empty"
    UNKNOWN = "unknown"
    PARTLY = "not every partition is encrypted"
    OUTSIDE = "data outside of the partitions"
    CONTRADICTORY = "can be read in two ways"
    NOT_EVALUATED = "not evaluated"


_ALLOWED = {StorageState.LUKS2, StorageState.ASSERTED}
_NAMED = {
    Kind.LUKS1: StorageState.LUKS1,
    Kind.BITLOCKER: StorageState.BITLOCKER,
    Kind.BITLOCKER_TO_GO: StorageState.BITLOCKER_TO_GO,
    Kind.HIGH_ENTROPY: StorageState.HIGH_ENTROPY,
    Kind.EMPTY: StorageState.EMPTY,
    Kind.UNKNOWN: StorageState.UNKNOWN,
}


@dataclass(frozen=True)
class StorageJudgement:
    """`reason` is one printable line; `evidence` says what was found at which offset of what."""

    state: StorageState
    reason: str
    evidence: tuple[str, ...] = ()

    @property
    def verdict(self) -> StorageVerdict:
        if self.state is StorageState.NOT_EVALUATED:
            return StorageVerdict.NOT_EVALUATED
        return StorageVerdict.ALLOWED if self.state in _ALLOWED else StorageVerdict.REFUSED


def unreadable(why: str) -> StorageJudgement:
    return StorageJudgement(StorageState.NOT_EVALUATED, f"could not be read: {why}"[:MAX_REASON_CHARS])


def judge(looked_at: Survey, *, asserted: bool = False) -> StorageJudgement:
    """Judge a disk; `asserted`: policy lists its device as one that encrypts in hardware."""
    evidence = _evidence(looked_at)
    if asserted:
        reason = "policy lists this device as one that encrypts in hardware; asserted by list, not measured"
        return StorageJudgement(StorageState.ASSERTED, reason, evidence)
    state, reason = _judged(looked_at)
    return StorageJudgement(state, reason[:MAX_REASON_CHARS], evidence)


def _judged(looked_at: Survey) -> tuple[StorageState, str]:
    if not looked_at.size_bytes:
        return StorageState.NOT_EVALUATED, "there is no medium in it"
    if looked_at.problems:
        return StorageState.CONTRADICTORY, looked_at.problems[0]
    kinds = looked_at.head.kinds
    if kinds == {Kind.MBR} or kinds == {Kind.GPT}:
        return _of_partitions(looked_at)
    return _of_volume(looked_at.head, "the whole disk")


def _of_partitions(looked_at: Survey) -> tuple[StorageState, str]:
    if not looked_at.volumes:
        return StorageState.EMPTY, "there is a partition table, and no partition in it"
    judged = [(v, *_of_volume(v.head, f"partition {v.number}")) for v in looked_at.volumes]
    states = {state for _, state, _ in judged}
    if states == {StorageState.LUKS2}:
        if looked_at.outside:
            return StorageState.OUTSIDE, f"something lies at {looked_at.outside[0]}, in no partition"
        return StorageState.LUKS2, f"each of {len(judged)} partitions is LUKS2"
    first = next(reason for _, state, reason in judged if state is not StorageState.LUKS2)
    return (states.pop() if len(states) == 1 else StorageState.PARTLY), first


def _of_volume(head: Head, what: str) -> tuple[StorageState, str]:
    kinds = head.kinds
    if Kind.LUKS2 in kinds and head.luks2 is not None and kinds == {Kind.LUKS2}:
        return _of_luks2(head, what)
    if kinds & {Kind.LUKS1, Kind.LUKS2} and len(kinds) > 1:
        named = " and ".join(sorted(kinds))
        return StorageState.CONTRADICTORY, f"{what} is {named} at once"
    for kind, state in _NAMED.items():
        if kind in kinds:
            return state, f"{what} is {kind.value}, not LUKS2"
    return StorageState.IN_CLEAR, f"{what} holds {' and '.join(sorted(kinds))} in clear"


def _of_luks2(head: Head, what: str) -> tuple[StorageState, str]:
    header = head.luks2
    if header is None or "header" not in header.copies:
        why = header.problems[0] if header and header.problems else "its first header is gone"
        return StorageState.LUKS2_DAMAGED, f"{what} is LUKS2: {why}"
    if header.weak:
        return StorageState.LUKS2_WEAK, f"{what} is LUKS2 and does not encrypt all: {header.weak[0]}"
    return StorageState.LUKS2, f"{what} is LUKS2, {', '.join(header.ciphers)}, key of {header.key_bits} bit"


def _evidence(looked_at: Survey) -> tuple[str, ...]:
    lines = [f"disk: {found}" for found in looked_at.head.found]
    lines += [f"partition {v.number}: {found}" for v in looked_at.volumes for found in v.head.found]
    lines += [f"outside of partitions: not zero at {at}" for at in looked_at.outside]
    return tuple(lines[: MAX_EVIDENCE - 1]) + (
        (f"and {len(lines) - MAX_EVIDENCE + 1} more",) if len(lines) >= MAX_EVIDENCE else ()
    )
