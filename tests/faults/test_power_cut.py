"""A power cut at every sync point of a host at full work, judged by what a start makes of what is left."""

import mmap
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.spool import incoming, segment, segments, spool
from edge_agent.spool.entry import BLOCK_BYTES
from edge_agent.spool.segments import Place, Segments
from tests.fakes.host import Host
from tests.faults.disk import Choice, Disk, Left
from tests.faults.modality import Image
from tests.faults.ward import Known, Ward, verify_nothing_lost_by

Spoil = Callable[[pytest.MonkeyPatch], None]
_ROUNDS, _OVERTAKEN = 3, 0.3


@dataclass(frozen=True)
class Cut:
    at: str
    known: Known = field(repr=False)
    left: Left = field(repr=False)
    is_clean: bool


@dataclass(frozen=True)
class Shift:
    """A time of full work: what was sent, every moment at which the power might have gone, and how much was redone."""

    host: Host = field(repr=False)
    sent: Sequence[Image] = field(repr=False)
    cuts: Sequence[Cut] = field(repr=False)
    segments_used_again: int


def work(folder: Path, seed: int, *, images: int, large: int, spoil: Spoil = lambda _patched: None) -> Shift:
    """Do the work several times in one folder, so that later ones find segments whose objects have left.

    `spoil` replaces a part of the host.
    """
    print(f"seed {seed}")
    rng, cuts = random.Random(seed), list[Cut]()
    folder.mkdir()
    disk = Disk(folder, reorders=lambda: rng.random() < _OVERTAKEN)

    def cut(at: str) -> None:
        is_clean = at.startswith("after")
        choice = Choice(None if is_clean else rng.randrange(1 << 30))
        cuts.append(Cut(at, ward.known(), disk.left(choice), is_clean))

    with disk.watched(), pytest.MonkeyPatch.context() as patched:
        spoil(patched)
        ward = Ward(folder, seed, disk.database)
        disk.on_point = cut
        ward.write_in_advance()
        batches = [ward.images(images, large) for _ in range(_ROUNDS)]
        for batch in batches[1:]:
            ward.work(batch, unwanted=batch[1:2])
        ward.stop_short(batches[0])
        ward.host.recover()
        ward.work([])
        ward.host.database.close()
    again = [names for names in disk.names_of.values() if sum(name.startswith("0") for name in names) > 1]
    return Shift(ward.host, [sent for batch in batches for sent in batch], cuts, len(again))


def verify_all_cuts(shift: Shift, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _descriptor: None)
        for number, cut in enumerate(shift.cuts):
            place = folder / str(number)
            try:
                verify_nothing_lost_by(cut.left, cut.known, shift.sent, shift.host, place, is_clean=cut.is_clean)
            except AssertionError as exc:
                raise AssertionError(f"cut {number} of {len(shift.cuts)}, {cut.at}: {exc}") from exc
            shutil.rmtree(place)


def test_nothing_that_was_acknowledged_is_lost_wherever_the_power_goes(tmp_path: Path, looked_at: Path) -> None:
    shift = work(tmp_path / "host", seed=7, images=5, large=1)

    assert shift.segments_used_again
    verify_all_cuts(shift, looked_at)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_nothing_that_was_acknowledged_is_lost_in_many_such_shifts(tmp_path: Path, looked_at: Path, seed: int) -> None:
    verify_all_cuts(work(tmp_path / "host", seed, images=20, large=2), looked_at)


# ---- taken out, each of these turns it red


def segments_that_are_not_synced(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(segment, "_open_direct", lambda path: os.open(path, os.O_RDWR))


def files_that_are_not_synced(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(incoming, "os", SimpleNamespace(fsync=lambda _descriptor: None))


def names_of_files_that_are_not_synced(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(incoming, "sync_folder", lambda _folder: None)


def names_of_folders_that_are_not_synced(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(spool, "make_folder", lambda folder: folder.mkdir(parents=True, exist_ok=True))


def names_of_segments_that_are_not_synced(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(segments, "sync_folder", lambda _folder: None)


def commits_that_are_not_synced(patched: pytest.MonkeyPatch) -> None:
    put_in_force = Host.put_in_force

    def and_go_on_carelessly(host: Host) -> None:
        put_in_force(host)
        host.database._connection.execute("PRAGMA synchronous=NORMAL")

    patched.setattr(Host, "put_in_force", and_go_on_carelessly)


def registered_before_it_is_durable(patched: pytest.MonkeyPatch) -> None:
    """Have images acknowledged when they are written, but written only once the catalogue says that they are."""
    late, registered = list[Callable[[], None]](), Segments.registered

    def promise(its: Segments, entry: Callable[[bytes], memoryview], size: int) -> Place:
        with its._lock:
            target, offset = its._segment_with(size), its._next_offset
            its._next_offset += size
            its._uses[target.name.number].writing += 1
        copy = mmap.mmap(-1, size)
        copy[:] = entry(target.name.epoch)
        late.append(lambda: target.write(offset, memoryview(copy)))
        return Place(target.name.number, offset + BLOCK_BYTES)

    def keep_promises(its: Segments, number: int) -> None:
        while late:
            late.pop()()
        registered(its, number)

    patched.setattr(Segments, "write", promise)
    patched.setattr(Segments, "registered", keep_promises)
    patched.setattr(GroupRegistrar, "register", GroupRegistrar.register_now)


def complete_before_it_is_looked_through(patched: pytest.MonkeyPatch) -> None:
    made = Segments.__init__

    def trusting(its: Segments, *arguments: Any, **options: Any) -> None:
        made(its, *arguments, **options)
        for use in its._uses.values():
            use.known = True

    patched.setattr(Segments, "__init__", trusting)


SPOILS: dict[Spoil, str] = {
    segments_that_are_not_synced: "was acknowledged and is not recorded as captured",
    files_that_are_not_synced: "nothing was torn, and a start calls an object damaged: damaged",
    names_of_files_that_are_not_synced: (
        "nothing was torn, and a start calls an object damaged: missing|images are there twice"
    ),
    # Which one is seen first depends on whether the segment was begun before the folder's name.
    names_of_folders_that_are_not_synced: (
        "was acknowledged and is not recorded as captured|a start calls an object damaged: missing"
    ),
    names_of_segments_that_are_not_synced: "was acknowledged and is not recorded as captured",
    commits_that_are_not_synced: "was acknowledged and is not recorded as captured",
    # Which of the three is seen first depends on how the threads met.
    registered_before_it_is_durable: "images are lost|a start calls an object damaged|images are there twice",
    complete_before_it_is_looked_through: "was acknowledged and is not recorded as captured",
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_control_what_is_not_synced_in_time_is_seen(tmp_path: Path, looked_at: Path, spoil: Spoil) -> None:
    shift = work(tmp_path / "host", seed=7, images=4, large=1, spoil=spoil)

    with pytest.raises(AssertionError, match=SPOILS[spoil]):
        verify_all_cuts(shift, looked_at)
