"""Media: every byte of one is chosen by whoever made it, and nothing but LUKS2 that is whole may be allowed."""

from edge_agent.host_watch import answer as host_watch
from edge_agent.media.answer import Answer
from edge_agent.media.head import Kind
from edge_agent.media.judge import StorageVerdict, judge
from edge_agent.media.survey import KernelPartition, Survey, survey
from shared.devices.watch import WatchPolicy
from shared.fleet.devices import Finding, FindingState
from tests.edge_agent.media.made import bitlocker, fat_sector, luks2_bytes, mbr, of_bytes, surveyed_bytes
from tests.fuzz.target import Target
from tests.shared.made import NOW

_HEADERS_BYTES = 0x8000  # both copies of a LUKS2 header
_SECTORS = (512, 4096)
_KERNEL = (KernelPartition(1, 1 << 20, 1 << 20),)


def _medium(data: bytes) -> None:
    """The first byte chooses the size of a sector, and whether the kernel sees a partition."""
    chosen, disk = data[0] if data else 0, data[1:]
    seen = survey(of_bytes(disk), len(disk), _SECTORS[chosen & 1], _KERNEL if chosen & 2 else ())
    assert Answer.parse(Answer("8:0", (), seen).encode()).looked_at == seen
    found = judge(seen)
    assert found.reason.isprintable()
    assert all(line.isprintable() for line in found.evidence)
    if found.verdict is StorageVerdict.ALLOWED:
        _verify_allowed(seen, disk)


def _verify_allowed(seen: Survey, disk: bytes) -> None:
    heads = [volume.head for volume in seen.volumes] or [seen.head]
    assert all(head.kinds == {Kind.LUKS2} and head.luks2 and "header" in head.luks2.copies for head in heads)
    assert disk.count(b"LUKS\xba\xbe\x00\x02") >= len(heads)


def _answer(data: bytes) -> None:
    assert Answer.parse(data).encode() == data
    answered = Answer.parse(data)
    if answered.looked_at is not None:
        judge(answered.looked_at)


def _watch_policy(data: bytes) -> None:
    assert WatchPolicy.decode(data).encode() == data


def _findings(data: bytes) -> None:
    assert host_watch.encode(host_watch.parse(data)) == data


_ENCRYPTED = luks2_bytes()[:_HEADERS_BYTES]
_WATCH = (
    b'{"encrypted":["/srv"],"every_s":60,"forbidden":["obs*"],"free":[{"folder":"/srv","mib":9}],"most_drift_ms":9,'
    b'"peers":[{"addresses":"10.0.0.0/8","port":104}],"processes":["ct"]}'
)
TARGETS = (
    Target(
        "medium",
        _medium,
        (
            b"\0" + _ENCRYPTED,
            b"\0" + mbr((0x83, 1, 100)) + _ENCRYPTED,
            b"\0" + mbr((0x05, 1, 100)) + mbr((0x83, 1, 64)) + _ENCRYPTED,
            b"\0" + mbr((0xEE, 1, 100)) + b"EFI PART" + bytes(504),
            b"\0" + fat_sector() + bytes(4096),
            b"\1" + bitlocker() + bytes(8192),
            b"\2" + bytes(5000),
        ),
    ),
    Target(
        "medium-answer",
        _answer,
        (
            Answer("8:16", (("8:16", True), ("8:17", False)), surveyed_bytes(_ENCRYPTED)).encode(),
            Answer("8:16", (), surveyed_bytes(mbr((0x83, 1, 100)) + _ENCRYPTED)).encode(),
            Answer("8:16", (), None, "it is gone").encode(),
        ),
    ),
    Target("watch-policy", _watch_policy, (_WATCH, WatchPolicy(60).encode())),
    Target(
        "host-watch-answer",
        _findings,
        (host_watch.encode((Finding("free-space", FindingState.FOUND, "/srv: 1 MiB free", NOW),)),),
    ),
)
