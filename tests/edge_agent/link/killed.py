"""Relays what a guard wrote until it is killed.

python -m tests.edge_agent.link.killed FOLDER SOCKET HOST [before-confirm]

With `before-confirm` it stops for ever between what it wrote and what it would confirm, and says so.
"""

import os
import sys
import threading
from pathlib import Path

from edge_agent.link.bundles import KeptBundles
from edge_agent.link.client import GuardClient
from edge_agent.link.relay import GuardRelay
from edge_agent.parts import Bell
from shared.identity import HostId
from tests.fakes.host import Host

ROOT = Path(__file__).parents[3]


class StopsBeforeItConfirms(GuardClient):
    def confirm(self, upto: int) -> None:
        sys.stdout.write(f"written up to {upto}\n")
        sys.stdout.flush()
        threading.Event().wait()


def main(folder: Path, path: Path, host_id: HostId, client: type[GuardClient]) -> None:
    host = Host(folder, host_id=host_id)
    relay = GuardRelay(
        lambda: client(path, guard_user=os.getuid()),
        host_id=host_id,
        journal=host.journal,
        database=host.database,
        bundles=KeptBundles(host.database),
        log=host.log,
        bell=Bell(),
        spread=lambda: 0.0,
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    relay.run(threading.Event())


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        HostId.parse(sys.argv[3]),
        StopsBeforeItConfirms if sys.argv[4:] == ["before-confirm"] else GuardClient,
    )
