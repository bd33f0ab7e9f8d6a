"""A guard's folder with a pinned root, the people who sign policies for it, and children that misbehave."""

import secrets
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.usb_policy.exchange import Judgement, Offer
from edge_agent.usb_policy.store import GuardPolicyStore
from edge_agent.usb_policy.trust import Trust, trust_file
from edge_agent.usb_policy.verifier import Verifier, child_command
from shared.devices.policy import DevicePolicy
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from shared.signing import SoftwareSigner
from tests.fakes.signers import CentreKeys, PolicySigners, document

KEYS = CentreKeys.new(secrets.token_bytes)
RECEIPTS = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))


class Guard:
    """What of the guard has to do with policy: its folder, its store, and a verifier."""

    def __init__(self, state: Path, signers: PolicySigners | None = None) -> None:
        self.state, self.signers = state, signers or PolicySigners()
        self.trust = Trust(HostId(bytes(16)), ORGANISATION, self.signers.root)
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        trust_file(state).write_bytes(self.trust.encode())
        self.start()

    def start(self) -> None:
        self.store = GuardPolicyStore(self.state, self.trust)

    def publish(self, version: int, devices: DevicePolicy | None = None, layer: str = ORGANISATION) -> Offer:
        policy = replace(document(version, KEYS, RECEIPTS.public), layer=layer, devices=devices)
        head, bundle = self.signers.publish(policy.encode(), version)
        return Offer(head.encode(), (bundle.encode(),))

    def verifier(self, command: Sequence[str] = (), monotonic_s: Callable[[], float] = monotonic) -> Verifier:
        return Verifier(command or child_command(self.state), self.trust.layers, monotonic_s=monotonic_s)


def judged(verifier: Verifier) -> Judgement:
    """Do what the guard's loop does until something was judged."""
    while True:
        judgement = verifier.step()
        if judgement is not None:
            return judgement
        descriptor, wait_s = verifier.fileno(), verifier.wakes_in_s()
        assert wait_s is not None, "there is nothing to judge"
        select.select([] if descriptor is None else [descriptor], [], [], wait_s)


def run_child(state: Path, data: bytes) -> bytes:
    """Have the child judge what a guard with this folder hands it, and return what it prints."""
    return subprocess.run(child_command(state), input=data, capture_output=True, check=True).stdout


def child_that(code: str) -> list[str]:
    """Return the command of a child that does something else than judging."""
    return [sys.executable, "-c", code]
