"""How far a wipe order has come, by what is proved of it. Decides only.

requested ▸ approved ▸ accepted ▸ running ▸ evidence-received ▸ verified ▸ certified
refused, failed, incomplete, unknown; destroyed, by people's word
cancelled, superseded, expired, host-ended, before any of it was done

*Superseded*: since it was asked for, another order's wipe of this very drive is proved, and of all that this one asks.
*Host ended*: its host was revoked, taken out of service or replaced, so it fetches no ticket; a person may carry one.

What a host proved comes before what people said: an order that was cancelled too late has the state of what was done.
docs/formats/wipe.md
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared import clock
from shared.sanitization.judged import Judged, Result
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.report import Ending


class OrderState(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    ACCEPTED = "accepted"
    RUNNING = "running"
    EVIDENCE_RECEIVED = "evidence-received"
    VERIFIED = "verified"
    CERTIFIED = "certified"
    REFUSED = "refused"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    HOST_ENDED = "host-ended"
    DESTROYED = "destroyed"
    NOT_AUTHENTIC = "not authentic"


# What somebody has to look into.
OPEN_QUESTIONS = frozenset({
    OrderState.FAILED, OrderState.INCOMPLETE, OrderState.UNKNOWN, OrderState.NOT_AUTHENTIC,
})  # fmt: skip
# What a host may still do something about, so that another order for its drive is one too many.
UNDER_WAY = frozenset({
    OrderState.REQUESTED, OrderState.APPROVED, OrderState.HOST_ENDED, OrderState.ACCEPTED, OrderState.RUNNING,
    OrderState.EVIDENCE_RECEIVED,
})  # fmt: skip


@dataclass(frozen=True)
class Reported:
    """A report that was verified. `judged` is None until it was judged."""

    ending: Ending
    ended: datetime
    detail: str
    judged: Judged | None = None


@dataclass(frozen=True)
class Proved:
    """All that is known of an order. `fault` is why something held of it is not what it should be.

    `host_ended` is how its host ended, `wiped_by` the order by which its drive was wiped since; empty: neither.
    """

    expires: datetime
    given: int
    needed: int
    notes: Sequence[WipeNote] = ()
    reported: Reported | None = None
    closed_as: str | None = None
    closed_by: str = ""
    is_destroyed: bool = False
    is_certified: bool = False
    host_ended: str = ""
    wiped_by: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Standing:
    state: OrderState
    detail: str


_OF_ENDING = {
    Ending.REFUSED: OrderState.REFUSED,
    Ending.FAILED: OrderState.FAILED,
    Ending.ABORTED: OrderState.INCOMPLETE,
    Ending.UNKNOWN: OrderState.UNKNOWN,
}
_OF_RESULT = {
    Result.REFUSED: OrderState.REFUSED,
    Result.FAILED: OrderState.FAILED,
    Result.UNKNOWN: OrderState.UNKNOWN,
}
_DID_BEGIN = frozenset({NoteEvent.STARTED, NoteEvent.RESUMED, NoteEvent.ENDED})


def standing_of(proved: Proved, now: datetime) -> Standing:
    if proved.fault:
        return Standing(OrderState.NOT_AUTHENTIC, proved.fault)
    if proved.is_destroyed:
        return Standing(OrderState.CERTIFIED if proved.is_certified else OrderState.DESTROYED, "by people's word")
    reported, notes = proved.reported, proved.notes
    if reported is not None:
        later = [note for note in notes if note.time > reported.ended]
        # Not one byte was written, so the ticket may have been tried again since.
        if reported.ending is not Ending.REFUSED or not later:
            return _of_report(reported, is_certified=proved.is_certified)
        notes = later
    if notes:
        return _of_notes(notes, proved.expires, now)
    return _before_the_host(proved, now)


def _of_report(reported: Reported, *, is_certified: bool) -> Standing:
    judged = reported.judged
    if judged is None:
        return Standing(_OF_ENDING.get(reported.ending, OrderState.EVIDENCE_RECEIVED), reported.detail)
    if judged.may_be_certified:
        return Standing(OrderState.CERTIFIED if is_certified else OrderState.VERIFIED, judged.result)
    detail = "; ".join(part for part in (", ".join(judged.why), reported.detail) if part)
    return Standing(_OF_RESULT.get(judged.result, OrderState.INCOMPLETE), f"{judged.result}: {detail}")


def _of_notes(notes: Sequence[WipeNote], expires: datetime, now: datetime) -> Standing:
    newest = max(notes, key=lambda note: note.seq)
    has_begun = any(note.event in _DID_BEGIN for note in notes)
    # Of a drive that was begun, a later refusal (its ticket is used) does not say that nothing was written.
    if newest.event is NoteEvent.REFUSED and not has_begun:
        return Standing(OrderState.REFUSED, newest.detail)
    if now >= expires:
        what = "it was begun" if has_begun else "the host took the ticket"
        return Standing(
            OrderState.UNKNOWN, f"{what}, the ticket expired at {clock.text(expires)}, and no evidence came"
        )
    return Standing(OrderState.RUNNING if has_begun else OrderState.ACCEPTED, newest.detail)


def _before_the_host(proved: Proved, now: datetime) -> Standing:
    if proved.closed_as is not None:
        return Standing(OrderState(proved.closed_as), f"by {proved.closed_by}")
    approvals = f"{proved.given} of {proved.needed} people have signed"
    if proved.wiped_by:
        return Standing(OrderState.SUPERSEDED, f"its drive was wiped since by order {proved.wiped_by}; order it anew")
    ended = f"; its host is {proved.host_ended}" if proved.host_ended else ""
    if now >= proved.expires:
        return Standing(OrderState.EXPIRED, approvals + ended)
    if proved.host_ended:
        return Standing(OrderState.HOST_ENDED, approvals + ended)
    if proved.given >= proved.needed:
        return Standing(OrderState.APPROVED, approvals)
    return Standing(OrderState.REQUESTED, approvals)
