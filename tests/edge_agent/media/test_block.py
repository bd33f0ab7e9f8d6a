"""Block devices of this machine: loop devices where they can be had, and recorded ones for what cannot be made."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.media.answer import Answer
from edge_agent.media.block import MediumUnreadable, NotThatDevice, opened, partitions
from edge_agent.media.child import NOBODY, look
from edge_agent.media.head import Kind
from edge_agent.media.judge import StorageVerdict, judge
from edge_agent.media.survey import KernelPartition
from edge_agent.short_lived import ShortLived, of_ours
from shared.devices.verdict import Access
from shared.errors import Malformed
from tests.edge_agent.media import made
from tests.edge_agent.media.made import MIB, SECTOR, image, luks2_bytes

ROOT = Path(__file__).resolve().parents[3]


def _number(node: str) -> str:
    device = Path(node).stat().st_rdev
    return f"{os.major(device)}:{os.minor(device)}"


def _loop(path: Path) -> str:
    """Return the node of a loop device on `path`, or skip where there is none to be had."""
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    done = subprocess.run(["losetup", "--find", "--show", str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[str]:
    """Yield the number of a disk that is LUKS2."""
    path = image(tmp_path, 4 * MIB)
    node = _loop(made.put(path, 0, luks2_bytes()))
    # The flag of a loop device outlives what it was attached to.
    with opened(_number(node)) as device:
        device.set_read_only(on=False)
    yield _number(node)
    with opened(_number(node)) as device:
        device.set_read_only(on=False)
    subprocess.run(["losetup", "--detach", node], check=True)


def write(number: str) -> None:
    name = (Path("/sys/dev/block") / number / "uevent").read_text().partition("DEVNAME=")[2].split()[0]
    descriptor = os.open(f"/dev/{name}", os.O_WRONLY | os.O_DSYNC)
    try:
        os.pwrite(descriptor, b"PATIENT", MIB)
    finally:
        os.close(descriptor)


def recorded(folder: Path, number: str = "8:16", devname: str = "sdb", **more: str) -> Path:
    """Return a /sys that has one disk, and partitions of it given as `sdb1="8:17 1 2048 4096"`."""
    disk = folder / "sys" / "dev" / "block" / number
    disk.mkdir(parents=True)
    (disk / "uevent").write_text(f"MAJOR=8\nMINOR=16\nDEVNAME={devname}\nDEVTYPE=disk\n")
    for name, values in more.items():
        (disk / name).mkdir()
        for file, value in zip(("dev", "partition", "start", "size"), values.split(), strict=False):
            (disk / name / file).write_text(f"{value}\n")
    return folder / "sys"


def test_reads_a_disk_and_judges_it(encrypted: str) -> None:
    answer = look(encrypted, None)

    assert answer.looked_at is not None
    assert judge(answer.looked_at).verdict is StorageVerdict.ALLOWED
    assert answer.looked_at.size_bytes == 4 * MIB
    assert answer.read_only == ((encrypted, False),)


def test_read_only_is_set_before_it_is_read_and_is_what_the_kernel_says_after(encrypted: str) -> None:
    answer = look(encrypted, Access.READ_ONLY)

    assert answer.is_read_only
    assert (Path("/sys/dev/block") / encrypted / "ro").read_text() == "1\n"
    with pytest.raises(PermissionError):
        write(encrypted)


def test_control_without_it_the_same_disk_is_written_to(encrypted: str) -> None:
    answer = look(encrypted, None)

    assert not answer.is_read_only
    write(encrypted)


def test_it_can_be_taken_back(encrypted: str) -> None:
    with opened(encrypted) as device:
        assert device.set_read_only(on=True)
        assert not device.set_read_only(on=False)
        assert device.sector_bytes == SECTOR


def test_the_child_gives_up_root_before_it_reads(encrypted: str) -> None:
    program = (
        "import os, sys\nfrom edge_agent.media import child\n"
        "def then():\n    child.give_up_rights()\n    print(*os.getresuid(), *os.getresgid(), os.getgroups())\n"
        f"answer = child.look({encrypted!r}, child.Access.READ_ONLY, before_reading=then)\n"
        "assert answer.looked_at is not None, answer\n"
        "try:\n    os.setuid(0)\nexcept PermissionError:\n    print('for good')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stdout == f"{' '.join([str(NOBODY)] * 6)} []\nfor good\n", done.stderr


def test_the_child_prints_one_line_that_reads_back(encrypted: str) -> None:
    started = subprocess.run(of_ours("edge_agent.media.child", encrypted), cwd=ROOT, capture_output=True, check=True)

    answer = Answer.parse(started.stdout)
    assert started.stdout.count(b"\n") == 1
    assert answer.looked_at is not None
    assert answer.looked_at.head.kinds == {Kind.LUKS2}


def test_a_device_that_is_not_there_is_an_answer_and_no_crash() -> None:
    answer = look("999:999", Access.READ_ONLY)

    assert (answer.looked_at, answer.read_only, answer.is_read_only) == (None, (), False)
    assert answer.unread == "999:999 is not a block device that may be opened: the kernel has no such device"
    assert Answer.parse(answer.encode()) == answer


@pytest.mark.parametrize("number", ["", "8", "8:", "sda", "8:0/../../..", "-1:0", "8:0\n", "\u0668:\u0660"])
def test_what_is_no_number_of_a_device_is_refused(number: str) -> None:
    with pytest.raises(NotThatDevice, match="expected major:minor"), opened(number):
        pass


@pytest.mark.parametrize("devname", ["../../etc/passwd", "", "a b", "mapper/x"])
def test_a_name_that_would_lead_elsewhere_is_refused(tmp_path: Path, devname: str) -> None:
    with pytest.raises(NotThatDevice, match="not one of a node"), opened("8:16", recorded(tmp_path, devname=devname)):
        pass


def test_a_node_that_is_no_block_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sdb").write_bytes(luks2_bytes())

    with pytest.raises(NotThatDevice, match="another one"), opened("8:16", recorded(tmp_path), tmp_path):
        pass


def test_a_node_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "sdb").symlink_to("/dev/null")

    with pytest.raises(MediumUnreadable), opened("8:16", recorded(tmp_path), tmp_path):
        pass


def test_a_pipe_in_place_of_a_node_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sdb")

    with pytest.raises(NotThatDevice, match="another one"), opened("8:16", recorded(tmp_path), tmp_path):
        pass


def test_a_node_of_another_device_is_refused(encrypted: str, tmp_path: Path) -> None:
    # As when one device went and the next one took its name.
    try:
        os.mknod(tmp_path / "sdb", stat.S_IFBLK | 0o600, os.makedev(*map(int, encrypted.split(":"))))
    except PermissionError:
        pytest.skip("no device nodes may be made here")

    with pytest.raises(NotThatDevice, match="another one"), opened("8:16", recorded(tmp_path), tmp_path):
        pass


def test_the_kernels_partitions_are_read_and_those_that_vanish_are_left_out(tmp_path: Path) -> None:
    sys_ = recorded(tmp_path, sdb1="8:17 1 2048 4096", sdb2="8:18 2", sdb3="8:19 x 1 1")

    assert partitions("8:16", sys_) == (("8:17", KernelPartition(1, MIB, 2 * MIB)),)


def test_nothing_is_open_afterwards(encrypted: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    look(encrypted, Access.READ_ONLY)
    look("999:999", Access.READ_ONLY)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"number":"8:0","read_only":[],"survey":null,"unread":"","v":1}',
        b'{"number":"8:0","read_only":[["8:0"]],"survey":null,"unread":"x","v":1}',
        b'{"number":"8:0","read_only":[["8:0",1]],"survey":null,"unread":"x","v":1}',
        b'{"number":"8:0","read_only":[],"survey":null,"unread":"x","v":2}',
        b'{"number":"8:0","read_only":[],"survey":{"head":[]},"unread":"","v":1}',
        b"[" * 600_000,
    ],
)
def test_an_answer_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        Answer.parse(line)


def test_the_largest_answer_is_within_its_bound(tmp_path: Path) -> None:
    path = image(tmp_path, 140 * MIB)
    made.run(f"sfdisk -q {path}", b"label: gpt\n" + b",1M\n" * 128)
    members = made.members()
    for number in range(1, 9):
        members["keyslots"][str(number)] = json.loads(json.dumps(members["keyslots"]["0"]))
        members["keyslots"][str(number)]["kdf"]["type"] = f"{number}" * 100
    for number in range(128):
        made.put(path, (1 + number) * MIB, luks2_bytes(members))

    looked_at = made.surveyed(path)
    answer = Answer("8:16", tuple((f"8:{n}", True) for n in range(129)), looked_at)
    assert len(looked_at.volumes) == 128
    assert Answer.parse(answer.encode()) == answer


def test_a_child_that_a_dying_stick_holds_is_given_up_without_a_wait() -> None:
    started = ShortLived(["sleep", "600"], most_bytes=1000, timeout_s=5, now_s=0)
    said = started.step(5)
    started._process.wait(10)

    assert said is not None
    assert said.why == "it did not answer within 5 s"
