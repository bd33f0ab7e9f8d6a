"""Reads from the published policy metadata who signs for a layer, and may therefore command its hosts."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tuf.api.metadata import Targets

from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.roles import parse_role
from shared.errors import Refused
from shared.fleet.command import Signatories
from shared.policy.document import ORGANISATION
from shared.signing import EvidencePublicKey


class NobodySigns(Refused):
    def __init__(self, layer: str) -> None:
        super().__init__(f"no policy of layer {layer} is published yet, so its hosts know nobody who may command them")
        self.layer = layer


def signatories(policy: PolicyPublisher, layer: str = ORGANISATION) -> Signatories:
    """Raises NobodySigns, and what reading the published metadata raises."""
    head = policy.head()
    delegations = None if head is None else parse_role(Targets, head.targets).signed.delegations
    role = None if delegations is None else (delegations.roles or {}).get(layer)
    if delegations is None or role is None:
        raise NobodySigns(layer)
    keys = [
        serialization.load_pem_public_key(str(delegations.keys[key_id].keyval["public"]).encode())
        for key_id in role.keyids
    ]
    evidence = [
        EvidencePublicKey(key)
        for key in keys
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ]
    return Signatories(tuple(evidence), role.threshold)
