"""Says in words what a host is watched for, and what of it may not be meant."""

from collections.abc import Iterator
from ipaddress import ip_network

from shared.devices.watch import AllowedPeer, WatchPolicy

_OFTEN_PROVED_MS = 2000  # the kernel's bound grows by 0.5 ms a second, and polls may be 2048 s apart


def describe_watch(watch: WatchPolicy) -> list[str]:
    """Return lines for a person who is about to sign this."""
    lines = [f"what a host looks for on itself, every {watch.every_s} s"]
    if watch.processes:
        peers = ", ".join(map(watched_peer_words, watch.peers)) or "nobody"
        lines.append(f"  {', '.join(watch.processes)} talking to anybody but {peers}")
    if watch.forbidden:
        lines.append(f"  programs that may not run: {', '.join(watch.forbidden)}")
    if watch.encrypted:
        lines.append(f"  disks that are not encrypted, under {', '.join(watch.encrypted)}")
    if watch.encrypted_swap:
        lines.append("  swap that is not encrypted")
    lines += [f"  less than {free.mib} MiB free under {free.folder}" for free in watch.free]
    if watch.most_drift_ms:
        lines.append(f"  a clock that is off by more than {watch.most_drift_ms} ms")
    return lines if len(lines) > 1 else [*lines, "  nothing"]


def doubts_of_watch(watch: WatchPolicy) -> Iterator[str]:
    """Yield what is watched for and may not be meant."""
    for peer in watch.peers:
        if not ip_network(peer.addresses).prefixlen:
            yield f"watch.peers lists {watched_peer_words(peer)}, which is every machine there is"
    for name, programs in (("processes", watch.processes), ("forbidden", watch.forbidden)):
        if any(not program.strip("*?/") for program in programs):
            yield f"watch.{name} lists a pattern that is every program"
    if 0 < watch.most_drift_ms < _OFTEN_PROVED_MS:
        yield (
            f"watch.most_drift_ms is {watch.most_drift_ms}: a clock that systemd-timesyncd keeps is often not "
            f"proved to be that good; {_OFTEN_PROVED_MS} is"
        )


def watched_peer_words(peer: AllowedPeer) -> str:
    return peer.addresses + (f" port {peer.port}" if peer.port else "")
