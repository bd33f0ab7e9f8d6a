"""Looks at this host with real processes, real connections and the rights of nobody."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from edge_agent.export_folder.lies_on import ENCRYPTED, MEMORY, PLAIN, UNKNOWN
from edge_agent.export_folder.sysfs import MOUNTINFO
from edge_agent.host_watch import answer
from edge_agent.host_watch.adjtimex import clock, read_clock
from edge_agent.host_watch.look import look
from edge_agent.host_watch.observations import KernelClock
from edge_agent.short_lived import of_ours
from shared.devices.watch import AllowedPeer, LeastFree, WatchPolicy
from shared.errors import Malformed
from shared.fleet.devices import Finding, FindingState

ROOT = Path(__file__).resolve().parents[3]
FOUND, FINE, NOT_EVALUATED = FindingState.FOUND, FindingState.FINE, FindingState.NOT_EVALUATED
NAME = "ctconsole-test"
_CALLED = f"""
import ctypes
ctypes.CDLL(None).prctl(15, {NAME.encode()!r})
"""
# Takes the name of the modality's program, connects, and stays.
_TALKS = (
    _CALLED
    + """
import socket, struct, sys
held = []
for _ in range(int(sys.argv[2])):
    held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
    # So that thousands of them leave nothing behind when they end.
    held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
print("connected", flush=True)
sys.stdin.read()
"""
)
_LISTENS = """
import socket, struct, sys
server = socket.create_server(("127.0.0.1", 0), backlog=4096)
print(server.getsockname()[1], flush=True)
held = []
for _ in range(int(sys.argv[1])):
    held.append(server.accept()[0])
    held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
print("accepted", flush=True)
sys.stdin.read()
"""


@contextmanager
def running(*command: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def talking(connections: int = 1) -> Iterator[tuple[int, int]]:
    """Yield the pid of a process with the modality's name, and the port of loopback that it talks to."""
    with ExitStack() as stack:
        server = stack.enter_context(running(sys.executable, "-c", _LISTENS, str(connections)))
        port = int(said(server))
        client = stack.enter_context(running(sys.executable, "-c", _TALKS, str(port), str(connections)))
        assert said(client) == "connected"
        assert said(server) == "accepted"
        yield client.pid, port


def peers(*allowed: AllowedPeer) -> WatchPolicy:
    return WatchPolicy(60, processes=(NAME,), peers=allowed)


def looked(policy: WatchPolicy, *arguments: str) -> tuple[Finding, ...]:
    """Return what the child finds, run as the guard runs it."""
    command = of_ours("edge_agent.host_watch.child", *arguments)
    done = subprocess.run(command, input=policy.encode(), cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return answer.parse(done.stdout)


def computed_s() -> float:
    """Return for how long the children that have ended computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def of(check: str, findings: tuple[Finding, ...]) -> list[tuple[FindingState, str]]:
    return [(finding.state, finding.detail) for finding in findings if finding.check == check]


def test_a_process_that_talks_to_a_peer_it_may_not_is_found_with_pid_name_and_peer() -> None:
    with talking() as (pid, port):
        found = of("modality-peers", looked(peers(AllowedPeer("10.0.0.0/8"))))

    assert found == [(FOUND, f"pid {pid} {NAME} talks to 127.0.0.1 port {port} (tcp), which policy does not list")]


def test_control_the_same_connection_is_fine_once_policy_lists_its_peer() -> None:
    with talking() as (_, port):
        found = of("modality-peers", looked(peers(AllowedPeer("127.0.0.1", port))))
        another = of("modality-peers", looked(peers(AllowedPeer("127.0.0.1", port ^ 1))))

    assert found == [(FINE, "1 processes, 1 connections, all to peers that policy lists")]
    assert [state for state, _ in another] == [FOUND]


def test_who_talks_to_a_port_of_the_modality_is_found_as_incoming() -> None:
    program = _CALLED + _LISTENS
    with running(sys.executable, "-c", program, "1") as server:
        port = int(said(server))
        with socket.create_connection(("127.0.0.1", port)):
            assert said(server) == "accepted"
            found = of("modality-peers", looked(peers()))
            allowed = of("modality-peers", looked(peers(AllowedPeer("127.0.0.0/8", port))))

    assert found == [
        (FOUND, f"pid {server.pid} {NAME} is talked to on port {port} by 127.0.0.1 (tcp), which policy does not list")
    ]
    assert [state for state, _ in allowed] == [FINE]


def test_ten_thousand_connections_are_seen_and_judged() -> None:
    many = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < many + 100:
        pytest.skip(f"no more than {hard} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (many + 100, hard))
    try:
        with talking(many) as (pid, port):
            before_s = computed_s()
            found = of("modality-peers", looked(peers()))
            took_s = computed_s() - before_s
            fine = of("modality-peers", looked(peers(AllowedPeer("127.0.0.0/8", port))))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert {state for state, _ in found} == {FOUND}
    assert found[-1][1].startswith(f"and {many - 8} more; pid {pid} {NAME} talks to 127.0.0.1 port {port}")
    assert fine == [(FINE, f"1 processes, {many} connections, all to peers that policy lists")]
    assert took_s < 30


def test_a_program_named_like_a_screen_grabber_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    program = tmp_path / "grabber-of-screens"
    shutil.copy("/bin/sleep", program)

    with running(str(program), "600") as process:
        for pattern in ("grabber-of-screens", "grabber-*", str(program)):
            found = of("forbidden-programs", looked(WatchPolicy(60, forbidden=(pattern,))))
            assert (FOUND, f"pid {process.pid} grabber-of-screens ({program}) is {pattern}") in found
    assert FOUND not in {state for state, _ in of("forbidden-programs", looked(WatchPolicy(60, forbidden=("grab*",))))}


# ---- what cannot be seen

_AS_NOBODY = """
import os, sys
import shutil  # what argparse would import later, without the right to
import edge_agent.host_watch.child as child
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
sys.exit(child.main(sys.argv[1:]))
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="to look with other rights needs root")


def looked_as_nobody(policy: WatchPolicy, *before: str) -> tuple[Finding, ...]:
    command = [*before, sys.executable, "-c", _AS_NOBODY]
    done = subprocess.run(command, input=policy.encode(), cwd=ROOT, capture_output=True, check=False)
    if before and done.returncode != 0 and b"unshare" in done.stderr:
        pytest.skip("no namespaces may be made here")
    assert done.returncode == 0, done.stderr.decode()
    return answer.parse(done.stdout)


@needs_root
def test_connections_of_another_account_are_not_evaluated_and_never_fine() -> None:
    with talking() as (pid, port):
        found = of("modality-peers", looked_as_nobody(peers(AllowedPeer("127.0.0.1", port))))

    assert found == [(NOT_EVALUATED, f"pid {pid} {NAME}: its connections cannot be seen: Permission denied")]


@needs_root
def test_files_of_programs_of_another_account_are_not_evaluated() -> None:
    found = of("forbidden-programs", looked_as_nobody(WatchPolicy(60, forbidden=("/usr/bin/grabber",))))

    assert [state for state, _ in found] == [NOT_EVALUATED]
    assert "cannot be seen, only their names" in found[0][1]


_HIDDEN = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh")


@needs_root
def test_processes_that_proc_hides_are_not_evaluated() -> None:
    policy = WatchPolicy(60, processes=(NAME,), forbidden=("grabber",))
    with talking():
        found = looked_as_nobody(policy, *_HIDDEN)

    for check in ("modality-peers", "forbidden-programs"):
        assert (NOT_EVALUATED, "processes of other accounts are hidden (hidepid of /proc)") in of(check, found)
        assert FINE not in {state for state, _ in of(check, found)}


@needs_root
def test_a_process_with_a_network_of_its_own_is_not_evaluated() -> None:
    program = _CALLED + "import sys\nprint('here', flush=True)\nsys.stdin.read()"
    with running("unshare", "--net", sys.executable, "-c", program) as process:
        if said(process) != "here":
            pytest.skip("no namespaces may be made here")
        found = of("modality-peers", looked(peers()))

    assert found == [(NOT_EVALUATED, f"pid {process.pid} {NAME}: it has a network of its own (a container)")]


def test_on_a_sidecar_nothing_of_the_modality_is_evaluated() -> None:
    with talking():
        found = looked(WatchPolicy(60, processes=(NAME,), forbidden=("*",), encrypted=("/",)), "--sidecar")

    for check in ("modality-peers", "forbidden-programs", "modality-disks"):
        assert [state for state, _ in of(check, found)] == [NOT_EVALUATED]


# ---- disks, swap, space, clock


@pytest.fixture
def sys_(tmp_path: Path) -> Path:
    """Return a recorded /sys that knows the numbers of two nodes of this machine."""
    return tmp_path / "sys"


def record(sys_: Path, number: str, uuid: str = "") -> None:
    folder = sys_ / "dev" / "block" / number
    (folder / "slaves").mkdir(parents=True)
    (folder / "dm").mkdir()
    (folder / "dm" / "uuid").write_text(uuid)


def test_folders_are_judged_by_the_disk_below_them(tmp_path: Path, sys_: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        f"21 1 253:1 / / rw - ext4 /dev/x rw\n22 1 253:2 / {tmp_path}/a rw - xfs /dev/y rw\n"
        f"23 1 0:44 / {tmp_path}/b rw - btrfs /dev/z rw\n"
    )
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    record(sys_, "253:1")
    record(sys_, "253:2", "CRYPT-LUKS2-aa-b")
    names = tuple(f"{tmp_path}/{name}" for name in ("a", "b", "c", "file", "none"))

    places = look(WatchPolicy(60, encrypted=names), mountinfo=mountinfo, sys=sys_).places
    assert [(place.name, place.lies_on) for place in places] == list(
        zip(names, (ENCRYPTED, UNKNOWN, PLAIN, UNKNOWN, UNKNOWN), strict=True)
    )
    assert [place.detail for place in places][::4] == ["xfs on 253:2", "No such file or directory"]


def test_without_a_mount_table_no_folder_is_judged(tmp_path: Path) -> None:
    (place,) = look(WatchPolicy(60, encrypted=("/",)), mountinfo=tmp_path / "none").places

    assert (place.lies_on, place.detail) == (UNKNOWN, "the mount table cannot be read")


def swaps(tmp_path: Path, sys_: Path, *lines: str) -> list[tuple[str, str]]:
    table = tmp_path / "swaps"
    table.write_text("Filename\tType\tSize\tUsed\tPriority\n" + "".join(f"{line}\t8\t0\t-2\n" for line in lines))
    seen = look(WatchPolicy(60, encrypted_swap=True), swaps=table, mountinfo=MOUNTINFO, sys=sys_)
    return [(swap.name, swap.lies_on) for swap in seen.swaps]


def test_swap_is_judged_by_what_it_is_written_to(tmp_path: Path, sys_: Path) -> None:
    blocks = [path for path in Path("/dev").glob("loop[0-9]") if path.is_block_device()]
    if not blocks:
        pytest.skip("no block device node here")
    device = blocks[0].stat().st_rdev
    record(sys_, f"{os.major(device)}:{os.minor(device)}", "CRYPT-PLAIN-swap")
    file = tmp_path / "swap file"
    file.touch()

    found = dict(swaps(tmp_path, sys_, f"{blocks[0]} partition", f"{tmp_path}/swap\\040file file", "/nowhere file"))
    assert found[str(blocks[0])] == ENCRYPTED
    assert found[str(file)] in (PLAIN, UNKNOWN, MEMORY)  # whatever the folders of tests lie on
    assert found["/nowhere"] == UNKNOWN


@pytest.mark.parametrize("behind, word", [("none", MEMORY), ("/dev/sda3", UNKNOWN), (None, MEMORY)])
def test_compressed_swap_in_memory_is_memory_unless_it_is_written_back(
    tmp_path: Path, sys_: Path, behind: str | None, word: str
) -> None:
    if not Path("/dev/zram0").is_block_device():
        pytest.skip("no /dev/zram0 here")
    (sys_ / "block" / "zram0").mkdir(parents=True)
    if behind is not None:
        (sys_ / "block" / "zram0" / "backing_dev").write_text(f"{behind}\n")

    assert swaps(tmp_path, sys_, "/dev/zram0 partition") == [("/dev/zram0", word)]


def test_swap_that_cannot_be_listed_is_not_no_swap(tmp_path: Path) -> None:
    seen = look(WatchPolicy(60, encrypted_swap=True), swaps=tmp_path / "none")

    assert seen.swaps_unseen == "swap cannot be listed: No such file or directory"


def test_free_space_is_what_this_machine_has(tmp_path: Path) -> None:
    policy = WatchPolicy(60, free=(LeastFree(str(tmp_path), 1), LeastFree("/nowhere", 1)))
    here, nowhere = look(policy).spaces

    assert abs(here.free_bytes - shutil.disk_usage(tmp_path).free) < 1 << 30
    assert nowhere.unseen == "No such file or directory"


def test_the_kernel_is_asked_about_the_clock() -> None:
    said_, unseen = read_clock()

    assert said_ is not None
    assert not unseen
    assert said_.max_error_us >= 0


@pytest.mark.parametrize(
    "state, status, kept",
    [(0, 0x2001, True), (5, 0x2001, False), (0, 0x0040, False), (5, 0x0040, False), (1, 0x0001, True)],
)
def test_a_clock_is_kept_if_the_kernel_says_so_twice(state: int, status: int, kept: bool) -> None:
    offset_us = -2 if status & 0x2000 else -1500
    assert clock(state, status, -1500, 7, 9) == KernelClock(kept, offset_us, 7, 9)


# ---- the child


@pytest.mark.parametrize("given", [b"", b"{}", b'{"every_s":60,"peers":[]}', b'{"every_s": 60}', b"x" * 200_000])
def test_a_policy_that_is_none_is_refused_by_the_child(given: bytes) -> None:
    command = of_ours("edge_agent.host_watch.child")
    done = subprocess.run(command, input=given, cwd=ROOT, capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (2, b"")
    assert b"malformed" in done.stderr


def test_the_child_looks_for_nothing_that_policy_does_not_name() -> None:
    assert looked(WatchPolicy(60)) == ()


@pytest.mark.parametrize("line", [b"", b"{}", b'{"findings":[],"v":2}', b'{"findings":[{}],"v":1}', b"[" * 300_000])
def test_an_answer_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        answer.parse(line)


def test_psutil_is_in_the_child_and_not_in_the_guard() -> None:
    program = (
        "import sys, json\nimport edge_agent.host_watch.checks, edge_agent.host_watch.answer, edge_agent.media.judge\n"
        "import edge_agent.media.answer, edge_agent.media.place\n"
        "print(json.dumps([name for name in ('psutil', 'cryptography', 'pydicom', 'ssl') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []
