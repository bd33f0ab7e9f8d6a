"""`leadglass-wipe` on a host of a test: `python -m tests.edge_agent.sanitize.program FOLDER NODE [ARGUMENT ...]`.

The real program, but for who this host is and which drives are here: nothing of a setting could say that.
"""

import sys
from pathlib import Path

from edge_agent.sanitize.terminal import program
from edge_agent.wipe_main import main
from tests.edge_agent.sanitize.wiping import Bench


def of_a_test(folder: str, nodes: str, *argv: str) -> int:
    bench = Bench(Path(folder))
    host = program.Host(bench.host, bench.hands(*map(Path, nodes.split(","))))
    program.Host.of = lambda _: host  # type: ignore[method-assign, assignment]  # in this process alone
    return main(["--state", str(bench.state), "--agent-data", str(bench.agent.path), *argv])


if __name__ == "__main__":
    sys.exit(of_a_test(*sys.argv[1:]))
