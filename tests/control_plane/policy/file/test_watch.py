"""The `watch` section as an administrator writes it."""

import pytest

from control_plane.policy.file.problems import PolicyFileMalformed
from control_plane.policy.file.reading import parse_policy_file
from control_plane.policy.file.watch_meaning import describe_watch, doubts_of_watch
from shared.devices.watch import AllowedPeer, WatchPolicy
from tests.control_plane.policy.file.full import organisation

BASE = """\
layer: organisation
modalities: []
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
watch:
"""


def problems(watch: str) -> list[str]:
    with pytest.raises(PolicyFileMalformed) as refused:
        parse_policy_file((BASE + watch).encode(), "policy.yaml")
    return [line.removeprefix("policy.yaml:") for line in str(refused.value).split("\n")[1:]]


def test_reads_the_smallest_and_tells_that_nothing_is_looked_for() -> None:
    policy = organisation((BASE + "  every_s: 60\n").encode(), "policy.yaml")

    assert policy.watch == WatchPolicy(60)
    assert describe_watch(policy.watch) == ["what a host looks for on itself, every 60 s", "  nothing"]


@pytest.mark.parametrize(
    "watch, problem",
    [
        ("  {}\n", "6: watch.every_s: is missing"),
        ("  every_s: 9\n", "6: watch.every_s: expected 10 seconds at least"),
        ("  every_s: 86401\n", "6: watch.every_s: expected a whole number of seconds from 1 to 86400"),
        ("  every_s: 60\n  disks: []\n", "7: watch.'disks': there is no such field"),
        ("  every_s: 60\n  processes: [a, a]\n", "7: watch.processes[2]: is listed on line 7 already"),
        ("  every_s: 60\n  peers: []\n", "7: watch.peers: needs processes, the programs that may talk to these"),
        (
            "  every_s: 60\n  processes: [a]\n  peers: [{addresses: 192.0.2.1/24}]\n",
            "8: watch.peers[1].addresses: ",
        ),
        (
            "  every_s: 60\n  processes: [a]\n  peers:\n    - addresses: 192.0.2.1\n    - addresses: 192.0.2.1\n",
            "10: watch.peers[2]: is listed on line 9 already",
        ),
        ("  every_s: 60\n  encrypted: [images]\n", "7: watch.encrypted[1]: expected a folder from / on"),
        ("  every_s: 60\n  encrypted: [/a/../b]\n", "7: watch.encrypted[1]: expected a folder from / on"),
        ("  every_s: 60\n  free: [{folder: /a}]\n", "7: watch.free[1].mib: is missing"),
        ("  every_s: 60\n  most_drift_ms: 0\n", "7: watch.most_drift_ms: expected a whole number of milliseconds"),
        ("  every_s: 60\n  encrypted_swap: on\n", "7: watch.encrypted_swap: expected true or false"),
    ],
)
def test_names_what_is_wrong_where_and_what_is_allowed(watch: str, problem: str) -> None:
    (found,) = problems(watch)

    assert found.startswith(problem)


def test_doubts_what_watches_nothing_everything_or_more_closely_than_can_be_proved() -> None:
    everybody = (AllowedPeer("0.0.0.0/0", 104), AllowedPeer("::/0"), AllowedPeer("10.0.0.0/8"))
    policy = WatchPolicy(60, processes=("ct", "/*"), peers=everybody, forbidden=("*",), most_drift_ms=100)

    assert list(doubts_of_watch(policy)) == [
        "watch.peers lists 0.0.0.0/0 port 104, which is every machine there is",
        "watch.peers lists ::/0, which is every machine there is",
        "watch.processes lists a pattern that is every program",
        "watch.forbidden lists a pattern that is every program",
        "watch.most_drift_ms is 100: a clock that systemd-timesyncd keeps is often not proved to be that good; 2000 is",
    ]


def test_does_not_doubt_what_is_meant() -> None:
    policy = WatchPolicy(60, processes=("ct*",), peers=(AllowedPeer("10.0.0.0/8"),), most_drift_ms=2000)

    assert list(doubts_of_watch(policy)) == []
    assert list(doubts_of_watch(WatchPolicy(60))) == []
