"""Receiving images as a host does, against DCMTK's `storescp` and Orthanc, sent by DCMTK's `storescu` and `dcmsend`.

An image of ours is answered once it is sealed, signed, recorded and synced to disk. `storescp` writes the plain file
and syncs nothing. Orthanc stores and indexes.

DCMTK leaves Nagle's algorithm on. As shipped, sender and receiver then wait for one another about 44 ms an image; so
both settings are measured, as shipped and with TCP_NODELAY=1 in the environment of sender and receiver. As shipped the
peers take PDUs of 16 KiB; with larger ones they are faster, which is measured with Nagle's algorithm off.
"""

import random
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter

from benchmarks.certificates import make_certificates
from benchmarks.measure import Contender, Measured, PeerMissing, Result, cpu, peer_version, take_turns
from benchmarks.receivers import (
    AE_TITLE,
    LARGEST_PDU_BYTES,
    Orthanc,
    Ours,
    Receiver,
    Setting,
    StoreScp,
    cpu_of,
    memory_of,
)
from benchmarks.receivers import receiving as running

_ROWS = 512
IMAGE_BYTES = _ROWS * _ROWS * 2
_SEED = 20260131
_TMPFS = Path("/dev/shm")  # noqa: S108  this very file system is what is measured
# A receiver that waits 44 ms for each image does so for every one of them; a fifth of them tells as much.
_AS_SHIPPED_SHARE = 5


@dataclass(frozen=True)
class _Cell:
    sender: str
    tls: bool
    associations: int
    place: str
    no_delay: bool

    @property
    def name(self) -> str:
        return ", ".join(
            (
                self.sender,
                "mutual TLS" if self.tls else "plain",
                f"{self.associations} association{'s' * (self.associations > 1)}",
                self.place,
                "TCP_NODELAY=1 on both sides" if self.no_delay else "as shipped",
            )
        )


def _cells() -> Iterator[_Cell]:
    # DCMTK's dcmsend has no TLS.
    for no_delay, (sender, tls) in product(
        (True, False), (("storescu", False), ("storescu", True), ("dcmsend", False))
    ):
        for associations, place in product((1, 4), ("tmpfs", "disk")):
            yield _Cell(sender, tls, associations, place, no_delay)


def run(*, rounds: int, images: int, folder: Path | None) -> Iterator[Result]:
    for program, package in (
        ("storescu", "dcmtk"),
        ("dcmsend", "dcmtk"),
        ("storescp", "dcmtk"),
        ("Orthanc", "orthanc"),
    ):
        if shutil.which(program) is None:
            raise PeerMissing(f"{program} is not installed (Debian package {package})")
    if not _TMPFS.is_dir():
        raise PeerMissing(f"there is no tmpfs at {_TMPFS}")
    with (
        tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as disk,
        tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=_TMPFS) as memory,
    ):
        certificates = make_certificates(Path(memory) / "tls")
        sources = {no_delay: Path(memory) / f"in-{no_delay}" for no_delay in (True, False)}
        for no_delay, source in sources.items():
            _make_images(source, images if no_delay else max(images // _AS_SHIPPED_SHARE, 4))
        for cell in _cells():
            place = Path(memory if cell.place == "tmpfs" else disk)
            setting = Setting(cell.associations, cell.no_delay, certificates if cell.tls else None)
            source = sources[cell.no_delay]
            contenders = [
                Contender(receiver.name, receiver.what, partial(_turn, cell.sender, source, place, setting, receiver))
                for receiver in _receivers(cell)
            ]
            sent = sum(1 for _ in source.rglob("*.dcm"))
            lines = take_turns(contenders, rounds)
            title = f"{sent:,} images of 0.5 MiB, {cell.name}"
            yield Result(title, _machine(), sent, IMAGE_BYTES, "storescp", lines)


def _receivers(cell: _Cell) -> tuple[Receiver, ...]:
    """Return ours and its peers; where Nagle's algorithm is off, these with the largest PDUs as well."""
    as_shipped = (Ours(), StoreScp(), Orthanc())
    return (*as_shipped, StoreScp(LARGEST_PDU_BYTES), Orthanc(LARGEST_PDU_BYTES)) if cell.no_delay else as_shipped


def _machine() -> str:
    dcmtk, orthanc = re.search(r"v(\S+)", peer_version("storescp")), re.search(r"(\d\S+)", peer_version("Orthanc"))
    versions = [f"{name} {found[1]}" for name, found in (("DCMTK", dcmtk), ("Orthanc", orthanc)) if found]
    return ", ".join((cpu(), *versions))


def _make_images(folder: Path, count: int) -> None:
    """Make them in four folders, one for each of four associations."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    numbers = random.Random(_SEED)
    for index in range(count):
        dataset, meta = Dataset(), FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID(f"2.25.{numbers.getrandbits(100)}")
        dataset.PatientID, dataset.PatientName, dataset.Modality = f"{index:06}", "Bench^Mark", "CT"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.1", "2.25.2"
        dataset.Rows = dataset.Columns = _ROWS
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.add_new(0x7FE00010, "OW", numbers.randbytes(IMAGE_BYTES))
        dataset.file_meta = meta
        part = folder / str(index % 4)
        part.mkdir(parents=True, exist_ok=True)
        dataset.save_as(part / f"{index:05}.dcm", enforce_file_format=True)


def _turn(sender: str, source: Path, place: Path, setting: Setting, receiver: Receiver) -> Measured:
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    port = _free_port()
    parts = sorted(source.iterdir())
    sets = [parts] if setting.associations == 1 else [[part] for part in parts]
    try:
        with running(receiver, port, out, setting) as process:
            before_s, began = cpu_of(process.pid), perf_counter()
            sending = [
                subprocess.Popen(_command(sender, port, folders, setting), env=setting.environment())
                for folders in sets
            ]
            codes = [child.wait() for child in sending]
            if any(codes):
                raise subprocess.CalledProcessError(1, sender)
            seconds = perf_counter() - began
            measured = Measured(seconds, cpu_of(process.pid) - before_s, memory_of(process.pid))
        # A receiver that kept less than it was sent was not measured.
        sent, kept = sum(1 for _ in source.rglob("*.dcm")), receiver.kept(out, IMAGE_BYTES)
        assert kept == sent, f"{receiver.name} kept {kept} of {sent} images"
        return measured
    finally:
        shutil.rmtree(out)


def _command(sender: str, port: int, folders: list[Path], setting: Setting) -> list[str]:
    tls = []
    if setting.tls is not None:
        key, certificate, ca = (str(setting.tls / name) for name in ("client.key", "client.pem", "ca.pem"))
        tls = ["+tls", key, certificate, "+cf", ca]
    options = ["--scan-directories", "--aetitle", AE_TITLE, *tls]
    return [sender, *options, "127.0.0.1", str(port), *map(str, folders)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
