"""`leadglass-wipe` on a host of a test: `python -m tests.edge_agent.sanitize.program FOLDER NODE [ARGUMENT ...]`.

The real program, but for who this host is and which drives are here: nothing of a setting could say that.
"""

import sys
from pathlib import Path

from edge_agent.sanitize.terminal.program import Host, Places, resume, screens
from edge_agent.wipe_main import command_line
from tests.edge_agent.sanitize.wiping import Bench


def main(folder: str, nodes: str, *argv: str) -> int:
    bench = Bench(Path(folder))
    host = Host(bench.host(), bench.hands(*map(Path, nodes.split(","))))
    arguments = command_line().parse_args(["--state", str(bench.state), "--agent-data", str(bench.agent.path), *argv])
    places = Places.of(arguments)
    if arguments.command == "resume":
        return resume(places, arguments.language, arguments.of, of=lambda _: host)
    return screens(places, arguments.language, ticket=arguments.ticket, of=lambda _: host)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
