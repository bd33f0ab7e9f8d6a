"""`python -m edge_agent.usb_policy.verify_child --state DIR`: judges one offer of policy, says what it found, and ends.

It loads what the small, resident guard must not: cryptography and TUF. It says nothing that it has not verified, and
limits itself before it reads a byte: memory, processor time, open files, and no socket of any kind.
"""

import argparse
import resource
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from edge_agent.log import OUR_ERRORS, where
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
from shared.policy.accept import WrongLayer
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import PolicyDocument

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
    head, layer = HeadBundle.parse(offer.head), LayerBundle.parse(offer.layer)
    if layer.layer != trust.layer:
        raise WrongLayer(offered=layer.layer, expected=trust.layer)
    verification = PolicyVerification(layer=trust.layer, folder=trusted_metadata(state), root=trust.root)
    document = verification.verify(head, layer, None)
    policy = PolicyDocument.parse(document)
    if policy.layer != trust.layer:
        raise WrongLayer(offered=policy.layer, expected=trust.layer)
    chain = verification.chain()
    return VerifiedPolicy(
        policy.layer,
        policy.version,
        sha256(document).digest(),
        chain.expires,
        chain.signed_at,
        policy.devices,
        policy.watch,
        chain.root_version,
    )


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
