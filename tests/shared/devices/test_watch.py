from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.canonical import Json
from shared.devices.watch import (
    MAX_BYTES,
    MAX_FOLDERS,
    MAX_PROGRAMS,
    AllowedPeer,
    LeastFree,
    WatchPolicy,
    is_program,
)
from shared.errors import Malformed

FULL = WatchPolicy(
    60,
    ("ctconsole", "/opt/ct/*"),
    (AllowedPeer("10.1.2.0/24", 104), AllowedPeer("2001:db8::1")),
    ("obs*",),
    ("/", "/srv/images"),
    encrypted_swap=True,
    free=(LeastFree("/srv", 1000),),
    most_drift_ms=2000,
)


def with_member(**members: Json) -> bytes:
    return canonical.encode({**FULL.json(), **members})


@pytest.mark.parametrize("policy", [FULL, WatchPolicy(10), WatchPolicy(86_400, ("a",))])
def test_prints_back(policy: WatchPolicy) -> None:
    assert WatchPolicy.decode(policy.encode()) == policy


def test_what_has_its_default_is_left_out() -> None:
    assert WatchPolicy(60).encode() == b'{"every_s":60}'


@pytest.mark.parametrize(
    "members",
    [
        {"every_s": 9},
        {"every_s": 86_401},
        {"every_s": "60"},
        {"processes": []},
        {"processes": ["a", "a"]},
        {"processes": [""]},
        {"processes": ["a" * 101]},
        {"processes": ["a\nb"]},
        {"processes": [f"p{n}" for n in range(MAX_PROGRAMS + 1)]},
        {"peers": [{"addresses": "10.1.2.1/24"}]},
        {"peers": [{"addresses": "example"}]},
        {"peers": [{"addresses": "10.1.2.1", "port": 0}]},
        {"peers": [{"addresses": "10.1.2.1", "port": 65_536}]},
        {"peers": [{"addresses": "10.1.2.1", "name": "x"}]},
        {"encrypted": ["srv"]},
        {"encrypted": ["/srv/"]},
        {"encrypted": ["/srv/../etc"]},
        {"encrypted": ["/srv/."]},
        {"encrypted": ["//srv"]},
        {"encrypted": [f"/{n}" for n in range(MAX_FOLDERS + 1)]},
        {"encrypted_swap": False},
        {"free": [{"folder": "/a", "mib": 0}]},
        {"free": [{"folder": "/a", "mib": 1}, {"folder": "/a", "mib": 2}]},
        {"most_drift_ms": 0},
        {"most_drift_ms": 86_400_001},
        {"another": 1},
    ],
)
def test_refuses_what_is_out_of_bounds_or_says_a_default(members: dict[str, Json]) -> None:
    with pytest.raises(Malformed):
        WatchPolicy.decode(with_member(**members))


def test_peers_of_no_process_are_refused() -> None:
    with pytest.raises(Malformed, match="no processes"):
        WatchPolicy.decode(replace(FULL, processes=()).encode())


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(Malformed, match="larger than"):
        WatchPolicy.decode(b"[" * (MAX_BYTES + 1))


def test_the_largest_policy_is_within_the_bound() -> None:
    largest = WatchPolicy(
        86_400,
        tuple(f"{n:03}" + "\U0001f5a5" * 97 for n in range(MAX_PROGRAMS)),
        tuple(AllowedPeer(f"2001:db8:1111:2222:3333:4444:5555:{n:x}", 65_535) for n in range(1, 65)),
        tuple(f"{n:03}" + "\u4e2d" * 97 for n in range(MAX_PROGRAMS)),
        tuple(f"/{n:03}" + "\u4e2d" * 196 for n in range(MAX_FOLDERS)),
        encrypted_swap=True,
        free=tuple(LeastFree(f"/{n:03}" + "\u4e2d" * 196, 1 << 30) for n in range(MAX_FOLDERS)),
        most_drift_ms=86_400_000,
    )

    assert len(largest.encode()) <= MAX_BYTES
    assert WatchPolicy.decode(largest.encode()) == largest


@pytest.mark.parametrize(
    "pattern, name, path, matches",
    [
        ("obs", "obs", "", True),
        ("obs", "OBS", "/x/obs", True),
        ("obs", "renamed", "/x/obs2", False),
        ("obs*", "obs-studio", "", True),
        ("o?s", "obs", "", True),
        ("o?s", "obbs", "", False),
        ("[o]bs", "obs", "", False),
        ("[o]bs", "[o]bs", "", True),
        ("a.c", "abc", "", False),
        ("/usr/bin/obs", "obs", "/usr/bin/obs", True),
        ("/usr/bin/obs", "/usr/bin/obs", "/opt/obs", False),  # a process may call itself anything
        ("/usr/bin/*", "", "/usr/bin/x/y", True),
        ("*", "x\ny", "", True),
        ("obs", "", "", False),
    ],
)
def test_a_program_is_known_by_its_name_or_its_file(pattern: str, name: str, path: str, matches: bool) -> None:
    assert is_program(pattern, name, path) is matches


@given(st.text(min_size=1, max_size=30))
def test_a_name_without_a_star_or_question_mark_stands_for_itself(name: str) -> None:
    if not set(name) & {"*", "?", "/"}:
        assert is_program(name, name, "")
        assert not is_program(name, name + "x", "")


@pytest.mark.parametrize(
    "peer, address, port, holds",
    [
        (AllowedPeer("10.1.2.0/24", 104), "10.1.2.255", 104, True),
        (AllowedPeer("10.1.2.0/24", 104), "10.1.3.0", 104, False),
        (AllowedPeer("10.1.2.0/24", 104), "10.1.2.1", 105, False),
        (AllowedPeer("10.1.2.1"), "10.1.2.1", 9, True),
        (AllowedPeer("10.1.2.1"), "::ffff:10.1.2.1", 9, True),
        (AllowedPeer("fe80::/10"), "fe80::1%eth0", 9, True),
        (AllowedPeer("0.0.0.0/0"), "2001:db8::1", 9, False),
    ],
)
def test_a_peer_is_an_address_and_the_port_of_the_service(
    peer: AllowedPeer, address: str, port: int, holds: bool
) -> None:
    assert peer.holds(address, port) is holds
