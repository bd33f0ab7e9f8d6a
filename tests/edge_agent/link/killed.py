"""Relays what a guard wrote until it is killed."""

import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from edge_agent.link.bundles import KeptBundles
from edge_agent.link.client import GuardClient
from edge_agent.link.relay import GuardRelay
from edge_agent.parts import Bell
from shared.identity import HostId
from tests.fakes.host import Host


class Client(GuardClient):
    """`told` hears what it does. One that `stops` does so for ever between what it wrote and what it would confirm."""

    def __init__(self, path: Path, told: Connection, *, stops: bool) -> None:
        super().__init__(path, guard_user=os.getuid())
        self._told, self._stops = told, stops

    def confirm(self, upto: int) -> None:
        if self._stops:
            self._told.send(f"written up to {upto}")
            threading.Event().wait()
        super().confirm(upto)


def relay(folder: Path, path: Path, host_id: HostId, told: Connection, *, stops: bool) -> None:
    host = Host(folder, host_id=host_id)
    relaying = GuardRelay(
        lambda: Client(path, told, stops=stops),
        host_id=host_id,
        journal=host.journal,
        database=host.database,
        bundles=KeptBundles(host.database),
        log=host.log,
        bell=Bell(),
        spread=lambda: 0.0,
    )
    told.send("ready")
    relaying.run(threading.Event())
