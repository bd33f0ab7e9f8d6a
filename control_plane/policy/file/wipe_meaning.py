"""Says in words what a wipe of a host's drive needs, and what of it may not be meant."""

from collections.abc import Iterator

from shared.policy.wipe import LeastClass, ReadBack, WipePolicy

_CLASSES = {
    LeastClass.CLEAR: "Clear of NIST SP 800-88 at least: what was stored cannot be had back by simple means",
    LeastClass.PURGE: "Purge of NIST SP 800-88: what was stored cannot be had back by those of a laboratory either",
}
_AMOUNTS = {ReadBack.SAMPLES: "samples of the drive are", ReadBack.WHOLE: "the whole drive is"}


def describe_wipe(wipe: WipePolicy) -> list[str]:
    """Return lines for a person who is about to sign this."""
    people = "1 person approves" if wipe.approvals == 1 else f"{wipe.approvals} people approve"
    return [
        "what a certified wipe of a host's drive needs",
        f"  {_CLASSES[wipe.least]}",
        f"  {_AMOUNTS[wipe.read_back]} read again afterwards",
        f"  {people}, besides whoever asks for it, and that holds for {wipe.ticket_hours} h",
        "  the host itself and the centre refuse a ticket that is laxer",
    ]


def doubts_of_wipe(wipe: WipePolicy) -> Iterator[str]:
    """Yield what a wipe may do and its author may not mean."""
    if wipe.least is LeastClass.CLEAR:
        yield (
            "wipe.least is clear: a solid-state drive keeps data in places that Clear does not reach; purge is what "
            "a drive needs that leaves the hospital"
        )


def wipe_words(wipe: WipePolicy) -> str:
    return f"{wipe.least}, {wipe.read_back} read again, {approvals_words(wipe)}, for {wipe.ticket_hours} h"


def approvals_words(wipe: WipePolicy) -> str:
    return f"{wipe.approvals} approval" + "s" * (wipe.approvals > 1)
