"""Uploads one object to a vault and dies at a named point, as by kill -9.

python killed.py FOLDER UPLOAD OBJECT HOST "sync 1" | "sync 2" | "commit" | "committed"
"""

import os
import sys
from pathlib import Path

from sqlalchemy import Connection, event

from control_plane.vault.local import LocalObjectStore
from shared.identity import HostId, ObjectId
from tests.control_plane.vault.bench import Bench


def main(folder: Path, upload: Path, object_id: ObjectId, host_id: HostId, at: str) -> None:
    syncs = 0
    arrived = False

    def sync(descriptor: int) -> None:
        nonlocal syncs
        syncs += arrived
        if at == f"sync {syncs}":
            os._exit(9)
        os.fsync(descriptor)

    def commit(_: Connection) -> None:
        if arrived and at == "commit":
            os._exit(9)

    bench = Bench(folder, object_store=lambda path: LocalObjectStore(path, sync))
    event.listen(bench.engine, "commit", commit)
    arrived = True
    with upload.open("rb") as stream:
        bench.intake.receive(object_id, host_id, stream, upload.stat().st_size)
    os._exit(9)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), ObjectId.parse(sys.argv[3]), HostId.parse(sys.argv[4]), sys.argv[5])
