"""Reads what a host is watched for: `watch`."""

from control_plane.policy.file.values import Section, Value, once
from shared.devices.watch import (
    FOLDER_PATTERN,
    LEAST_EVERY_S,
    MAX_DRIFT_MS,
    MAX_EVERY_S,
    MAX_FOLDER_CHARS,
    MAX_FOLDERS,
    MAX_FREE_MIB,
    MAX_PEERS,
    MAX_PROGRAM_CHARS,
    MAX_PROGRAMS,
    PROGRAM_PATTERN,
    AllowedPeer,
    LeastFree,
    WatchPolicy,
)
from shared.errors import Malformed
from shared.policy.routes import address_range

_OPTIONAL = ("processes", "peers", "forbidden", "encrypted", "encrypted_swap", "free", "most_drift_ms")
_PROGRAM_EXPECTED = (
    f"expected a program's name, or its file from / on, of at most {MAX_PROGRAM_CHARS} characters; * and ? stand for "
    "others"
)
_FOLDER = rf"(?=.{{1,{MAX_FOLDER_CHARS}}}\Z)(?:{FOLDER_PATTERN})"
_FOLDER_EXPECTED = f"expected a folder from / on, of at most {MAX_FOLDER_CHARS} characters"


def read_watch(value: Value) -> WatchPolicy:
    section = value.section(("every_s",), _OPTIONAL)
    processes, peers, swap = section.get("processes"), section.get("peers"), section.get("encrypted_swap")
    if peers is not None and (processes is None or not processes.node.value):
        peers.problem("needs processes, the programs that may talk to these and to nobody else")
    return WatchPolicy(
        every_s=_every(section),
        processes=_programs(section, "processes"),
        peers=() if peers is None else _peers(peers),
        forbidden=_programs(section, "forbidden"),
        encrypted=tuple(text for text, _ in section.texts("encrypted", _FOLDER, _FOLDER_EXPECTED, MAX_FOLDERS)),
        encrypted_swap=swap is not None and swap.flag(),
        free=_free(section),
        most_drift_ms=section.number("most_drift_ms", MAX_DRIFT_MS, " of milliseconds"),
    )


def _every(section: Section) -> int:
    every_s, at = section.number("every_s", MAX_EVERY_S, " of seconds"), section.get("every_s")
    if at is not None and 0 < every_s < LEAST_EVERY_S:
        at.problem(f"expected {LEAST_EVERY_S} seconds at least")
    return every_s


def _programs(section: Section, name: str) -> tuple[str, ...]:
    return tuple(text for text, _ in section.texts(name, PROGRAM_PATTERN, _PROGRAM_EXPECTED, MAX_PROGRAMS))


def _peers(value: Value) -> tuple[AllowedPeer, ...]:
    seen: dict[str, Value] = {}
    return tuple(_peer(item, seen) for item in value.items(MAX_PEERS))


def _peer(item: Value, seen: dict[str, Value]) -> AllowedPeer:
    section = item.section(("addresses",), ("port",))
    expected = "expected an IP address or a network such as 192.0.2.0/24"
    addresses, at = section.text("addresses", r"[0-9a-f.:/]+", expected), section.get("addresses")
    try:
        if addresses:
            address_range(addresses)
    except Malformed as exc:
        if at is not None:
            at.problem(exc.why)
    peer = AllowedPeer(addresses, section.number("port", 65_535))
    once(seen, f"{peer.addresses} port {peer.port}" if addresses else "", item)
    return peer


def _free(section: Section) -> tuple[LeastFree, ...]:
    seen: dict[str, Value] = {}
    free: list[LeastFree] = []
    for item in section.items("free", MAX_FOLDERS):
        within = item.section(("folder", "mib"))
        folder = within.text("folder", _FOLDER, _FOLDER_EXPECTED)
        once(seen, folder, within.get("folder"))
        free.append(LeastFree(folder, within.number("mib", MAX_FREE_MIB, " of MiB")))
    return tuple(free)
