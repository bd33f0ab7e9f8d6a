"""Cryptographic erase of LUKS: cryptsetup destroys the key slots, then headers and key slots are overwritten whole.

What cryptsetup exits with proves nothing. What counts is that the areas read back as zeros past every cache, and that a
second look at the drive finds no LUKS header. A digest of each area as it was is kept, so that a copy that turns up
later can be told to be of this drive.
"""

import errno
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from edge_agent.media.answer import Answer
from edge_agent.media.disks import Disk
from edge_agent.media.head import Kind
from edge_agent.sanitize import sysfs
from edge_agent.sanitize.drive import Drive, Watch
from edge_agent.sanitize.drives import Look, look_in_child
from edge_agent.sanitize.engine.direct import is_drive
from edge_agent.sanitize.luks_areas import Area, all_inside, areas
from edge_agent.sanitize.programs import Run, run
from edge_agent.sanitize.sysfs import HOST, Host
from shared.clock import Clock, SystemClock
from shared.devices.printable import printable
from shared.sanitization import luks
from shared.sanitization.luks import HeaderCopies
from shared.sanitization.report import NOWHERE, Considered, Step, StepOutcome
from shared.sanitization.technique import Available, Fact, Technique

_CHUNK_BYTES = 1 << 20
_SYSFS_SECTOR = 512
_MOST_VOLUMES = 10  # each is described by five of the 64 facts of a step
_VERSION = re.compile(rb"cryptsetup [0-9.]{1,20}")
_CLOCK = SystemClock()


@dataclass(frozen=True)
class Attested:
    """What a person says; `named` are known copies, in one line."""

    copies: HeaderCopies = HeaderCopies.UNKNOWN
    from_start: bool = False
    named: str = ""


NOTHING_ATTESTED = Attested()


def considered(drive: Drive, look: Look = look_in_child) -> Considered:
    """Return whether there is a LUKS header on the drive to erase, as a look at it now says."""
    found, unread = _found(drive, look)
    if unread:
        return Considered(Technique.LUKS_ERASE, Available.UNKNOWN, f"the drive could not be read: {unread}"[:300])
    if not found:
        return Considered(Technique.LUKS_ERASE, Available.NO, "no LUKS header lies on the drive or its partitions")
    return Considered(Technique.LUKS_ERASE, Available.YES, f"LUKS headers of {len(found)} volumes lie on it")


def begin(drive: Drive, look: Look = look_in_child, run: Run = run, clock: Clock = _CLOCK) -> Step:
    """Return what is to be kept before `erase`: which areas there are, and a digest of each. Nothing is written."""
    answer = look(_disk(drive))
    found = _areas(drive, answer)
    why = answer.unread or ("" if found else "no LUKS header lies on it")
    if len(found) > _MOST_VOLUMES:
        why = f"it has {len(found)} LUKS volumes, and {_MOST_VOLUMES} at the most are erased in one step"
    facts: dict[str, Fact] = {
        luks.HEADERS: len(found),
        luks.ALL_INSIDE: answer.looked_at is not None and all_inside(answer.looked_at),
    }
    if not why:
        try:
            with _opened(drive) as device:
                for number, area in enumerate(found):
                    facts |= _described(number, area, device.digest(area))
        except OSError as exc:
            why = f"{drive.node}: {exc.strerror}"
    instant = clock.now()
    return Step(
        technique=Technique.LUKS_ERASE,
        part="",
        tool=_version(run),
        outcome=StepOutcome.REFUSED if why else StepOutcome.UNKNOWN,
        accepted=False,
        progress_seen=False,
        completed=False,
        pattern="" if why else "00",
        commitment=None,
        seed=None,
        bytes_total=sum(area.size_bytes for area in found),
        bytes_written=0,
        retries=0,
        unwritable=NOWHERE,
        resumed=0,
        started=instant,
        ended=instant if why else None,
        detail=printable(why, 300),
        facts=facts,
    )


def erase(
    noted: Step,
    drive: Drive,
    watch: Watch,
    attested: Attested = NOTHING_ATTESTED,
    *,
    look: Look = look_in_child,
    run: Run = run,
    clock: Clock = _CLOCK,
    host: Host = HOST,
) -> Step:
    """Erase every area that `begin` noted. Never raises for what the drive does."""
    if noted.outcome is StepOutcome.REFUSED:
        return noted
    done = _erase(drive, watch, _noted_areas(noted), look, run, host)
    facts: dict[str, Fact] = {
        luks.COPIES: attested.copies.value,
        luks.NAMED_COPIES: printable(attested.named, 200),
        luks.FROM_START: attested.from_start,
        luks.HEADERS_GONE: done.gone,
    }
    return replace(
        noted,
        outcome=done.outcome,
        accepted=done.written > 0,
        progress_seen=done.written > 0,
        completed=done.outcome is StepOutcome.DONE,
        bytes_written=done.written,
        ended=clock.now(),
        detail=printable(done.detail, 300),
        facts={**noted.facts, **facts},
    )


def resume(noted: Step, drive: Drive, watch: Watch, attested: Attested = NOTHING_ATTESTED) -> Step:
    """Erase anew what was noted, whatever of it is still there after an interruption."""
    return erase(replace(noted, resumed=noted.resumed + 1), drive, watch, attested)


@dataclass(frozen=True)
class _Done:
    outcome: StepOutcome
    detail: str
    written: int
    gone: int = 0


def _erase(drive: Drive, watch: Watch, noted: tuple[Area, ...], look: Look, run: Run, host: Host) -> _Done:
    written, total = 0, sum(area.size_bytes for area in noted)
    try:
        with _opened(drive) as device:
            told = [each for area in noted if (each := _destroy_slots(host, drive, area, run))]
            for area in noted:
                for taken in device.overwrite(area):
                    written += taken
                    watch.at(written, total)
                    if watch.is_stopped:
                        return _Done(StepOutcome.INTERRUPTED, "a person stopped it", written)
            gone = sum(device.is_zero(area) for area in noted)
    except OSError as exc:
        return _Done(StepOutcome.FAILED, f"{drive.node}: {exc.strerror}", written)
    left, unread = _found(drive, look)
    if left or unread:
        gone = 0
        told.append(f"the drive was not read again: {unread}" if unread else "a LUKS header is there after all")
    elif gone < len(noted):
        told.append("other bytes than were written came back")
    return _Done(StepOutcome.DONE if gone == len(noted) else StepOutcome.FAILED, "; ".join(told), written, gone)


def _found(drive: Drive, look: Look) -> tuple[tuple[Area, ...], str]:
    """Return what there is to erase, or why nobody knows."""
    answer = look(_disk(drive))
    return _areas(drive, answer), answer.unread


def _areas(drive: Drive, answer: Answer) -> tuple[Area, ...]:
    return () if answer.looked_at is None else areas(answer.looked_at, drive.medium.logical_sector_bytes)


def _disk(drive: Drive) -> Disk:
    return Disk(drive.number, drive.sequence, "")


def _version(run: Run) -> str:
    told = _VERSION.match(run(["cryptsetup", "--version"]).stdout)
    return told[0].decode() if told else "no cryptsetup"


def _described(number: int, area: Area, digest: str) -> dict[str, Fact]:
    name = f"luks_header_{number}"
    return {
        f"{name}_kind": area.kind.value,
        f"{name}_partition": area.partition,
        f"{name}_at": area.start,
        f"{name}_bytes": area.size_bytes,
        f"{name}_sha256": digest,
    }


def _noted_areas(noted: Step) -> tuple[Area, ...]:
    """Return the areas of a step that `begin` returned, also when it was kept and read again."""

    def of(number: int) -> Iterator[Fact]:
        return (noted.facts[f"luks_header_{number}_{name}"] for name in ("partition", "kind", "at", "bytes"))

    rows = (of(number) for number in range(int(noted.facts[luks.HEADERS])))
    return tuple(Area(int(partition), Kind(str(kind)), int(start), int(size)) for partition, kind, start, size in rows)


def _destroy_slots(host: Host, drive: Drive, area: Area, run: Run) -> str:
    """Have cryptsetup destroy the key slots its own way, and return what it did not do."""
    node = _node(host, drive, area)
    if node is None:
        return f"key slots of partition {area.partition}, which has no node, were overwritten only"
    ran = run(["cryptsetup", "erase", "--batch-mode", str(node)], 120.0)
    if ran.code == 0:
        return ""
    return f"key slots of {node.name} were overwritten only, for cryptsetup failed: {ran.why or f'code {ran.code}'}"


def _node(host: Host, drive: Drive, area: Area) -> Path | None:
    """Return the node that begins where the area does."""
    if not area.partition:
        return drive.node
    for each in sysfs.partitions(drive.sysfs):
        if sysfs.whole(each.folder / "start", -1) * _SYSFS_SECTOR == area.start:
            return sysfs.node(host, each.name)
    return None


class _Device:
    """A drive past the cache; what is read or written begins and ends at a sector."""

    def __init__(self, descriptor: int, buffer: mmap.mmap) -> None:
        self._descriptor, self._buffer = descriptor, buffer

    def digest(self, area: Area) -> str:
        hashed = sha256()
        for part in self._read(area):
            hashed.update(part)
        return hashed.hexdigest()

    def is_zero(self, area: Area) -> bool:
        return not any(any(part) for part in self._read(area))

    def overwrite(self, area: Area) -> Iterator[int]:
        """Write zeros, and yield how many bytes the drive took each time. Raises OSError."""
        self._buffer[:] = bytes(len(self._buffer))
        for at, size in _parts(area):
            with memoryview(self._buffer)[:size] as zeros:
                taken = os.pwrite(self._descriptor, zeros, at)
            if taken != size:
                raise OSError(errno.EIO, f"the drive took {taken} of {size} bytes at {at}")
            yield taken
        os.fsync(self._descriptor)

    def _read(self, area: Area) -> Iterator[bytes]:
        for at, size in _parts(area):
            with memoryview(self._buffer)[:size] as into:
                got = os.preadv(self._descriptor, [into], at)
            if got != size:
                raise OSError(errno.EIO, f"the drive gave {got} of {size} bytes at {at}")
            yield self._buffer[:size]


def _parts(area: Area) -> Iterator[tuple[int, int]]:
    end = area.start + area.size_bytes
    for at in range(area.start, end, _CHUNK_BYTES):
        yield at, min(_CHUNK_BYTES, end - at)


@contextmanager
def _opened(drive: Drive) -> Iterator[_Device]:
    """Have the drive for oneself, so that nothing of it is mounted or opened by its key meanwhile. Raises OSError."""
    descriptor = os.open(drive.node, os.O_RDWR | os.O_DIRECT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if not is_drive(descriptor, drive.number, drive.sequence):
            raise OSError(errno.ENODEV, "another drive may have come in its place")
        with closing(mmap.mmap(-1, _CHUNK_BYTES)) as buffer:  # begins at a page, as O_DIRECT wants it
            yield _Device(descriptor, buffer)
    finally:
        os.close(descriptor)
