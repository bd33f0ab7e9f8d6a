"""A guard whose verifying child believes whatever it is offered: what the real child is held against.

python -m tests.scenarios.credulous_guard STATE SOCKET    the guard
python -m tests.scenarios.credulous_guard STATE           its child
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from edge_agent.guard import run
from edge_agent.guard_options import RunOptions
from edge_agent.usb_policy.exchange import Offer, VerifiedPolicy, line
from shared.policy.bundle import LayerBundle
from shared.policy.document import PolicyDocument

_FOR_EVER = datetime(2099, 12, 31, tzinfo=UTC)


def believing(state: Path) -> Sequence[str]:
    return [sys.executable, "-m", "tests.scenarios.credulous_guard", str(state)]


def believe(data: bytes) -> VerifiedPolicy:
    text = LayerBundle.parse(Offer.parse(data).layers[0]).policy
    policy = PolicyDocument.parse(text)
    return VerifiedPolicy(policy.layer, policy.version, sha256(text).digest(), _FOR_EVER, None, policy.devices)


if __name__ == "__main__":
    if sys.argv[2:]:
        run(RunOptions(Path(sys.argv[1]), Path(sys.argv[2]), agent_user="nobody"), believing)
    else:
        sys.stdout.buffer.write(line(believe(sys.stdin.buffer.read())))
