"""Receiving images as a host does, against DCMTK's `storescp`, both sent to by DCMTK's `storescu`.

Ours is the agent's own listener, pipeline, spool and journal, in a process of its own: an image is answered once it is
sealed, signed, recorded and synced to disk. `storescp` writes the plain file and syncs nothing.

DCMTK leaves Nagle's algorithm on. As shipped, sender and `storescp` then wait for one another about 44 ms an image; so
both settings are measured, as shipped and with TCP_NODELAY=1 in the environment of sender and receiver.
"""

import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.measure import Contender, Measured, PeerMissing, Result, cpu, peer_version, take_turns

_ROWS = 512
IMAGE_BYTES = _ROWS * _ROWS * 2
_SEED = 20260131
_TMPFS = Path("/dev/shm")  # noqa: S108  this very file system is what is measured
_MAX_PDU_BYTES = 131_072
_AE_TITLE = "BENCH"


def run(*, rounds: int, images: int, folder: Path | None) -> tuple[Result, ...]:
    for program in ("storescu", "storescp"):
        if shutil.which(program) is None:
            raise PeerMissing(f"{program} is not installed (Debian package dcmtk)")
    if not _TMPFS.is_dir():
        raise PeerMissing(f"there is no tmpfs at {_TMPFS}")
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as disk,
        tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=_TMPFS) as memory,
    ):
        source = Path(memory) / "in"
        _make_images(source, images)
        for no_delay in (True, False):
            for associations in (1, 4):
                for name, place in (("tmpfs", Path(memory)), ("disk", Path(disk))):
                    turn = partial(_turn, source, place / "out", associations, no_delay=no_delay)
                    contenders = [
                        Contender("Leadglass", "sealed, signed, recorded, synced", partial(turn, _ours)),
                        Contender("storescp", "plain files, nothing synced", partial(turn, _storescp(associations))),
                    ]
                    setting = "TCP_NODELAY=1 on both sides" if no_delay else "DCMTK as shipped"
                    title = f"{images:,} images of 0.5 MiB, {associations} association(s), {name}, {setting}"
                    lines = take_turns(contenders, rounds)
                    results.append(Result(title, _machine(), images, IMAGE_BYTES, "storescp", lines))
    return tuple(results)


def _machine() -> str:
    dcmtk = re.search(r"v(\S+)", peer_version("storescp"))
    return f"{cpu()}, DCMTK {dcmtk[1] if dcmtk else 'of unknown version'}"


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


# ---- one turn


def _turn(source: Path, out: Path, associations: int, command: "list[str]", *, no_delay: bool) -> Measured:
    environment = dict(os.environ, **({"TCP_NODELAY": "1"} if no_delay else {}))
    if not no_delay:
        environment.pop("TCP_NODELAY", None)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    port = _free_port()
    parts = sorted(source.iterdir())
    senders = [[str(part) for part in parts]] if associations == 1 else [[str(part)] for part in parts]
    try:
        with _receiving([*command, str(port), str(out)], port, environment) as receiver:
            before_s, began = _cpu_of(receiver.pid), perf_counter()
            running = [_send(folders, port, environment) for folders in senders]
            if any(process.wait() for process in running):
                raise subprocess.CalledProcessError(1, "storescu")
            seconds = perf_counter() - began
            return Measured(seconds, _cpu_of(receiver.pid) - before_s, _memory_of(receiver.pid))
    finally:
        _check(source, out)
        shutil.rmtree(out)


def _send(folders: "list[str]", port: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    command = ["storescu", "--scan-directories", "--max-pdu", str(_MAX_PDU_BYTES), "--aetitle", _AE_TITLE]
    return subprocess.Popen([*command, "127.0.0.1", str(port), *folders], env=environment)


_ours = [sys.executable, "-m", "benchmarks.receiving"]


def _storescp(associations: int) -> "list[str]":
    """Return the command, which takes port and folder. For several at once DCMTK starts a child for each."""
    options = f"--max-pdu {_MAX_PDU_BYTES}" + (" --fork" if associations > 1 else "")
    return ["sh", "-c", f'exec storescp {options} --output-directory "$1" "$0"']


@contextmanager
def _receiving(command: "list[str]", port: int, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def _check(source: Path, out: Path) -> None:
    """A receiver that kept less than it was sent was not measured."""
    sent = sum(1 for path in source.rglob("*.dcm"))
    files = (path for path in out.rglob("*") if path.is_file() and "sqlite" not in path.name)
    kept = [path for path in files if path.stat().st_size >= IMAGE_BYTES]
    assert len(kept) == sent, f"{len(kept)} of {sent} images were kept"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _cpu_of(pid: int) -> float:
    """Return the processor time of a process and of those children of it that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _memory_of(pid: int) -> int | None:
    held = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(held[1]) if held else None


# ---- ours, in a process of its own


def _serve(port: int, folder: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    from edge_agent.audit.journal import Journal
    from edge_agent.capture.listener import Address, DicomListener
    from edge_agent.capture.pipeline import CapturePipeline
    from edge_agent.capture.spool import Spool
    from edge_agent.database import Database
    from edge_agent.log import JsonLog
    from shared.clock import SystemClock
    from shared.identity import HostId
    from shared.policy.document import KeyPurpose, Modality, PolicyDocument, SealingKey
    from shared.policy.grading import Grading
    from shared.sealing.hpke import SealingPrivateKey
    from shared.signing import SoftwareSigner

    def sealing_key(purpose: KeyPurpose, grade: str = "") -> SealingKey:
        return SealingKey(purpose, grade, 1, SealingPrivateKey(secrets.token_bytes(32)).public)

    signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    keys = (sealing_key(KeyPurpose.DATA, "restricted"), sealing_key(KeyPurpose.INDEX), sealing_key(KeyPurpose.AUDIT))
    policy = PolicyDocument(
        "organisation", 1, (Modality(_AE_TITLE, ""),), keys, signer.public, Grading("restricted"), 60, 3600
    )
    clock, host_id = SystemClock(), HostId.new()
    journal = Journal(
        Database(folder / "agent.sqlite"), host_id, key=lambda: policy.key_for(KeyPurpose.AUDIT), clock=clock
    )
    pipeline = CapturePipeline(
        host_id=host_id,
        sop_hash_key=bytes(32),
        signer=signer,
        policy=lambda: policy,
        spool=Spool(folder / "spool"),
        journal=journal,
        clock=clock,
    )
    DicomListener(
        Address("127.0.0.1", port, "LEADGLASS"),
        host_id=host_id,
        policy=lambda: policy,
        pipeline=pipeline,
        journal=journal,
        log=JsonLog(clock),
    ).run(threading.Event())


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
