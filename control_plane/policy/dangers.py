"""What of a change to a published policy may do harm, which a second person has to look at before it is published."""

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.differences import differences
from control_plane.policy.file.part_differences import differences_beside
from control_plane.policy.together import parse_document
from control_plane.policy.verify import Held
from shared.devices.printable import printable
from shared.policy.bundle import LayerBundle
from shared.policy.document import PolicyDocument
from shared.policy.part import PartDocument


def dangers(offered: LayerBundle, held: Held) -> tuple[str, ...]:
    """Return each danger of what `offered` would change on hosts, with its field: a line each, whatever policies hold.

    The first policy of the organisation changes nothing that was there; the first of a part changes what its hosts have
    by the organisation's alone, and is judged so. Raises Malformed.
    """
    after, in_force = parse_document(offered.layer, offered.policy), held.in_force(offered.layer)
    before = parse_document(offered.layer, in_force) if in_force else None
    if isinstance(after, PolicyDocument):
        if not isinstance(before, PolicyDocument):
            return ()
        changes = differences(AuthoredPolicy.of(before), AuthoredPolicy.of(after))
    else:
        others = [document for document in held.on_hosts() if document.layer != offered.layer]
        changes = differences_beside(
            [document for document in others if isinstance(document, PolicyDocument)],
            before if isinstance(before, PartDocument) else None,
            after,
            [document for document in others if isinstance(document, PartDocument)],
        )
    found = (f"{change.field}: {change.danger}" for change in changes if change.danger)
    return tuple(dict.fromkeys(printable(line, len(line)) for line in found))
