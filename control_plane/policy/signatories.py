"""Reads from the published policy metadata who signs for a layer, and may therefore command its hosts."""

from tuf.api.metadata import Root, Targets

from control_plane.policy.evidence import evidence_key
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.roles import is_named, name_of, parse_role
from shared.envelope import Signatories
from shared.errors import Refused
from shared.identity import KeyId
from shared.policy.document import ORGANISATION


class NobodySigns(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(f"no policy of layer {layer} is published yet, so its hosts know nobody who may command them")
        self.layer = layer


def signatories(policy: PolicyPublisher, layer: str = ORGANISATION) -> Signatories:
    """Raises NobodySigns, Malformed."""
    head = policy.head()
    delegations = None if head is None else parse_role(Targets, head.targets).signed.delegations
    role = None if delegations is None else (delegations.roles or {}).get(layer)
    if head is None or delegations is None or role is None:
        raise NobodySigns(layer)
    keys = tuple(evidence_key(delegations.keys[key_id]) for key_id in role.keyids)
    return Signatories(keys, role.threshold, _names(parse_role(Root, head.roots[-1]).signed))


def _names(root: Root) -> dict[KeyId, str]:
    return {evidence_key(key).key_id: name_of(key) for key in root.keys.values() if is_named(key)}
