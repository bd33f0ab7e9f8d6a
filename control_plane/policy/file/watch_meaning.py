"""Says in words what a host is watched for."""

from shared.devices.watch import AllowedPeer, WatchPolicy


def describe_watch(watch: WatchPolicy) -> list[str]:
    """Return lines for a person who is about to sign this."""
    lines = [f"what a host looks for on itself, every {watch.every_s} s"]
    if watch.processes:
        peers = ", ".join(map(_peer, watch.peers)) or "nobody"
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


def _peer(peer: AllowedPeer) -> str:
    return peer.addresses + (f" port {peer.port}" if peer.port else "")
