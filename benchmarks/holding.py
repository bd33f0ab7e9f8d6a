"""The memory that a receiving agent holds: over many images, and over sizes up to 4 GiB. Its peer is storescp.

What is shown is the resident memory of the process after each step, and the most that it ever held.
"""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.delaying import head
from benchmarks.measure import PeerMissing, cpu
from benchmarks.receivers import AE_TITLE, Ours, Receiver, Setting, StoreScp, memory_of, receiving
from shared.dicom.associate import Proposed
from shared.dicom.requestor import Requestor

_CT, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
_HALF_MIB = 512 << 10
_COUNTS = (1, 100, 1_000, 10_000)
# Explicit VR has 32 bits for the length of the pixels, of which FFFFFFFF means another thing.
_SIZES = (_HALF_MIB, 64 << 20, 1 << 30, (4 << 30) - 2)
_PIECE = bytes(1 << 20)


class Held:
    def __init__(self, title: str, steps: dict[str, dict[str, float]]) -> None:
        self._title, self._steps = title, steps

    def markdown(self) -> str:
        names = list(next(iter(self._steps.values())))
        rows = [f"{self._title}. {cpu()}.", "", f"| resident MiB after | {' | '.join(names)} |"]
        rows.append("| --- |" + " --- |" * len(names))
        rows += [
            f"| **{receiver}** | {' | '.join(f'{value:.0f}' for value in steps.values())} |"
            for receiver, steps in self._steps.items()
        ]
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        return {"title": self._title, "mib": self._steps}


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Held]:  # noqa: ARG001  each step is counted once
    if shutil.which("storescp") is None:
        raise PeerMissing("storescp is not installed (Debian package dcmtk)")
    receivers: tuple[Receiver, ...] = (Ours(), StoreScp())
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as work:
        counts = {r.name: _many(r, Path(work) / "out") for r in receivers}
        yield Held("Images of 0.5 MiB, one association each, on disk", counts)
        sizes = {r.name: _large(r, Path(work) / "out") for r in receivers}
        yield Held("One image of each size, on disk", sizes)


def _many(receiver: Receiver, out: Path) -> dict[str, float]:
    steps: dict[str, float] = {}
    with _running(receiver, out) as (pid, port):
        sent = 0
        for count in _COUNTS:
            _send(port, [(number, _HALF_MIB) for number in range(sent, count)])
            sent = count
            steps[f"{count:,} images"] = _resident(pid)
        steps["most"] = (memory_of(pid) or 0) / 1024
    return steps


def _large(receiver: Receiver, out: Path) -> dict[str, float]:
    steps: dict[str, float] = {}
    with _running(receiver, out) as (pid, port):
        for number, size in enumerate(_SIZES):
            _send(port, [(number, size)])
            steps[f"{size / 2**20:,.1f} MiB"] = _resident(pid)
        steps["most"] = (memory_of(pid) or 0) / 1024
    return steps


@contextmanager
def _running(receiver: Receiver, out: Path) -> Iterator[tuple[int, int]]:
    out.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with receiving(receiver, port, out, Setting(1, no_delay=True, tls=None)) as process:
        yield process.pid, port
    shutil.rmtree(out)
    os.sync()


def _send(port: int, images: list[tuple[int, int]]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        contexts = [Proposed(_CT, (_EXPLICIT,))]
        requestor = Requestor(connection, calling_ae_title=AE_TITLE, called_ae_title="ANY", contexts=contexts)
        requestor.associate()
        for number, size in images:
            uid = f"2.25.{number + 1}"
            requestor.store(_CT, uid, _EXPLICIT, _pieces(uid, size))
        requestor.release()


def _pieces(uid: str, size: int) -> Iterator[bytes | memoryview]:
    yield head(uid, size)
    piece = memoryview(_PIECE)
    while size:
        yield piece[: min(size, len(piece))]
        size -= min(size, len(piece))


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
