"""Takes one look at the host: `python -m edge_agent.host_watch.child [--sidecar] < POLICY`.

    in   the canonical JSON of a `WatchPolicy`
    out  one line of canonical JSON: {"v":1, "findings":[...]}, each as `shared.fleet.devices.Finding` has it

A process of its own, so that psutil is in memory only while it looks, and so that a file system that does not answer
keeps nobody waiting but it.
"""

import argparse
import sys

from edge_agent.host_watch.answer import encode
from edge_agent.host_watch.checks import evaluate
from edge_agent.host_watch.look import look
from shared.clock import SystemClock
from shared.devices.watch import MAX_BYTES, WatchPolicy
from shared.errors import Malformed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="edge_agent.host_watch.child", description=__doc__)
    parser.add_argument("--sidecar", action="store_true", help="the modality is another machine")
    options = parser.parse_args(arguments)
    try:
        policy = WatchPolicy.decode(sys.stdin.buffer.read(MAX_BYTES + 1))
    except Malformed as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    findings = evaluate(policy, look(policy), SystemClock().now(), sidecar=options.sidecar)
    sys.stdout.buffer.write(encode(findings) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
