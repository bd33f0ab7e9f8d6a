"""What of a change to a published policy may do harm, which a second person has to look at before it is published."""

from dataclasses import replace
from typing import TypeAlias

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.differences import differences
from shared.policy.document import PolicyDocument
from shared.policy.part import PartDocument

Document: TypeAlias = PolicyDocument | PartDocument

_NOT_COMPARED = "nothing tells what of a part's change may do harm"


def dangers(before: Document | None, after: Document, organisation: PolicyDocument | None) -> tuple[str, ...]:
    """Return each danger with its field, none where nothing was published before.

    A part is judged on top of the organisation's policy that it comes to hosts with.
    """
    if before is None:
        return ()
    if isinstance(before, PartDocument) or isinstance(after, PartDocument):
        return _of_part(before, after, organisation)
    changes = differences(AuthoredPolicy.of(before), AuthoredPolicy.of(after))
    return tuple(f"{change.field}: {change.danger}" for change in changes if change.danger)


def _of_part(before: Document, after: Document, organisation: PolicyDocument | None) -> tuple[str, ...]:
    what = after.layer if organisation is None else f"{after.layer} over version {organisation.version}"
    return () if replace(before, version=after.version) == after else (f"{what}: {_NOT_COMPARED}",)
