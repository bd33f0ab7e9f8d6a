"""People and an online service that sign policies of an organisation and of its parts, and a guard that has some."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

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
from edge_agent.usb_policy.exchange import Offer
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import Trust, trust_file
from edge_agent.usb_policy.verifier import Verifier, child_command
from shared.clock import SystemClock
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.identity import HostId
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.policy.part import PartContent, PartDocument
from shared.policy.rollout import Rings
from shared.signing import SoftwareSigner
from tests.fakes.signers import CentreKeys, document

NORTH, SOUTH, CT = "site-north", "site-south", "modality-ct"
EVERY_LAYER = (ORGANISATION, NORTH, SOUTH, CT)
HOST, OTHER_HOST = HostId(bytes(16)), HostId(bytes(15) + b"\1")
_KEYS = CentreKeys.new(secrets.token_bytes)
_RECEIPTS = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
Document = PolicyDocument | PartDocument


def rules(*texts: str) -> DevicePolicy:
    return DevicePolicy(tuple(DeviceRule(parse_rule(text)) for text in texts))


def organisation(version: int, devices: DevicePolicy | None = None) -> PolicyDocument:
    return replace(document(version, _KEYS, _RECEIPTS.public), devices=devices)


def part(layer: str, version: int, devices: DevicePolicy | None = None) -> PartDocument:
    return PartDocument(layer, version, PartContent(devices=devices))


class LayeredSigners:
    """`bundles` are what is current; whoever plays an attacker takes one out or puts an older one back."""

    def __init__(self) -> None:
        self._person, self._online = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        people, online = (RoleKeys((key_of(key.public_key()),)) for key in (self._person, self._online))
        now = SystemClock().now()
        self.root = sign_role(
            build_root(root=people, targets=people, online=online, version=1, now=now), [signer_of(self._person)]
        )
        targets = build_targets(dict.fromkeys(EVERY_LAYER, people), version=1, now=now)
        self._targets = sign_role(targets, [signer_of(self._person)])
        self.bundles: dict[str, LayerBundle] = {}
        self._heads = 0

    def sign(self, newest: Document, stable: Document | None = None) -> LayerBundle:
        """Make a document current; `stable` is what hosts keep that a roll-out does not reach."""
        stable_bytes = b"" if stable is None else stable.encode()
        role = build_layer(
            newest.layer, newest.encode(), version=newest.version, now=SystemClock().now(), stable=stable_bytes
        )
        metadata = sign_role(role, [signer_of(self._person)])
        self.bundles[newest.layer] = LayerBundle(newest.layer, metadata, newest.encode(), stable_bytes)
        return self.bundles[newest.layer]

    def head(self, rollouts: Mapping[str, Rings] | None = None) -> HeadBundle:
        self._heads += 1
        now, online = SystemClock().now(), [signer_of(self._online)]
        snapshot = sign_role(
            build_snapshot(self._targets, self.bundles.values(), version=self._heads, now=now, rollouts=rollouts),
            online,
        )
        timestamp = sign_role(build_timestamp(snapshot, version=self._heads, now=now), online)
        return HeadBundle((self.root,), timestamp, snapshot, self._targets)

    def offer(self, *layers: str, rollouts: Mapping[str, Rings] | None = None) -> Offer:
        """Return what is current now, with the bundles of these layers."""
        return Offer(self.head(rollouts).encode(), tuple(self.bundles[layer].encode() for layer in layers))


class LayeredGuard:
    def __init__(self, state: Path, signers: LayeredSigners, *parts: str) -> None:
        self.state, self.signers = state, signers
        self.trust = Trust(HOST, ORGANISATION, signers.root, parts)
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        trust_file(state).write_bytes(self.trust.encode())
        self.start()

    def start(self) -> None:
        self.store = GuardPolicyStore(self.state, self.trust)

    def verifier(self) -> Verifier:
        return Verifier(child_command(self.state), self.trust.layers)
