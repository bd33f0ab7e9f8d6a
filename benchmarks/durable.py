"""Images made unreadable and durable on a disk, against the tools that people use for it.

Ours takes images in as an agent does, but for the network: sealed, synced, and entered in the journal. The others as
they are shipped: `restic` packs (and syncs its packs), `rclone crypt` copies and syncs nothing, `gocryptfs` is
written to with an fsync for each file, `age` runs once for each file with an fsync behind it.
"""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.measure import Contender, Measured, PeerMissing, Result, cpu, take_turns
from benchmarks.sealing import IMAGE_BYTES, age_recipient, make_images, measure_own

_LARGE_BYTES = 512 << 20
_PASSWORD = "benchmark"  # noqa: S105  protects random bytes that live for minutes
_PROGRAMS = ("age", "age-keygen", "restic", "rclone", "gocryptfs", "fusermount")


def run(*, rounds: int, images: int, folder: Path | None) -> tuple[Result, ...]:
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            raise PeerMissing(f"{program} is not installed (Debian packages age, restic, rclone, gocryptfs, fuse3)")
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as name:
        work = Path(name)
        recipient = age_recipient(work / "age.key")
        return (_many(work, recipient, rounds, images), _large(work, recipient, rounds))


def _many(work: Path, recipient: str, rounds: int, images: int) -> Result:
    make_images(work / "in", images)
    contenders = [
        Contender("Leadglass", "sealed, signed, synced, recorded", lambda: measure_own(work, "capture")),
        Contender("Leadglass, two threads", "the same, two at a time", lambda: measure_own(work, "capture-on-two")),
        Contender(
            "Leadglass, two threads, none in stock",
            "the same, each encapsulation made when its image comes",
            lambda: measure_own(work, "capture-out-of-stock-on-two"),
        ),
        Contender("restic", "backup into a new repository", partial(_restic, work)),
        Contender("rclone crypt", "copied, nothing synced", partial(_rclone, work)),
        Contender("gocryptfs", "written through its mount, each synced", partial(_gocryptfs, work)),
        Contender("age", "a process for each, each synced", partial(_age_each, work, recipient)),
        Contender("age, one stream", "all as one file, synced", partial(_age_stream, work, recipient)),
    ]
    title = f"{images:,} images of 0.5 MiB, durable on disk"
    result = Result(title, cpu(), images, IMAGE_BYTES, "Leadglass", take_turns(contenders, rounds))
    shutil.rmtree(work / "in")
    return result


def _large(work: Path, recipient: str, rounds: int) -> Result:
    (work / "in").mkdir()
    with (work / "in" / "1").open("wb") as file:
        for _ in range(_LARGE_BYTES >> 20):
            file.write(os.urandom(1 << 20))
    contenders = [
        Contender("Leadglass", "sealed, signed, synced, recorded", lambda: measure_own(work, "capture")),
        Contender("age", "one file, synced", partial(_age_stream, work, recipient)),
    ]
    lines = take_turns(contenders, rounds)
    return Result("One object of 512 MiB, durable on disk", cpu(), 1, _LARGE_BYTES, "Leadglass", lines)


def _timed(work: Path, do: Callable[[Path], None]) -> Measured:
    out = work / "out"
    out.mkdir()
    try:
        began, before = perf_counter(), _cpu_of_children()
        do(out)
        return Measured(perf_counter() - began, _cpu_of_children() - before, None)
    finally:
        shutil.rmtree(out)


def _restic(work: Path) -> Measured:
    def do(out: Path) -> None:
        environment = dict(os.environ, RESTIC_PASSWORD=_PASSWORD, RESTIC_REPOSITORY=str(out))
        _run("restic", "init", "--no-cache", "--quiet", env=environment)
        _run("restic", "backup", "--no-cache", "--quiet", str(work / "in"), env=environment)

    return _timed(work, do)


def _rclone(work: Path) -> Measured:
    def do(out: Path) -> None:
        obscured = subprocess.run(["rclone", "obscure", _PASSWORD], check=True, capture_output=True, text=True).stdout
        remote = {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_SEALED_TYPE": "crypt",
            "RCLONE_CONFIG_SEALED_REMOTE": str(out),
            "RCLONE_CONFIG_SEALED_PASSWORD": obscured.strip(),
        }
        _run("rclone", "copy", "--quiet", str(work / "in"), "sealed:", env=dict(os.environ, **remote))

    return _timed(work, do)


def _gocryptfs(work: Path) -> Measured:
    def do(out: Path) -> None:
        with _mounted(out) as mount:
            for image in _images(work):
                with (mount / image.name).open("wb") as file:
                    file.write(image.read_bytes())
                    file.flush()
                    os.fsync(file.fileno())

    return _timed(work, do)


@contextmanager
def _mounted(out: Path) -> Iterator[Path]:
    cipher, mount, password = out / "cipher", out / "mount", out / "password"
    cipher.mkdir()
    mount.mkdir()
    password.write_text(_PASSWORD)
    _run("gocryptfs", "-quiet", "-nosyslog", "-init", "-passfile", str(password), str(cipher))
    _run("gocryptfs", "-quiet", "-nosyslog", "-passfile", str(password), str(cipher), str(mount))
    try:
        yield mount
    finally:
        _run("fusermount", "-u", str(mount))


def _age_each(work: Path, recipient: str) -> Measured:
    def do(out: Path) -> None:
        for image in _images(work):
            _run("age", "-r", recipient, "-o", str(out / image.name), str(image))
            _sync(out / image.name)

    return _timed(work, do)


def _age_stream(work: Path, recipient: str) -> Measured:
    def do(out: Path) -> None:
        with (
            subprocess.Popen(["cat", *map(str, _images(work))], stdout=subprocess.PIPE) as cat,
            subprocess.Popen(["age", "-r", recipient, "-o", str(out / "all")], stdin=cat.stdout) as age,
        ):
            pass
        if cat.returncode or age.returncode:
            raise subprocess.CalledProcessError(age.returncode, age.args)
        _sync(out / "all")

    return _timed(work, do)


def _images(work: Path) -> Iterator[Path]:
    yield from sorted((work / "in").iterdir())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
