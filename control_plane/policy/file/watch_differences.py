"""What another policy says otherwise of what a host looks for on itself; dangerous is what it looks for no more."""

from collections.abc import Iterator, Sequence

from control_plane.policy.file.change import Change, of_values
from control_plane.policy.file.watch_meaning import watched_peer_words
from shared.devices.watch import WatchPolicy


def watch_changes(before: WatchPolicy | None, after: WatchPolicy | None) -> Iterator[Change]:
    if before is None and after is None:
        return
    if after is None:
        yield Change("watch", "there is a section", "", "hosts look for nothing on themselves any more")
        return
    if before is None:
        yield Change("watch", "", f"hosts look at themselves every {after.every_s} s")
        before = WatchPolicy(after.every_s)
    yield from of_values(_values(before, after))


def _values(old: WatchPolicy, new: WatchPolicy) -> Iterator[tuple[str, str, str, str]]:
    yield "watch.every_s", f"{old.every_s} s", f"{new.every_s} s", ""
    for name in ("processes", "forbidden", "encrypted"):
        yield _texts(f"watch.{name}", getattr(old, name), getattr(new, name), "is looked for no more")
    peers = [[watched_peer_words(peer) for peer in each.peers] for each in (old, new)]
    wider = [peer for peer in peers[1] if peer not in peers[0]]
    yield (
        "watch.peers",
        _listed(peers[0]),
        _listed(peers[1]),
        (f"the watched programs may talk to {', '.join(wider)}" if wider and old.processes else ""),
    )
    unseen = "swap that is not encrypted is not told"
    yield "watch.encrypted_swap", _swap(old), _swap(new), "" if new.encrypted_swap else unseen
    missing = [each.folder for each in old.free if each.folder not in {one.folder for one in new.free}]
    yield "watch.free", _free(old), _free(new), _gone(missing, "is looked at no more")
    is_lax = old.most_drift_ms and (not new.most_drift_ms or new.most_drift_ms > old.most_drift_ms)
    yield "watch.most_drift_ms", _drift(old), _drift(new), "a clock may be further off untold" if is_lax else ""


def _swap(watch: WatchPolicy) -> str:
    return "is looked for" if watch.encrypted_swap else "is not looked for"


def _free(watch: WatchPolicy) -> str:
    return _listed([f"{each.folder}: {each.mib} MiB" for each in watch.free])


def _drift(watch: WatchPolicy) -> str:
    return f"{watch.most_drift_ms} ms" if watch.most_drift_ms else "not watched"


def _texts(field: str, old: Sequence[str], new: Sequence[str], harm: str) -> tuple[str, str, str, str]:
    return field, _listed(old), _listed(new), _gone([each for each in old if each not in new], harm)


def _gone(missing: Sequence[str], harm: str) -> str:
    return f"{', '.join(missing)} {harm}" if missing else ""


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) or "none"
