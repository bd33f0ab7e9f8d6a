"""People and an online service that sign policies of an organisation and of its parts, and a guard that has some."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.usb_policy.exchange import Offer
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import Trust, trust_file
from edge_agent.usb_policy.verifier import Verifier, child_command
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.identity import HostId
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.policy.part import PartContent, PartDocument
from shared.policy.rollout import Rings
from shared.signing import SoftwareSigner
from tests.fakes.layer_signers import LayerSigners
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


class LayeredSigners(LayerSigners):
    def __init__(self) -> None:
        super().__init__(EVERY_LAYER)

    def sign(self, newest: Document, stable: Document | None = None) -> LayerBundle:
        stable_bytes = b"" if stable is None else stable.encode()
        return self.sign_layer(newest.layer, newest.version, newest.encode(), stable_bytes)

    def head(self, rollouts: Mapping[str, Rings] | None = None) -> HeadBundle:
        return self.head_over(self.bundles.values(), rollouts)

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
