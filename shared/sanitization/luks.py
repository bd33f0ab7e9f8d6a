"""What erasing LUKS headers comes to: as much as is known of every other copy of header and keys, and never more.

Whoever has a header of before, or the volume key, opens the volume again. So without a person's word that there is no
copy, and that nothing was stored before it was encrypted, nothing is proved. A magnetic drive writes the header where
it was, and then no laboratory has it. Flash writes it elsewhere, and a bridge or a virtual drive may: old pages of it
may survive, with key slots that the passphrase opens.

docs/adr/0035-which-drive-may-be-wiped.md, docs/formats/wipe-drive.md section 3
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from shared.sanitization.medium import MAGNETIC, Medium, MediumKind
from shared.sanitization.report import Step, StepOutcome
from shared.sanitization.technique import SanitizationClass, Technique

# Facts of a step of Technique.LUKS_ERASE
HEADERS, HEADERS_GONE, ALL_INSIDE, COPIES, NAMED_COPIES, FROM_START = (
    "luks_headers", "luks_headers_gone", "luks_all_inside", "luks_copies", "luks_copies_named", "luks_from_start",
)  # fmt: skip


class HeaderCopies(StrEnum):
    """What a person says of copies of the header, of the volume key, and of volumes that have the same one."""

    NONE_ATTESTED = "none-attested"
    KNOWN = "known"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class LuksErased:
    """`not_reached` says what of the drive's data this erase does not answer for; all of it where `reached` is NONE."""

    reached: SanitizationClass
    not_reached: tuple[str, ...]


def erased(medium: Medium, step: Step) -> LuksErased:
    """Return what a step of Technique.LUKS_ERASE comes to on this drive; any other step comes to nothing here."""
    if missing := tuple(_missing(step)):
        return LuksErased(SanitizationClass.NONE, missing)
    if medium.kind in MAGNETIC and medium.rotational:
        return LuksErased(SanitizationClass.PURGE, ())
    if medium.kind is MediumKind.VIRTUAL:
        return LuksErased(SanitizationClass.CLEAR, ("copies of the header below a virtual drive, such as snapshots",))
    return LuksErased(SanitizationClass.CLEAR, ("old pages of the header in flash or behind a bridge",))


def _missing(step: Step) -> Iterator[str]:
    facts = step.facts
    headers = facts.get(HEADERS)
    is_done = step.technique is Technique.LUKS_ERASE and step.outcome is StepOutcome.DONE and step.completed
    if not is_done or not headers or headers != facts.get(HEADERS_GONE):
        yield "key slots: that the headers are gone was not proved"
    if not step.bytes_total or step.bytes_written != step.bytes_total or step.unwritable.sectors:
        yield "header areas that were not overwritten whole"
    if facts.get(ALL_INSIDE) is not True:
        yield "data that no LUKS header of this drive encrypts"
    if facts.get(COPIES) == HeaderCopies.KNOWN.value:
        yield f"known copies of header or key: {facts.get(NAMED_COPIES) or 'not named'}"
    elif facts.get(COPIES) != HeaderCopies.NONE_ATTESTED.value:
        yield "copies of header or key: nobody says that there are none"
    if facts.get(FROM_START) is not True:
        yield "what was stored before it was encrypted: nobody says that nothing was"
