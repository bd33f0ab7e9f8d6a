"""An export holds everything that the vault does not have, under the host's signature, and takes nothing away."""

import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edge_agent.database import DatabaseUnavailable, ReadingDatabase
from edge_agent.moving.folder import LIST, MANIFEST, ExportExists, ExportUnwritable, NewExport
from edge_agent.moving.listing import Listing
from edge_agent.moving.manifest import Left, LeftObject, verify_manifest
from edge_agent.moving.spools import HostSpool, Undelivered
from shared.audit.batch import Batch, ChainHead, verify_batch
from shared.audit.events import Action, Event, Happening, Outcome
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from tests.edge_agent.moving.carrying import (
    Carrier,
    batch_files,
    digests,
    everything,
    object_files,
    parts,
)

STARTED = Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in everything(folder / "spool")}


def test_every_object_that_waits_is_there_byte_for_byte_and_in_order(old: Carrier, stick: Path) -> None:
    captured = [old.capture(bytes([n]) * 700_000 * n) for n in range(4)]
    assert len(old.host.files()) == 2, "some lie in a segment, and some are files of their own"

    exported = old.export(stick)

    found = object_files(stick)
    assert list(found) == captured
    assert [path.read_bytes() for path in found.values()] == list(old.files().values())
    assert (exported.manifest.objects, exported.left) == (4, ())
    assert exported.manifest.object_bytes == sum(path.stat().st_size for path in found.values())


def test_what_was_put_aside_comes_too_and_what_the_vault_has_does_not(old: Carrier, stick: Path) -> None:
    delivered, put_aside, waiting = (old.capture(bytes([n])) for n in range(3))
    spooled = {one.object_id: one for one in old.host.spool.everything()}
    old.host.captures.receipts.keep(Receipt(delivered, bytes(32), old.host.clock.now()), b"signed")
    old.host.spool.put_aside(spooled[put_aside], "the vault would not take it")

    old.export(stick)

    assert list(object_files(stick)) == [waiting, put_aside]


def test_what_stayed_for_an_archive_comes_where_the_vault_may_have_lost_it(old: Carrier, stick: Path) -> None:
    held, doubted = old.capture(b"\x01"), old.capture(b"\x02")
    receipts = old.host.captures.receipts
    with old.host.database.transaction() as connection:
        for spooled in old.host.spool.everything():
            receipts.keep(Receipt(spooled.object_id, bytes(32), old.host.clock.now()), b"signed")
            old.host.spool.keep_owed(connection, spooled)
    receipts.doubt([str(doubted)])

    old.export(stick)

    assert held not in object_files(stick)
    assert list(object_files(stick)) == [doubted]


def test_the_manifest_is_signed_and_its_lists_name_every_file(old: Carrier, stick: Path) -> None:
    old.capture()

    exported = old.export(stick)

    assert verify_manifest((stick / MANIFEST).read_bytes(), old.host.signer.public) == exported.manifest
    assert exported.manifest.parts == digests(stick)
    for folder, part in parts(stick):
        listed = {one.name: (one.size_bytes, one.sha256) for one in part.objects}
        listed |= {one.name: (one.size_bytes, one.sha256) for one in part.batches}
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LIST}
        assert {name: (len(data), sha256(data).digest()) for name, data in found.items()} == listed


def test_the_unsent_records_come_as_they_would_be_sent_and_the_record_of_the_export_is_the_last(
    old: Carrier, stick: Path
) -> None:
    for n in range(3):
        old.capture(bytes([n]))
    old.host.journal.acknowledge(2)

    exported = old.export(stick)

    (file,) = batch_files(stick)
    records = verify_batch(Batch.parse(file.read_bytes()), str(old.host_id), old.host.signer.public)
    assert [record.seq for record in records] == [3, 4, 5]
    assert [record.event for record in records[1:]] == [Event.SPOOL_EXPORT_BEGUN, Event.SPOOL_EXPORTED]
    assert records[1].what == records[2].what
    last = records[-1]
    assert (last.event, last.outcome) == (Event.SPOOL_EXPORTED, Outcome.SUCCESS)
    assert [what.name for what in last.what] == [str(exported.manifest.export_id)]
    assert last.reason.startswith("3 objects of ")
    assert exported.manifest.head == ChainHead(5, Batch.parse(file.read_bytes()).records[-1].leaf)
    assert old.host.journal.head() == exported.manifest.head


def test_a_long_journal_comes_in_batches_that_continue_each_other(old: Carrier, stick: Path) -> None:
    with old.host.database.transaction():
        for _ in range(1100):
            old.host.journal.record(STARTED)

    exported = old.export(stick)

    head = ChainHead()
    for file in batch_files(stick):
        batch = Batch.parse(file.read_bytes())
        records = verify_batch(batch, str(old.host_id), old.host.signer.public)
        assert (records[0].seq, records[0].prev) == (head.seq + 1, head.leaf)
        head = ChainHead(records[-1].seq, batch.records[-1].leaf)
    assert head == exported.manifest.head
    assert (exported.records, len(batch_files(stick))) == (1102, 3)


def test_nothing_changes_on_the_host_but_two_records(old: Carrier, stick: Path) -> None:
    old.capture()
    before, records = everything_in(old.folder), old.host.records()

    old.export(stick)

    assert everything_in(old.folder) == before
    assert old.host.records()[:-2] == records
    assert old.host.events()[-2:] == [Event.SPOOL_EXPORT_BEGUN, Event.SPOOL_EXPORTED]


def test_that_it_begins_is_on_the_disk_before_anything_is_on_the_stick(old: Carrier, stick: Path) -> None:
    on_disk = list[str]()

    class Looking(NewExport):
        def write(self, name: str, pieces: Iterable[bytes]) -> None:
            with closing(ReadingDatabase(old.folder / "agent.sqlite")) as database:
                on_disk.append(database.read("SELECT event FROM record ORDER BY seq DESC LIMIT 1")[0][0])
            super().write(name, pieces)

    old.capture()
    old.export(Looking(stick))

    assert on_disk[0] == Event.SPOOL_EXPORT_BEGUN.value
    assert {path.name for path in everything(stick)} >= {"certificates.pem", MANIFEST}


def test_an_export_that_cannot_be_recorded_does_not_begin(old: Carrier, stick: Path) -> None:
    old.capture()
    old.host.fill(STARTED)

    with pytest.raises(DatabaseUnavailable):
        old.export(stick)
    assert not stick.exists()


def test_an_export_is_never_written_over_another_and_may_be_made_again_elsewhere(old: Carrier, stick: Path) -> None:
    old.capture()
    old.export(stick)
    before = {path: path.read_bytes() for path in everything(stick)}

    with pytest.raises(ExportExists):
        old.export(stick)
    again = old.export(stick.with_name("another stick"))

    assert {path: path.read_bytes() for path in everything(stick)} == before
    assert again.manifest.objects == 1


def test_only_its_owner_reads_an_export(old: Carrier, stick: Path) -> None:
    old.capture()
    old.export(stick)

    assert [path for path in (stick, *stick.rglob("*")) if path.stat().st_mode & 0o077] == []


class FullStick(NewExport):
    """A stick with room for so many bytes."""

    room = 0

    def _put(self, descriptor: int, piece: bytes) -> None:
        self.room -= len(piece)
        if self.room < 0:
            raise self._unwritable(OSError(errno.ENOSPC, "no space"))
        super()._put(descriptor, piece)


@pytest.mark.parametrize("room", [0, 100, 1_000, 10_000, 34_500])
def test_a_full_stick_leaves_no_half_of_an_export_and_is_recorded(old: Carrier, stick: Path, room: int) -> None:
    old.capture(bytes(30_000))
    target = FullStick(stick)
    target.room = room

    with pytest.raises(ExportUnwritable, match="No space left"):
        old.export(target)
    assert not stick.exists()
    last = old.host.records()[-1]
    assert (last.event, last.outcome) == (Event.SPOOL_EXPORTED, Outcome.MINOR_FAILURE)
    assert old.host.spool.waiting() == 1


def test_an_export_that_fails_at_its_very_end_is_recorded_as_failed_after_all(old: Carrier, stick: Path) -> None:
    class GivesUp(NewExport):
        def finish(self, manifest: bytes) -> None:
            raise self._unwritable(OSError(errno.EIO, "io"))

    old.capture()
    with pytest.raises(ExportUnwritable):
        old.export(GivesUp(stick))

    assert [record.outcome for record in old.host.records()[-2:]] == [Outcome.SUCCESS, Outcome.MINOR_FAILURE]
    assert not stick.exists()
    before = old.host.events()
    old.start_again()
    assert old.host.events() == before, "it has its outcome"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_export_that_ends_in_a_way_that_nobody_foresaw_is_recorded_as_failed(
    old: Carrier, stick: Path, stop: type[BaseException]
) -> None:
    class Stopped(NewExport):
        def _put(self, descriptor: int, piece: bytes) -> None:
            raise stop("DOE^JANE")

    old.capture()
    with pytest.raises(stop):
        old.export(Stopped(stick))

    last = old.host.records()[-1]
    assert (last.event, last.outcome, last.reason) == (Event.SPOOL_EXPORTED, Outcome.SERIOUS_FAILURE, stop.__name__)
    assert not stick.exists()


@pytest.mark.parametrize("size", [2000, 2 << 20], ids=["in a segment", "in a file"])
@pytest.mark.parametrize("which", ["binding", "body", "record"])
def test_an_object_that_rotted_on_the_disk_is_named_and_the_others_come(
    old: Carrier, stick: Path, which: str, size: int
) -> None:
    good, bad, also_good = (old.capture(bytes([n]) * size) for n in range(3))
    old.rot(bad, which)

    exported = old.export(stick)

    assert exported.left == (LeftObject(bad, Left.DAMAGED),)
    assert exported.manifest.left == 1
    assert [part.left for _, part in parts(stick)] == [exported.left]
    assert list(object_files(stick)) == [good, also_good]
    assert not list(stick.rglob(f"*{bad}"))


def test_what_only_the_vault_can_judge_comes_as_it_lies(old: Carrier, stick: Path) -> None:
    captured = old.capture(bytes(2000))
    sealed = old.files()[str(captured)]
    old.rot(captured, "wrap")

    old.export(stick)

    assert object_files(stick)[captured].read_bytes() == old.files()[str(captured)] != sealed


class Dying(io.RawIOBase):
    """A file with a part that the disk does not give any more."""

    def __init__(self, whole: bytes) -> None:
        super().__init__()
        self._whole = io.BytesIO(whole)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._whole.seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        at = self._whole.tell()
        if at < 200_000 and min(at + len(buffer), len(self._whole.getbuffer())) > 100_000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._whole.readinto(buffer)


class BadSectors(HostSpool):
    def undelivered(self) -> Iterator[Undelivered]:
        return (replace(one, open=self._dying(one)) for one in super().undelivered())

    def _dying(self, one: Undelivered) -> Callable[[], io.BufferedReader]:
        def dying() -> io.BufferedReader:
            with one.open() as file:
                return io.BufferedReader(Dying(file.read()))

        return dying


def test_an_object_that_the_disk_does_not_give_is_named_and_the_others_come(old: Carrier, stick: Path) -> None:
    good, bad, also_good = (old.capture(bytes(size)) for size in (10, 300_000, 20))

    exported = old.export(stick, spool=BadSectors(old.host.spool, old.host.database))

    assert exported.left == (LeftObject(bad, Left.UNREADABLE),)
    assert list(object_files(stick)) == [good, also_good]
    assert not list(stick.rglob(f"*{bad}"))


def test_a_large_spool_is_listed_in_parts_that_a_stick_and_a_memory_can_take(stick: Path) -> None:
    target = NewExport(stick)
    listing = Listing(target)
    left = [LeftObject(ObjectId(number.to_bytes(16)), Left.DAMAGED) for number in range(2001)]
    for one in left:
        listing.leave(one)
    listing.close()

    assert [len(part) for _, part in parts(stick)] == [1000, 1000, 1]
    assert [one for _, part in parts(stick) for one in part.left] == left
    assert tuple(listing.digests) == digests(stick)
