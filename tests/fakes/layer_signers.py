"""People and an online service that sign several layers under one root, with the centre's own builders of roles."""

from collections.abc import Iterable, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric import ec
from tuf.api.metadata import Metadata, Root

from control_plane.policy.roles import (
    RoleKeys,
    build_layer,
    build_root,
    build_snapshot,
    build_targets,
    build_timestamp,
    key_of,
    sign_role,
    signer_of,
)
from shared.clock import SystemClock
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.rollout import Rings


class LayerSigners:
    """`bundles` are what is current; whoever plays an attacker takes one out or puts an older one back."""

    def __init__(self, layers: Sequence[str]) -> None:
        person, online = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self._person, self._online = [signer_of(person)], [signer_of(online)]
        people, service = (RoleKeys((key_of(key.public_key()),)) for key in (person, online))
        self._now = SystemClock().now()
        root = build_root(root=people, targets=people, online=service, version=1, now=self._now)
        self.root = sign_role(root, self._person)
        targets = build_targets(dict.fromkeys(layers, people), version=1, now=self._now)
        self._targets = sign_role(targets, self._person)
        self._heads = 0
        self.bundles: dict[str, LayerBundle] = {}

    def sign_layer(self, layer: str, version: int, policy: bytes, stable: bytes = b"") -> LayerBundle:
        """Make a document current; `stable` is what hosts keep that a roll-out does not reach."""
        role = build_layer(layer, policy, version=version, now=self._now, stable=stable)
        self.bundles[layer] = LayerBundle(layer, sign_role(role, self._person), policy, stable)
        return self.bundles[layer]

    def head_over(self, bundles: Iterable[LayerBundle], rollouts: Mapping[str, Rings] | None) -> HeadBundle:
        """Return the next head."""
        self._heads += 1
        snapshot = build_snapshot(self._targets, bundles, version=self._heads, now=self._now, rollouts=rollouts)
        signed = sign_role(snapshot, self._online)
        timestamp = sign_role(build_timestamp(signed, version=self._heads, now=self._now), self._online)
        return HeadBundle((self.root,), timestamp, signed, self._targets)

    def renewed_root(self) -> bytes:
        """Return the next root, which names the same keys."""
        root = Metadata[Root].from_bytes(self.root).signed
        root.version += 1
        return sign_role(root, self._person)
