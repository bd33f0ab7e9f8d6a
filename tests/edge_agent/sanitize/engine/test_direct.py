"""What a drive promises, held by the drive in memory and by block devices and files of this machine alike."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.sanitize.engine.device import Device
from edge_agent.sanitize.engine.direct import NotOpened, NotThere, buffers, open_drive, whole
from tests.edge_agent.sanitize.engine.loops import loop_device, number
from tests.fakes.drive import MemoryDrive

SIZE = 64 << 10


@pytest.fixture(params=["memory", "loop", "loop of 4096", "file"])
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Device]:
    file = tmp_path / "drive"
    if request.param == "memory":
        yield MemoryDrive(SIZE)
    elif request.param == "file":
        file.write_bytes(b"PATIENT." * (SIZE // 8))
        try:
            with open_drive(file, None) as opened:
                yield opened
        except NotOpened as exc:
            pytest.skip(str(exc))
    else:
        sector = 4096 if "4096" in request.param else 512
        with loop_device(file, SIZE, sector) as node, open_drive(node, number(node)) as opened:
            yield opened


def test_what_was_written_is_read_and_nothing_beside_it_changed(drive: Device) -> None:
    sector = drive.sector_bytes
    ours, found = buffers(2, SIZE)
    ours[: 2 * sector] = b"x" * (2 * sector)
    drive.write(sector, ours[: 2 * sector])
    drive.flush()
    drive.read(0, found)

    assert drive.size_bytes == SIZE
    assert found[sector : 3 * sector] == b"x" * (2 * sector)
    assert found[:sector] == b"PATIENT." * (sector // 8)
    assert found[3 * sector :] == b"PATIENT." * ((SIZE - 3 * sector) // 8)


def test_the_sector_is_the_drive_s_own(tmp_path: Path) -> None:
    with loop_device(tmp_path / "drive", SIZE, 4096) as node, open_drive(node, number(node)) as drive:
        assert (drive.size_bytes, drive.sector_bytes) == (SIZE, 4096)
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            drive.read(0, buffers(1, 4096)[0][:512])


def test_reads_come_from_the_drive_and_not_from_what_this_machine_remembers(tmp_path: Path) -> None:
    with (
        loop_device(tmp_path / "below", SIZE) as node,
        open_drive(node, number(node)) as drive,
        node.open("rb") as cached,
    ):
        cached.read(8)
        with (tmp_path / "below").open("r+b") as below:
            below.write(b"CHANGED!")
        found = buffers(1, 512)[0]
        drive.read(0, found)

        assert bytes(found[:8]) == b"CHANGED!"
        cached.seek(0)
        assert cached.read(8) == b"PATIENT."  # control: through the page cache it is overlooked


def test_a_drive_in_use_is_not_opened(tmp_path: Path) -> None:
    with loop_device(tmp_path / "drive", 8 << 20) as node:
        subprocess.run(["mke2fs", "-q", "-F", node], check=True)
        (tmp_path / "mounted").mkdir()
        subprocess.run(["mount", node, tmp_path / "mounted"], check=True)
        try:
            with pytest.raises(NotOpened, match="in use"), open_drive(node, number(node)):
                pass
        finally:
            subprocess.run(["umount", tmp_path / "mounted"], check=True)


def test_while_it_is_wiped_nobody_mounts_it(tmp_path: Path) -> None:
    with loop_device(tmp_path / "drive", 8 << 20) as node:
        subprocess.run(["mke2fs", "-q", "-F", node], check=True)
        (tmp_path / "mounted").mkdir()
        with open_drive(node, number(node)):
            mounted = subprocess.run(["mount", node, tmp_path / "mounted"], capture_output=True, check=False)

            assert mounted.returncode != 0


def test_another_drive_under_the_same_name_is_not_opened(tmp_path: Path) -> None:
    with loop_device(tmp_path / "drive", SIZE) as node:
        with pytest.raises(NotOpened, match="may have come in its place"), open_drive(node, "8:16"):
            pass
        with pytest.raises(NotOpened, match="may have come in its place"), open_drive(tmp_path / "drive", number(node)):
            pass


def test_a_drive_that_came_in_the_place_of_another_after_it_was_looked_at_is_not_opened(tmp_path: Path) -> None:
    with loop_device(tmp_path / "drive", SIZE) as node:
        sequence = Path("/sys/block", node.name, "diskseq").read_text().strip()
        with open_drive(node, number(node), sequence):
            pass
        (tmp_path / "another").write_bytes(b"ANOTHER." * (SIZE // 8))
        subprocess.run(["losetup", "--detach", node], check=True)
        subprocess.run(["losetup", node, tmp_path / "another"], check=True)

        with pytest.raises(NotOpened, match="may have come in its place"), open_drive(node, number(node), sequence):
            pass
        with open_drive(node, number(node)):  # control: name and number are those of before
            pass


def test_a_drive_that_shrinks_is_told_from_one_with_bad_sectors(tmp_path: Path) -> None:
    file, piece = tmp_path / "drive", buffers(1, 512)[0]
    with loop_device(file, SIZE) as node, open_drive(node, number(node)) as drive:
        os.truncate(file, SIZE - 4096)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            drive.read(SIZE - 512, piece)
        subprocess.run(["losetup", "--set-capacity", node], check=True)
        for asked in (drive.read, drive.write):
            with pytest.raises(OSError, match="nothing is left of it") as caught:
                asked(SIZE - 512, piece)
            assert caught.value.errno == errno.ENXIO


def test_a_read_only_drive_a_file_of_odd_size_and_none_at_all_are_not_opened(tmp_path: Path) -> None:
    with loop_device(tmp_path / "drive", SIZE) as node:
        subprocess.run(["blockdev", "--setro", node], check=True)
        try:
            with pytest.raises(NotOpened, match="read-only"), open_drive(node, number(node)):
                pass
        finally:
            subprocess.run(["blockdev", "--setrw", node], check=True)
    (tmp_path / "odd").write_bytes(b"x" * 1000)
    with pytest.raises(NotOpened), open_drive(tmp_path / "odd", None):
        pass
    with pytest.raises(NotThere, match="connected"), open_drive(tmp_path / "none", None):
        pass


# ---- a transfer that ends early


def taking(*sizes: int) -> tuple[Callable[[memoryview, int], int], list[tuple[int, int]]]:
    """Return a transfer that takes so much each time, and what it was asked for."""
    asked: list[tuple[int, int]] = []

    def transfer(piece: memoryview, at: int) -> int:
        asked.append((at, len(piece)))
        return sizes[len(asked) - 1]

    return transfer, asked


def test_a_transfer_that_ends_early_goes_on_at_the_sector_where_it_ended() -> None:
    transfer, asked = taking(1024, 700, 1536)
    whole(transfer, 8192, memoryview(bytes(3072)), 512)

    assert asked == [(8192, 3072), (9216, 2048), (9728, 1536)]


@pytest.mark.parametrize("taken", [0, 511])
def test_a_drive_that_takes_nothing_is_not_asked_for_ever(taken: int) -> None:
    transfer, _ = taking(512, taken)
    with pytest.raises(OSError, match="took no part"):
        whole(transfer, 0, memoryview(bytes(1024)), 512)
