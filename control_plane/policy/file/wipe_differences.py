"""What another policy says otherwise of wipes; dangerous is what lets a drive be wiped with less, or at all.

Where the section goes no drive is wiped any more. That it comes is dangerous: it could otherwise be taken out, and come
back laxer, without anybody being told.
"""

from collections.abc import Iterator

from control_plane.policy.file.change import Change, of_values
from control_plane.policy.file.wipe_meaning import approvals_words, wipe_words
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy


def wipe_changes(before: WipePolicy | None, after: WipePolicy | None) -> Iterator[Change]:
    if before is not None and after is not None:
        yield from of_values(_values(before, after))
    elif before is not None:
        yield Change("wipe", wipe_words(before), "")
    elif after is not None:
        yield Change("wipe", "", wipe_words(after), "drives may be wiped, and none was before")


def _values(old: WipePolicy, new: WipePolicy) -> Iterator[tuple[str, str, str, str]]:
    classes, amounts = list(LeastClass), list(ReadBack)
    is_laxer = classes.index(new.least) < classes.index(old.least)
    yield (
        "wipe.least", old.least, new.least,
        "a drive counts as wiped of which a laboratory may have data back" if is_laxer else "",
    )  # fmt: skip
    is_less = amounts.index(new.read_back) < amounts.index(old.read_back)
    yield (
        "wipe.read_back", old.read_back, new.read_back,
        "what a wipe left behind may be in a place that is not read again" if is_less else "",
    )  # fmt: skip
    is_easier = new.approvals < old.approvals
    yield (
        "wipe.approvals", approvals_words(old), approvals_words(new),
        "a drive is wiped with fewer people having said so" if is_easier else "",
    )  # fmt: skip
    is_longer = new.ticket_hours > old.ticket_hours
    yield (
        "wipe.ticket_hours", f"{old.ticket_hours} h", f"{new.ticket_hours} h",
        "a drive may be wiped longer after people said so" if is_longer else "",
    )  # fmt: skip
