"""Decides what becomes of each instance that a modality wants committed. Committed is only what the vault holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from edge_agent.commitment.reports import FailureReason
from edge_agent.commitment.requests import Reference

# Modalities ask while their last images are still on the way, or send what was missing when they are told so.
UNKNOWN_AFTER_LAST_CAPTURE = timedelta(hours=1)
UNKNOWN_AT_THE_LATEST = timedelta(hours=24)


class Verdict(Enum):
    COMMITTED = 0
    WAITS = -1
    UNKNOWN = int(FailureReason.NO_SUCH_INSTANCE)
    CONFLICT = int(FailureReason.CLASS_INSTANCE_CONFLICT)


@dataclass(frozen=True)
class Held:
    """One data set that was captured under a SOP Instance UID; `receipted`: the vault answers for it.

    `lost`: neither host nor vault has it any more.
    """

    sop_class_uid: str  # "": the modality did not say
    receipted: bool
    lost: bool = False


def evaluate(reference: Reference, held: Sequence[Held], *, unknown_is_final: bool) -> Verdict:
    """Return what is to be said of one instance.

    Where different data sets came under one UID nobody can know which is meant, so all have to be in the vault. Where
    one was lost, that is as if none had come.
    """
    if not held or any(each.lost for each in held):
        return Verdict.UNKNOWN if unknown_is_final else Verdict.WAITS
    if not any(each.sop_class_uid in ("", reference.sop_class_uid) for each in held):
        return Verdict.CONFLICT
    return Verdict.COMMITTED if all(each.receipted for each in held) else Verdict.WAITS


def is_unknown_final(now: datetime, requested: datetime, last_capture: datetime) -> bool:
    """Return whether what was not captured by now will not be waited for any longer.

    `last_capture` is the newest image of the modality that asks, or when the agent began to look.
    """
    patient_until = max(requested, last_capture) + UNKNOWN_AFTER_LAST_CAPTURE
    return now >= min(patient_until, requested + UNKNOWN_AT_THE_LATEST)
