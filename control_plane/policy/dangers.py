"""What of a change to a published policy may do harm, which a second person has to look at before it is published."""

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.differences import differences
from control_plane.policy.file.part_differences import part_differences
from control_plane.policy.together import parse_document
from control_plane.policy.verify import Held
from shared.policy.bundle import LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.policy.part import PartDocument


def dangers(offered: LayerBundle, held: Held) -> tuple[str, ...]:
    """Return each danger of what `offered` would change on hosts, with its field.

    The first policy of the organisation changes nothing that was there; the first of a part changes what its hosts have
    by the organisation's alone, and is judged so. Raises Malformed.
    """
    after = parse_document(offered.layer, offered.policy)
    in_force = {layer.layer: parse_document(layer.layer, held.in_force(layer.layer)) for layer in held.layers}
    before, organisation = in_force.pop(offered.layer, None), in_force.get(ORGANISATION)
    if isinstance(after, PolicyDocument):
        if not isinstance(before, PolicyDocument):
            return ()
        changes = differences(AuthoredPolicy.of(before), AuthoredPolicy.of(after))
    elif isinstance(organisation, PolicyDocument):
        others = [part for part in in_force.values() if isinstance(part, PartDocument)]
        changes = part_differences(organisation, before if isinstance(before, PartDocument) else None, after, others)
    else:
        return ()
    return tuple(f"{change.field}: {change.danger}" for change in changes if change.danger)
