"""What was seen of a host held against policy: nothing that could not be seen is fine."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.export_folder.lies_on import ENCRYPTED, MEMORY, MISSING, PLAIN, UNKNOWN
from edge_agent.host_watch import checks
from edge_agent.host_watch.checks import evaluate, unseen
from edge_agent.host_watch.observations import Connection, KernelClock, Observations, Place, Process, Space
from shared.devices.watch import AllowedPeer, LeastFree, WatchPolicy
from shared.fleet.devices import MAX_DETAIL_CHARS, MAX_FINDINGS, Finding, FindingState
from tests.shared.made import NOW

FOUND, FINE, NOT_EVALUATED = FindingState.FOUND, FindingState.FINE, FindingState.NOT_EVALUATED

POLICY = WatchPolicy(
    every_s=60,
    processes=("ctconsole", "/opt/ct/bin/*"),
    peers=(AllowedPeer("10.1.2.0/24", 104), AllowedPeer("10.1.3.7")),
    forbidden=("obs*", "/usr/bin/ffmpeg"),
    encrypted=("/srv/images", "/dev/sdb"),
    encrypted_swap=True,
    free=(LeastFree("/srv/images", 1000),),
    most_drift_ms=1000,
)
CONSOLE = Process(7, "ctconsole", "/opt/ct/console")
SEEN = Observations(
    processes=(Process(1, "systemd", "/sbin/init"), CONSOLE, Process(9, "recon", "/opt/ct/bin/recon")),
    connections=(
        Connection(7, "tcp", "10.1.2.9", 104, 40_000),
        Connection(9, "tcp", "10.1.3.7", 5555, 40_001),
        Connection(7, "tcp", "10.1.2.8", 50_000, 104, incoming=True),
        Connection(1, "tcp", "203.0.113.9", 443, 40_002),  # not the modality's
    ),
    places=(Place("/srv/images", ENCRYPTED, "ext4 on 253:0"), Place("/dev/sdb", ENCRYPTED)),
    swaps=(Place("/dev/zram0", MEMORY, "zram"),),
    spaces=(Space("/srv/images", 2000 << 20),),
    clock=KernelClock(is_synchronised=True, offset_us=-3000, estimated_error_us=100, max_error_us=20_000),
)


def found(seen: Observations, policy: WatchPolicy = POLICY, *, sidecar: bool = False) -> dict[str, list[Finding]]:
    by_check: dict[str, list[Finding]] = {}
    for finding in evaluate(policy, seen, NOW, sidecar=sidecar):
        by_check.setdefault(finding.check, []).append(finding)
    return by_check


def states(seen: Observations, policy: WatchPolicy = POLICY, *, sidecar: bool = False) -> dict[str, set[FindingState]]:
    by_check = found(seen, policy, sidecar=sidecar)
    return {check: {finding.state for finding in findings} for check, findings in by_check.items()}


def details(seen: Observations, check: str) -> list[str]:
    return [finding.detail for finding in found(seen)[check]]


def test_a_host_on_which_all_is_as_policy_asks_is_fine_with_its_evidence() -> None:
    assert {finding.state for finding in evaluate(POLICY, SEEN, NOW, sidecar=False)} == {FINE}
    assert {check: [f.detail for f in findings] for check, findings in found(SEEN).items()} == {
        "modality-peers": ["2 processes, 3 connections, all to peers that policy lists"],
        "forbidden-programs": ["3 processes, none of them forbidden"],
        "disk-encryption": ["/srv/images: encrypted disk (ext4 on 253:0)", "/dev/sdb: encrypted disk"],
        "swap-encryption": ["/dev/zram0: memory (zram)"],
        "free-space": ["/srv/images: 2000 MiB free, 1000 MiB wanted"],
        "clock-synchronised": ["the kernel says that the clock is kept"],
        "clock-drift": ["off by 3.000 ms as far as is known, by 20.000 ms at most; 1000 ms are allowed"],
    }


def with_connection(*connections: Connection) -> Observations:
    return replace(SEEN, connections=(*SEEN.connections, *connections))


@pytest.mark.parametrize(
    "connection, said",
    [
        (Connection(7, "tcp", "203.0.113.9", 443, 40_009), "talks to 203.0.113.9 port 443 (tcp)"),
        (Connection(7, "tcp", "10.1.2.9", 22, 40_009), "talks to 10.1.2.9 port 22 (tcp)"),
        (Connection(7, "udp", "127.0.0.1", 53, 40_009), "talks to 127.0.0.1 port 53 (udp)"),
        (Connection(7, "tcp", "10.1.2.9", 104, 5900, incoming=True), "is talked to on port 5900 by 10.1.2.9 (tcp)"),
        (Connection(7, "tcp", "2001:db8::1", 104, 40_009), "talks to 2001:db8::1 port 104 (tcp)"),
        (Connection(7, "tcp", "::ffff:203.0.113.9", 443, 40_009), "talks to ::ffff:203.0.113.9 port 443 (tcp)"),
    ],
)
def test_a_peer_that_policy_does_not_list_is_found_with_pid_name_and_peer(connection: Connection, said: str) -> None:
    findings = found(with_connection(connection))["modality-peers"]

    assert [(f.state, f.detail) for f in findings] == [(FOUND, f"pid 7 ctconsole {said}, which policy does not list")]


def test_an_ipv4_peer_written_as_ipv6_is_the_same_peer() -> None:
    assert states(with_connection(Connection(7, "tcp", "::ffff:10.1.2.9", 104, 1)))["modality-peers"] == {FINE}


@pytest.mark.parametrize(
    "seen",
    [
        replace(SEEN, processes_unseen="processes of other accounts are hidden (hidepid of /proc)"),
        replace(SEEN, connections_unseen="connections cannot be listed"),
        replace(SEEN, processes=(replace(CONSOLE, sockets_unseen="its connections cannot be seen"),)),
        replace(SEEN, processes=(Process(1, "systemd"),)),
    ],
)
def test_connections_that_cannot_be_seen_are_not_evaluated_and_never_fine(seen: Observations) -> None:
    assert states(seen)["modality-peers"] == {NOT_EVALUATED}


def test_what_was_found_is_told_also_where_not_all_could_be_seen() -> None:
    seen = replace(with_connection(Connection(7, "tcp", "203.0.113.9", 443, 1)), processes_unseen="hidden")

    assert states(seen)["modality-peers"] == {FOUND, NOT_EVALUATED}


def test_without_a_process_of_the_modality_nobody_says_that_its_peers_are_fine() -> None:
    assert details(replace(SEEN, processes=()), "modality-peers") == [
        "no process named ctconsole, /opt/ct/bin/* is running"
    ]


@pytest.mark.parametrize(
    "process, said",
    [
        (Process(5, "obs-studio", "/usr/bin/obs"), "pid 5 obs-studio (/usr/bin/obs) is obs*"),
        (Process(5, "renamed", "/usr/bin/ffmpeg"), "pid 5 renamed (/usr/bin/ffmpeg) is /usr/bin/ffmpeg"),
        (Process(5, "renamed", "/opt/x/obs64"), "pid 5 renamed (/opt/x/obs64) is obs*"),
        (Process(5, "obs", "", path_unseen=True), "pid 5 obs (its file cannot be seen) is obs*"),
    ],
)
def test_a_forbidden_program_is_found_by_its_name_or_its_file(process: Process, said: str) -> None:
    findings = found(replace(SEEN, processes=(*SEEN.processes, process)))["forbidden-programs"]

    assert (findings[0].state, findings[0].detail) == (FOUND, said)


@pytest.mark.parametrize("name", ["Obs", "xobs", "ffmpeg", "obs".upper()])
def test_another_program_is_not_taken_for_it(name: str) -> None:
    seen = replace(SEEN, processes=(*SEEN.processes, Process(5, name, f"/opt/{name}")))

    assert states(seen)["forbidden-programs"] == {FINE}


def test_programs_whose_files_cannot_be_seen_are_not_evaluated() -> None:
    seen = replace(SEEN, processes=(*SEEN.processes, Process(5, "x", path_unseen=True)))

    assert details(seen, "forbidden-programs") == ["the files of 1 of 4 processes cannot be seen, only their names"]
    assert states(seen)["forbidden-programs"] == {NOT_EVALUATED}


@pytest.mark.parametrize(
    "word, state", [(PLAIN, FOUND), (UNKNOWN, NOT_EVALUATED), (MISSING, NOT_EVALUATED), (MEMORY, FINE)]
)
def test_what_lies_elsewhere_than_on_an_encrypted_disk(word: str, state: FindingState) -> None:
    for check, seen in (
        ("disk-encryption", replace(SEEN, places=(Place("/srv/images", word), Place("/dev/sdb", word)))),
        ("swap-encryption", replace(SEEN, swaps=(Place("/swapfile", word),))),
    ):
        assert states(seen)[check] == {state}


def test_what_policy_names_and_nobody_looked_at_is_not_evaluated() -> None:
    seen = replace(SEEN, places=(), spaces=())

    assert states(seen)["disk-encryption"] == states(seen)["free-space"] == {NOT_EVALUATED}


def test_no_swap_is_fine_and_swap_that_cannot_be_listed_is_not() -> None:
    assert states(replace(SEEN, swaps=()))["swap-encryption"] == {FINE}
    assert states(replace(SEEN, swaps=(), swaps_unseen="no /proc"))["swap-encryption"] == {NOT_EVALUATED}


@pytest.mark.parametrize("free_mib, state", [(999, FOUND), (1000, FINE)])
def test_free_space_is_measured_against_what_is_wanted(free_mib: int, state: FindingState) -> None:
    assert states(replace(SEEN, spaces=(Space("/srv/images", free_mib << 20),)))["free-space"] == {state}


def test_space_that_cannot_be_measured_is_not_evaluated() -> None:
    seen = replace(SEEN, spaces=(Space("/srv/images", unseen="Permission denied"),))

    assert details(seen, "free-space") == ["/srv/images: Permission denied"]


@pytest.mark.parametrize(
    "clock, synchronised, drift",
    [
        (KernelClock(True, 0, 0, 1_000_000), FINE, FINE),
        (KernelClock(True, 0, 0, 1_000_001), FINE, NOT_EVALUATED),  # it may be off by more, and it may not
        (KernelClock(True, -1_000_001, 0, 2_000_000), FINE, FOUND),
        (KernelClock(True, 0, 1_000_001, 2_000_000), FINE, FOUND),
        (KernelClock(False, 0, 0, 0), FOUND, NOT_EVALUATED),
        (None, NOT_EVALUATED, NOT_EVALUATED),
    ],
)
def test_a_clock_is_as_good_as_the_kernel_says(
    clock: KernelClock | None, synchronised: FindingState, drift: FindingState
) -> None:
    seen = states(replace(SEEN, clock=clock, clock_unseen="" if clock else "adjtimex: not permitted"))

    assert seen["clock-synchronised"] == {synchronised}
    assert seen["clock-drift"] == {drift}


def test_on_a_sidecar_nothing_of_the_modality_is_evaluated_whatever_was_seen() -> None:
    clean, dirty = SEEN, with_connection(Connection(7, "tcp", "203.0.113.9", 443, 1))

    for seen in (clean, dirty, Observations()):
        told = states(seen, sidecar=True)
        for check in ("modality-peers", "forbidden-programs", "modality-disks"):
            assert told[check] == {NOT_EVALUATED}
    assert "the modality, whose own disks it cannot see" in found(SEEN, sidecar=True)["modality-disks"][0].detail


def test_a_sidecars_own_disk_is_looked_at_as_its_own() -> None:
    seen = replace(SEEN, places=(Place("/srv/images", PLAIN), Place("/dev/sdb", ENCRYPTED)))

    assert states(seen, sidecar=True)["disk-encryption"] == {FOUND, FINE}


def test_where_no_look_could_be_had_every_check_says_so() -> None:
    told = unseen(POLICY, "it did not answer within 60 s", NOW, sidecar=False)

    assert {finding.check for finding in told} == set(found(SEEN))
    assert {finding.state for finding in told} == {NOT_EVALUATED}
    assert all("60 s" in finding.detail or "nobody knows" in finding.detail for finding in told)


def test_a_check_that_policy_does_not_ask_for_is_not_made() -> None:
    assert evaluate(WatchPolicy(60), SEEN, NOW, sidecar=False) == ()
    assert evaluate(WatchPolicy(60), SEEN, NOW, sidecar=True) == ()


def test_many_findings_are_bounded_the_worst_first_and_the_rest_counted() -> None:
    strange = [Connection(7, "tcp", f"203.0.{n // 250}.{n % 250 + 1}", 443, n) for n in range(1000)]
    told = found(with_connection(*strange))["modality-peers"]

    assert len(told) == checks.MAX_OF_ONE_CHECK
    assert told[-1].detail.startswith("and 992 more; pid 7 ctconsole talks to")


def test_no_more_findings_than_a_report_holds_and_what_was_found_is_among_them() -> None:
    folders = tuple(f"/f{n}" for n in range(16))
    policy = replace(POLICY, encrypted=folders, free=tuple(LeastFree(folder, 1) for folder in folders))
    seen = replace(with_connection(Connection(7, "tcp", "203.0.113.9", 443, 1)), places=(), spaces=())

    told = evaluate(policy, seen, NOW, sidecar=False)
    assert len(told) <= MAX_FINDINGS
    assert told[0].state is FOUND


def test_ten_thousand_connections_are_judged_at_once() -> None:
    many = tuple(Connection(7, "tcp", f"10.1.{n % 250}.{n // 250 % 250}", 104, n) for n in range(10_000))
    processes = tuple(Process(n, f"worker-{n}", f"/opt/{n}") for n in range(100, 1100))
    seen = replace(SEEN, connections=many, processes=(*SEEN.processes, *processes))

    began = time.process_time()
    told = found(seen)["modality-peers"]
    took_s = time.process_time() - began

    assert told[0].state is FOUND
    assert took_s < 5


TEXTS = st.text(max_size=400)


@given(TEXTS, TEXTS, TEXTS)
def test_names_from_the_host_are_one_line_and_fit(name: str, path: str, why: str) -> None:
    seen = replace(
        SEEN, processes=(Process(7, "obs" + name, path, sockets_unseen=why),), processes_unseen=why,
        spaces=(Space("/srv/images", unseen=why or "x"),),
    )  # fmt: skip

    for finding in evaluate(POLICY, seen, NOW, sidecar=False):
        assert len(finding.detail) <= MAX_DETAIL_CHARS
        assert Finding.parse(finding.json()) == finding
