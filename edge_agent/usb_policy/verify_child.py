"""`python -m edge_agent.usb_policy.verify_child --state DIR`: judges one offer of policy, says what it found, and ends.

It loads what the small, resident guard must not: cryptography and TUF. It says nothing that it has not verified, and
limits itself before it reads a byte: memory, processor time, open files, and no socket of any kind.
"""

import argparse
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_agent.log import OUR_ERRORS, where
from edge_agent.policy_sync.layers import read_layers
from edge_agent.policy_sync.verification import PolicyVerification
from edge_agent.usb_policy.exchange import (
    MAX_OFFER_BYTES,
    Judgement,
    Kind,
    Offer,
    RefusedOffer,
    VerifiedPolicy,
    line,
)
from edge_agent.usb_policy.trust import load_trust, trusted_metadata
from shared.errors import Malformed
from shared.policy.accept import WrongLayer
from shared.policy.bundle import HeadBundle, LayerBundle

# What it needs is 50 MiB; a document that makes it need several times that is refused for it.
_MOST_MEMORY_BYTES = 256 << 20
_MOST_CPU_S = 60
_MOST_FILE_BYTES = 1 << 20
_MOST_OPEN_FILES = 64


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="verify_child", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the guard's folder")
    state = parser.parse_args(argv).state
    limit_this_process()
    sys.stdout.buffer.write(line(_judge_whatever_comes(state, sys.stdin.buffer.read(MAX_OFFER_BYTES + 1))))
    return 0


def judge(state: Path, data: bytes) -> VerifiedPolicy:
    """Return what is verified of an offer. Raises Refused, IntegrityFailure, Unavailable."""
    trust = load_trust(state)
    offer = Offer.parse(data)
    head, bundles = HeadBundle.parse(offer.head), _by_layer(offer, trust.layers)
    verification = PolicyVerification(
        layers=trust.layers, host=trust.host_id, folder=trusted_metadata(state), root=trust.root
    )
    # What was accepted before is the guard's to know, and it compares.
    policy = read_layers(verification.verify(head, bundles, {}), trust.host_id)
    chain = verification.chain()
    first, *parts = policy.acts_by
    return VerifiedPolicy(
        first.layer,
        first.version,
        first.sha256,
        chain.expires,
        chain.signed_at,
        policy.effective.policy.devices,
        policy.effective.policy.watch,
        chain.root_version,
        tuple(parts),
        tuple(newest for newest, acts in zip(policy.newest, policy.acts_by, strict=True) if newest != acts),
        verification.choice(),
        policy.effective.policy.wipe,
    )


def _by_layer(offer: Offer, layers: Sequence[str]) -> dict[str, LayerBundle]:
    """Raises Malformed, WrongLayer."""
    bundles: dict[str, LayerBundle] = {}
    for bundle in map(LayerBundle.parse, offer.layers):
        if bundle.layer not in layers:
            raise WrongLayer(offered=bundle.layer, expected=" or ".join(layers))
        if bundle.layer in bundles:
            raise Malformed("policy offer", f"it has two bundles of layer {bundle.layer}")
        bundles[bundle.layer] = bundle
    return bundles


def limit_this_process() -> None:
    """From here on: little memory and time, no core file, small files, and no socket."""
    for what, most in (
        (resource.RLIMIT_AS, _MOST_MEMORY_BYTES),
        (resource.RLIMIT_CPU, _MOST_CPU_S),
        (resource.RLIMIT_FSIZE, _MOST_FILE_BYTES),
        (resource.RLIMIT_NOFILE, _MOST_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    # Only Python's own sockets pass here; the guard's unit forbids the others to the whole service.
    sys.addaudithook(_refuse_network)


def _refuse_network(event: str, _arguments: tuple[object, ...]) -> None:
    if event.startswith("socket."):
        raise PermissionError("the verifying child opens no socket")


def _judge_whatever_comes(state: Path, data: bytes) -> Judgement:
    try:
        return judge(state, data)
    except OUR_ERRORS as exc:
        return RefusedOffer.because(exc)
    # The last boundary of this process: a bug, or memory that ran out, is an answer of its own and never silence.
    except Exception as exc:  # noqa: BLE001
        return RefusedOffer.of(Kind.UNAVAILABLE, f"{type(exc).__name__} at {'; '.join(where(exc)[-2:])}")


if __name__ == "__main__":
    sys.exit(main())
