"""Sealing images as a host does, against age and against this machine's own SHA-256.

Every contender reads the same files, which are in memory by then. Ours does more than age: two SHA-256 digests, a
sealed index, an ECDSA signature, and two post-quantum encapsulations where age makes one with X25519.
"""

import json
import os
import random
import re
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from benchmarks.measure import Contender, Measured, PeerMissing, Result, machine, take_turns
from benchmarks.receivers import memory_of

if TYPE_CHECKING:  # a contender that does not seal need not hold what sealing loads
    from shared.sealing.seal import Sink

IMAGE_BYTES = 512 * 1024
_SEED = 20260131
_IN_MEMORY = 16
Turn: TypeAlias = Callable[[], None]
T = TypeVar("T")


def run(*, rounds: int, images: int, folder: Path | None) -> tuple[Result, ...]:
    if shutil.which("age") is None or shutil.which("age-keygen") is None:
        raise PeerMissing("age is not installed (Debian package age)")
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as name:
        work = Path(name)
        make_images(work / "in", images)
        recipient = age_recipient(work / "age.key")
        contenders = [
            Contender("SHA-256", "hashlib, one thread, nothing written", lambda: measure_own(work, "digest")),
            Contender(
                "SHA-256 twice, two threads",
                "the two digests of the format and nothing else",
                lambda: measure_own(work, "digest-twice-on-two"),
            ),
            Contender("copy", "read and written again, no fsync", lambda: measure_own(work, "copy")),
            Contender(
                "Leadglass, not written", "sealed objects that go nowhere", lambda: measure_own(work, "seal-only")
            ),
            Contender(
                "Leadglass, not written, two threads",
                "the same, two images at a time",
                lambda: measure_own(work, "seal-only-on-two"),
            ),
            Contender(
                "Leadglass, not written, in stock",
                "with encapsulations made before",
                lambda: measure_own(work, "seal-only-in-stock"),
            ),
            Contender(
                "Leadglass, not written, in stock, two threads",
                "the same, two images at a time",
                lambda: measure_own(work, "seal-only-in-stock-on-two"),
            ),
            Contender("Leadglass", "a sealed object for each, no fsync", lambda: measure_own(work, "seal")),
            Contender("Leadglass, durable", "taken in as an agent does", lambda: measure_own(work, "capture")),
            Contender("age, one stream", "all as one file, no fsync", lambda: _age_stream(work, recipient)),
            Contender("age, each file", "a process for each, no fsync", lambda: _age_each(work, recipient)),
        ]
        lines = take_turns(contenders, rounds)
    title = f"{images:,} images of {IMAGE_BYTES / 2**20:.1f} MiB (seeded random), one after the other"
    return (Result(title, machine(), images, IMAGE_BYTES, "SHA-256", lines),)


def make_images(folder: Path, count: int) -> None:
    folder.mkdir()
    numbers = random.Random(_SEED)
    for index in range(count):
        (folder / f"{index:05}").write_bytes(numbers.randbytes(IMAGE_BYTES))


def age_recipient(key: Path) -> str:
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    return subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()


# ---- contenders in a process of their own, which measures itself once its imports are done


def measure_own(work: Path, what: str) -> Measured:
    command = [sys.executable, "-m", "benchmarks.sealing", what, str(work)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    _clear(work / "out")
    return Measured(**json.loads(shown))


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _digest(work: Path) -> Turn:
    def digest(image: bytes) -> None:
        sha256(image).digest()

    return _from_memory(work, 1, lambda: digest)


def _digest_twice_on_two(work: Path) -> Turn:
    """Hash each image twice, as data set and as body: what two threads could do at most if all else were free."""

    def digest_twice(image: bytes) -> None:
        for _ in range(2):
            sha256(image).digest()

    return _from_memory(work, 2, lambda: digest_twice)


def _copy(work: Path) -> Turn:
    def turn() -> None:
        for path in _images(work):
            (work / "out" / path.name).write_bytes(path.read_bytes())

    return turn


def _seal_only(work: Path, *, threads: int = 1, in_stock: bool = False) -> Turn:
    """Seal images that are in memory to objects that go nowhere."""
    from shared.sealing.seal import StreamSink

    seal = _sealing(in_stock=in_stock)

    def make() -> Callable[[bytes], None]:
        sink = StreamSink(_Nowhere())  # an agent's threads keep their buffers too
        return lambda image: seal(sink, image)

    return _from_memory(work, threads, make)


def _seal(work: Path) -> Turn:
    from shared.sealing.seal import StreamSink

    seal = _sealing(in_stock=False)

    def turn() -> None:
        for path in _images(work):
            with (work / "out" / path.name).open("wb") as out:
                seal(StreamSink(out), path.read_bytes())

    return turn


def _sealing(*, in_stock: bool) -> "Callable[[Sink, bytes], None]":
    from cryptography.hazmat.primitives.asymmetric import ec

    from edge_agent.capture.stock import Stock
    from shared.clock import SystemClock
    from shared.identity import HostId, ObjectId
    from shared.sealing.binding import Binding
    from shared.sealing.hpke import SealingPrivateKey
    from shared.sealing.index import IndexEntry
    from shared.sealing.seal import ObjectSealer, Sealing
    from shared.signing import SoftwareSigner

    signer = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    keys = [SealingPrivateKey(secrets.token_bytes(32)).public for _ in range(2)]
    stock, host, clock = Stock(), HostId.new(), SystemClock()
    if in_stock:
        stock.fill(keys)
    data_key, index_key = map(stock.boxes, keys) if in_stock else keys

    def seal(sink: "Sink", image: bytes) -> None:
        entry = IndexEntry(True, "12345678", "DOE^JANE", "HOSPITAL", "A-1", "1.2.3", "1.2.3.4", "1.2.5", "1.2", "CT")
        binding = Binding(ObjectId.new(), host, secrets.token_bytes(32), "1.2.840.10008.1.2.1")
        sealer = ObjectSealer(sink, binding)
        sealer.update(image)
        sealer.finish(Sealing("restricted", data_key, index_key, 1, clock.now()), entry, signer)

    return seal


class _Nowhere:
    def write(self, data: bytes | memoryview, /) -> None:
        pass


def _capture(work: Path, *, threads: int = 1, in_stock: bool = True) -> Turn:
    """Take images in as an agent does, but for the network: each is durable before the next begins on its thread."""
    from benchmarks.host import host_in
    from benchmarks.receivers import AE_TITLE
    from edge_agent.capture.pipeline import ImageHeader

    host = host_in(work / "out", in_stock=in_stock)

    def make() -> Callable[[Path], None]:
        buffer = memoryview(bytearray(256 << 10))

        def capture(path: Path) -> None:
            header = ImageHeader(AE_TITLE, f"2.25.{int(path.name)}", "1.2.840.10008.1.2.1")
            with host.pipeline.begin(header) as taken, path.open("rb", buffering=0) as image:
                while size := image.readinto(buffer):
                    taken.update(buffer[:size])
                taken.finish()

        return capture

    return lambda: _shared(list(_images(work)), threads, make)


def _from_memory(work: Path, threads: int, make: Callable[[], Callable[[bytes], None]]) -> Turn:
    """As many images as there are files, all of them among the few that are kept in memory."""
    paths = list(_images(work))
    kept = [path.read_bytes() for path in paths[:_IN_MEMORY]]
    images = [kept[at % len(kept)] for at in range(len(paths))]
    return lambda: _shared(images, threads, make)


def _shared(images: list[T], threads: int, make: Callable[[], Callable[[T], None]]) -> None:
    """Have so many threads do with every image what `make` made for each of them."""
    left = iter(images)

    def go_on() -> None:
        do = make()
        for image in left:
            do(image)

    # One task for each thread and not for each image: nobody has to wake for an image but who works on it.
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(go_on) for _ in range(threads)]:
            done.result()


def _images(work: Path) -> Iterator[Path]:
    yield from sorted((work / "in").iterdir())


_OWN: dict[str, Callable[[Path], Turn]] = {
    "digest": _digest,
    "digest-twice-on-two": _digest_twice_on_two,
    "copy": _copy,
    "seal-only": _seal_only,
    "seal-only-on-two": lambda work: _seal_only(work, threads=2),
    "seal-only-in-stock": lambda work: _seal_only(work, in_stock=True),
    "seal-only-in-stock-on-two": lambda work: _seal_only(work, threads=2, in_stock=True),
    "seal": _seal,
    "capture": _capture,
    "capture-on-two": lambda work: _capture(work, threads=2),
    "capture-out-of-stock-on-two": lambda work: _capture(work, threads=2, in_stock=False),
}

# ---- age


def _age_stream(work: Path, recipient: str) -> Measured:
    (work / "out").mkdir()
    images = [str(path) for path in _images(work)]
    began, cpu = perf_counter(), _cpu(resource.RUSAGE_CHILDREN)
    with (
        subprocess.Popen(["cat", *images], stdout=subprocess.PIPE) as cat,
        subprocess.Popen(["age", "-r", recipient, "-o", work / "out" / "all"], stdin=cat.stdout) as age,
    ):
        memory = _watch(age)
    measured = Measured(perf_counter() - began, _cpu(resource.RUSAGE_CHILDREN) - cpu, memory)
    if age.returncode != 0:
        raise subprocess.CalledProcessError(age.returncode, age.args)
    _clear(work / "out")
    return measured


def _age_each(work: Path, recipient: str) -> Measured:
    (work / "out").mkdir()
    images = list(_images(work))
    began, cpu = perf_counter(), _cpu(resource.RUSAGE_CHILDREN)
    for path in images:
        subprocess.run(["age", "-r", recipient, "-o", work / "out" / path.name, path], check=True)
    measured = Measured(perf_counter() - began, _cpu(resource.RUSAGE_CHILDREN) - cpu, None)
    _clear(work / "out")
    return measured


def _cpu(whose: int) -> float:
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def _watch(process: "subprocess.Popen[bytes]") -> int | None:
    """Return the most memory that `process` held until it ended, in KiB.

    Its resource usage cannot say: there, a child begins with what the parent that forked it held.
    """
    most = None
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if held := re.search(r"VmHWM:\s+(\d+) kB", status):
            most = int(held[1])
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    return most


if __name__ == "__main__":
    what, work = sys.argv[1], Path(sys.argv[2])
    (work / "out").mkdir()
    turn = _OWN[what](work)
    began, cpu = perf_counter(), _cpu(resource.RUSAGE_SELF)
    turn()
    seconds, cpu_seconds = perf_counter() - began, _cpu(resource.RUSAGE_SELF) - cpu
    memory = memory_of(os.getpid())  # its resource usage would begin with what the parent held that forked it
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "max_rss_kib": memory}))
