"""The delay that a modality sees: from the first byte of a C-STORE to its answer, image by image, on one association.

The sender is our own requestor with TCP_NODELAY, the same for each receiver. What is ours above `storescp` is what we
add at the modality: it is answered once the image is sealed, signed, recorded and synced.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.measure import PeerMissing, cpu
from benchmarks.receivers import AE_TITLE, Orthanc, Ours, Receiver, Setting, StoreScp, receiving
from shared.dicom.associate import Proposed
from shared.dicom.requestor import Requestor

IMAGE_BYTES = 512 << 10
_CT, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


class Delays:
    """What each receiver made the sender wait, in milliseconds."""

    def __init__(self, place: str, images: int, waited: dict[str, list[list[float]]]) -> None:
        self._place, self._images, self._waited = place, images, waited

    def markdown(self) -> str:
        rounds = len(next(iter(self._waited.values())))
        title = f"{self._images:,} images of 0.5 MiB, one association, {self._place}, TCP_NODELAY=1 on both sides"
        rows = [
            f"{title}; {rounds} rounds, taking turns, medians of their percentiles. {cpu()}.",
            "",
            "| ms from request to answer | p50 | p99 | longest of all |",
            "| --- | --- | --- | --- |",
        ]
        for name, figures in self.json_figures().items():
            rows.append(f"| **{name}** | {figures['p50']:.2f} | {figures['p99']:.2f} | {figures['longest']:.2f} |")
        return "\n".join(rows) + "\n"

    def json(self) -> dict[str, object]:
        return {"place": self._place, "images": self._images, "ms": self.json_figures()}

    def json_figures(self) -> dict[str, dict[str, float]]:
        return {
            name: {
                "p50": median(_percentile(turn, 50) for turn in turns),
                "p99": median(_percentile(turn, 99) for turn in turns),
                "longest": max(max(turn) for turn in turns),
            }
            for name, turns in self._waited.items()
        }


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Delays]:
    for program, package in (("storescp", "dcmtk"), ("Orthanc", "orthanc")):
        if shutil.which(program) is None:
            raise PeerMissing(f"{program} is not installed (Debian package {package})")
    receivers = (Ours(), StoreScp(), Orthanc())
    for name, parent in (("tmpfs", "/dev/shm"), ("disk", folder)):  # noqa: S108
        with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=parent) as work:
            waited: dict[str, list[list[float]]] = {receiver.name: [] for receiver in receivers}
            for _ in range(rounds):
                for receiver in receivers:
                    os.sync()
                    waited[receiver.name].append(_turn(receiver, Path(work) / "out", images))
        yield Delays(name, images, waited)


def _turn(receiver: Receiver, out: Path, images: int) -> list[float]:
    out.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    waited = []
    dataset = os.urandom(IMAGE_BYTES)
    with (
        receiving(receiver, port, out, Setting(1, no_delay=True, tls=None)),
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        contexts = [Proposed(_CT, (_EXPLICIT,))]
        requestor = Requestor(connection, calling_ae_title=AE_TITLE, called_ae_title="ANY", contexts=contexts)
        requestor.associate()
        for number in range(images):
            uid = f"2.25.{number + 1}"
            data_head = head(uid, IMAGE_BYTES)
            began = perf_counter()
            requestor.store(_CT, uid, _EXPLICIT, (data_head, dataset))
            waited.append(1000 * (perf_counter() - began))
        requestor.release()
    shutil.rmtree(out)
    return waited


def head(uid: str, pixel_bytes: int) -> bytes:
    """Return the data set up to the value of its pixels, whose length follows."""

    def element(group: int, number: int, vr: bytes, value: str) -> bytes:
        data = value.encode() + (b"\x00" if vr == b"UI" else b" ") * (len(value) % 2)
        return group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr + len(data).to_bytes(2, "little") + data

    return b"".join(
        (
            element(0x0008, 0x0016, b"UI", _CT),
            element(0x0008, 0x0018, b"UI", uid),
            element(0x0008, 0x0060, b"CS", "CT"),
            element(0x0010, 0x0010, b"PN", "Bench^Mark"),
            element(0x0010, 0x0020, b"LO", uid[-8:]),
            element(0x0020, 0x000D, b"UI", "2.25.1"),
            element(0x0020, 0x000E, b"UI", "2.25.2"),
            b"\xe0\x7f\x10\x00OW\x00\x00" + pixel_bytes.to_bytes(4, "little"),
        )
    )


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]
