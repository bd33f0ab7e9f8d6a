"""Preflight on machines that are folders: what is said of a fit one, and once something is amiss."""

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.host_watch.observations import KernelClock, Place, Space
from provisioning.__main__ import main
from provisioning.finding import Finding, Verdict
from provisioning.handover.words import check_zh
from provisioning.preflight import network
from provisioning.preflight.evaluate import ADVISED, Preflight, evaluate
from provisioning.preflight.facts import CentreClock, Disks, Facts, Network, Port, Reached
from provisioning.preflight.machine import Machine
from provisioning.site import Peer, Site
from tests.fakes.ports import free_port
from tests.provisioning.preflight.tree import KERNEL, machine_tree

SITE = Site("https://centre.example:8441", "CT 2", guard=True, peers=(Peer("CT1", "10.1.2.9", 104),))
NOW = datetime(2026, 11, 30, 8, tzinfo=UTC)
REACHED = Network(
    Port(), None, Reached("centre.example:8441"), Reached("centre.example:8442"), Reached("centre.example:8883"),
    (Reached("CT1@10.1.2.9:104"),), CentreClock(NOW, NOW),
)  # fmt: skip
KEPT = KernelClock(is_synchronised=True, offset_us=10, estimated_error_us=100, max_error_us=4000)
ROOMY = Space("/var/lib", 64 << 30)


def facts(root: Path) -> Facts:
    machine = Machine(root)
    disks = replace(machine.disks(), space=ROOMY)
    return Facts(machine.system(), machine.memory(), machine.usb(), machine.tpm(), disks, KEPT, "", REACHED)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    machine_tree(tmp_path)
    return tmp_path


def found(judged: Preflight, check: str) -> Finding:
    (finding,) = (one for one in judged.findings if one.check == check)
    return finding


def test_a_fit_machine_passes_everything_and_is_ready(root: Path) -> None:
    judged = evaluate(SITE, facts(root))

    assert [one for one in judged.findings if one.verdict is not Verdict.PASS] == []
    assert judged.is_ready
    assert found(judged, "disk-encryption").reason.endswith("encrypted disk (ext4 on 253:0)")
    assert found(judged, "time-zone").reason == "Asia/Shanghai"


def _pinned(root: Path) -> None:
    (root / "sys/module/usbcore/parameters/authorized_default").write_text("0\n")


def _removed(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def _written(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


@pytest.mark.parametrize(
    "check, amiss, verdict",
    [
        ("kernel", _written("proc/sys/kernel/osrelease", "5.10.0-30-amd64\n"), Verdict.FAIL),
        ("kernel", _written("proc/sys/kernel/osrelease", "strange\n"), Verdict.NOT_EVALUATED),
        ("udev", _removed("run/udev/control"), Verdict.FAIL),
        ("systemd", _removed("usr/lib/systemd/libsystemd-shared-252.so"), Verdict.FAIL),
        ("systemd", lambda root: (root / "run/systemd/system").rmdir(), Verdict.FAIL),
        ("cgroup-v2", _removed("sys/fs/cgroup/cgroup.controllers"), Verdict.FAIL),
        ("cgroup-bpf", _removed(f"boot/config-{KERNEL}"), Verdict.NOT_EVALUATED),
        ("cgroup-bpf", _written(f"boot/config-{KERNEL}", "# CONFIG_CGROUP_BPF is not set\n"), Verdict.FAIL),
        ("boot-parameter", _pinned, Verdict.FAIL),
        ("boot-parameter", _removed("sys/module/usbcore/parameters/authorized_default"), Verdict.NOT_EVALUATED),
        ("disk-encryption", _removed("sys/dev/block/253:0/dm/uuid"), Verdict.FAIL),
        ("disk-encryption", _written("proc/self/mountinfo", "29 1 0:42 / / rw - overlay none rw\n"),
         Verdict.NOT_EVALUATED),
        ("free-space", _written("proc/self/mountinfo", "29 1 0:42 / / rw - tmpfs none rw\n"), Verdict.FAIL),
        ("free-space", _written("proc/self/mountinfo", "29 1 0:42 / / rw - overlay none rw,upperdir=/run/rw\n"
                                "30 29 0:43 / /run rw - tmpfs none rw\n"), Verdict.FAIL),
        ("swap-encryption", _removed("proc/swaps"), Verdict.NOT_EVALUATED),
        ("swap-encryption", _written("proc/swaps", "Filename\n/nowhere/swap file 1 0 -2\n"), Verdict.NOT_EVALUATED),
        ("memory", _written("proc/meminfo", "MemTotal: 512000 kB\nMemAvailable: 400000 kB\n"), Verdict.FAIL),
        ("memory", _removed("proc/meminfo"), Verdict.NOT_EVALUATED),
        ("tpm", _removed("sys/class/tpm/tpm0/tpm_version_major"), Verdict.FAIL),
        ("tpm", _written("sys/class/tpm/tpm0/tpm_version_major", "1\n"), Verdict.FAIL),
        ("tpm", _removed("dev/tpmrm0"), Verdict.FAIL),
        ("tpm-account", _written("etc/group", "tss:x:113:\n"), Verdict.FAIL),
        ("tpm-account", _written("etc/passwd", "root:x:0:0::/:\n"), Verdict.NOT_EVALUATED),
        ("time-zone", _removed("etc/timezone"), Verdict.NOT_EVALUATED),
    ],
)  # fmt: skip
def test_what_is_amiss_with_the_machine_is_found_with_what_to_do(
    root: Path, check: str, amiss: Callable[[Path], object], verdict: Verdict
) -> None:
    amiss(root)
    judged = evaluate(SITE, facts(root))

    assert found(judged, check).verdict is verdict
    assert verdict is Verdict.NOT_EVALUATED or found(judged, check).fix
    assert judged.is_ready is (check in ADVISED)


@pytest.mark.parametrize(
    "check, seen, verdict",
    [
        ("dicom-port", replace(REACHED, dicom=Port("storescp (process 7)")), Verdict.FAIL),
        ("dicom-port", replace(REACHED, dicom=Port("leadglass-agent", is_ours=True)), Verdict.PASS),
        ("dicom-port", replace(REACHED, dicom=Port(only_root=True)), Verdict.FAIL),
        ("dicom-port", replace(REACHED, dicom=Port(why="Cannot assign requested address")), Verdict.FAIL),
        ("centre-enrolment", replace(REACHED, enrolment=Reached("x", "No route to host")), Verdict.FAIL),
        ("centre-hosts", replace(REACHED, hosts=Reached("x", "timed out")), Verdict.FAIL),
        ("centre-broker", replace(REACHED, broker=Reached("x", "timed out")), Verdict.FAIL),
        ("dicom-echo-1", replace(REACHED, echoes=(Reached("CT1@x:104", "called AE title"),)), Verdict.FAIL),
        ("clock-offset", replace(REACHED, centre_clock=CentreClock(NOW, NOW - timedelta(seconds=45))), Verdict.FAIL),
        ("clock-offset", replace(REACHED, centre_clock=CentreClock(NOW, NOW - timedelta(seconds=20))), Verdict.PASS),
        ("clock-offset", replace(REACHED, centre_clock=CentreClock(None, unseen="no")), Verdict.NOT_EVALUATED),
    ],
)
def test_what_cannot_be_reached_is_found(root: Path, check: str, seen: Network, verdict: Verdict) -> None:
    judged = evaluate(SITE, replace(facts(root), network=seen))

    assert found(judged, check).verdict is verdict
    assert judged.is_ready is (verdict is Verdict.PASS or check in ADVISED)


def test_a_disk_that_is_too_small_for_a_day_and_a_clock_that_nobody_keeps_are_found(root: Path) -> None:
    seen = facts(root)
    small = evaluate(SITE, replace(seen, disks=replace(seen.disks, space=Space("/var/lib", 19 << 30))))
    unkept = evaluate(SITE, replace(seen, clock=replace(KEPT, is_synchronised=False)))

    assert found(small, "free-space").reason == "19 GiB free at /var/lib; a day needs 20"
    assert not small.is_ready
    assert found(unkept, "clock-kept").verdict is Verdict.FAIL
    assert unkept.is_ready


def test_every_check_has_a_name_in_both_languages_of_the_report(root: Path) -> None:
    of_visit = ("files", "settings", "services", "identity", "code", "console-1", "console", "policy-root", "denial")
    of_preflight = (one.check for one in evaluate(replace(SITE, sidecar=True), facts(root)).findings)

    assert not [check for check in (*of_preflight, *of_visit) if not check_zh(check)]


def test_of_several_swaps_the_worst_counts(root: Path) -> None:
    seen = facts(root)
    swaps = (Place("/dev/dm-1", "encrypted disk"), Place("/swap", "plain disk"), Place("/dev/zram0", "memory"))
    judged = evaluate(SITE, replace(seen, disks=Disks(seen.disks.spool, swaps, "", ROOMY)))

    assert found(judged, "swap-encryption").verdict is Verdict.FAIL


def test_a_box_beside_the_modality_never_says_that_the_modality_is_fine(root: Path) -> None:
    beside = evaluate(replace(SITE, sidecar=True, dicom_host="10.1.2.3"), facts(root))
    on_it = evaluate(SITE, facts(root))

    for check in ("modality-ports", "modality-disks"):
        assert found(beside, check).verdict is Verdict.NOT_EVALUATED
        assert check not in {one.check for one in on_it.findings}
    assert beside.is_ready
    assert "--dicom-host" in found(evaluate(replace(SITE, sidecar=True), facts(root)), "dicom-port").fix


def test_without_the_guard_an_older_kernel_will_do_and_nothing_is_said_of_usb(root: Path) -> None:
    (root / "proc/sys/kernel/osrelease").write_text("5.10.0-30-amd64\n")
    judged = evaluate(replace(SITE, guard=False), facts(root))

    assert found(judged, "kernel").verdict is Verdict.PASS
    assert not {"udev", "boot-parameter"} & {one.check for one in judged.findings}


# ---- the network, as it is


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", port := free_port())):
        yield port


def test_a_port_is_free_or_taken_by_somebody_or_not_ours_to_listen_on(taken: int) -> None:
    assert network.own_port("127.0.0.1", free_port()) == Port()
    assert "process" in network.own_port("127.0.0.1", taken).taken_by
    assert network.own_port("192.0.2.1", free_port()).why
    assert network.own_port("127.0.0.1", 613).only_root


@pytest.mark.parametrize(
    "line, ours",
    [
        ("/opt/leadglass/bin/python -I -m edge_agent run --config /etc/leadglass/agent.toml", True),
        ("/usr/bin/python3 /opt/leadglass/bin/leadglass-agent run", True),
        ("storescp --log /var/log/leadglass-agent 11112", False),
        ("/usr/bin/python3 -m http.server 11112", False),
    ],
)
def test_our_agent_is_known_by_how_it_is_started(line: str, ours: bool) -> None:
    assert network.is_agent(line.split()) is ours


def test_nobody_answers_at_a_free_port(taken: int) -> None:
    assert network.reach("127.0.0.1", taken).why == ""
    assert "refused" in network.reach("127.0.0.1", free_port()).why
    assert "refused" in network.echo(Peer("CT1", "127.0.0.1", free_port()), "LEADGLASS").why


def test_exit_code_and_json_say_whether_a_machine_is_ready(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--root", str(root), "--url", f"https://127.0.0.1:{free_port()}", "--dicom-port", str(free_port())]

    assert main(["preflight", *options, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["v"], said["ready"]) == (1, False)
    assert {"check": "kernel", "verdict": "pass"}.items() <= said["findings"][0].items()
    assert "centre-enrolment" in said["needed"]
    assert main(["preflight", *options]) == 1
    needed, advised = capsys.readouterr().out.split("\nadvised:\n")
    assert "centre-enrolment" in needed
    assert "disk-encryption" in advised
