"""Holds what was seen of the host against policy. What could not be seen is *not evaluated*, never fine.

    modality-peers       a process of the modality talks to a peer that policy does not list
    forbidden-programs   a program that policy forbids is running
    disk-encryption      what has to lie on an encrypted disk does
    swap-encryption      so does what memory is written out to
    free-space           there is as much of it as policy asks for
    clock-synchronised   something keeps the clock, as the kernel has it
    clock-drift          how far off it may be
    modality-disks       on a sidecar only, and there never evaluated

On a sidecar, a box beside the modality, the modality's own processes, ports and disks cannot be seen at all.
"""

from collections.abc import Iterator
from datetime import datetime

from edge_agent.export_folder import lies_on
from edge_agent.host_watch.observations import Connection, KernelClock, Observations, Place, Process, Space
from shared.devices.printable import printable
from shared.devices.watch import LeastFree, WatchPolicy, is_program
from shared.fleet.devices import MAX_DETAIL_CHARS, MAX_FINDINGS, Finding, FindingState

MODALITY_PEERS, FORBIDDEN_PROGRAMS, MODALITY_DISKS = "modality-peers", "forbidden-programs", "modality-disks"
DISK_ENCRYPTION, SWAP_ENCRYPTION, FREE_SPACE = "disk-encryption", "swap-encryption", "free-space"
CLOCK_SYNCHRONISED, CLOCK_DRIFT = "clock-synchronised", "clock-drift"
MAX_OF_ONE_CHECK = 8
_BESIDE = "this host is a box beside the modality, whose own {} it cannot see"
_SAFE = (lies_on.ENCRYPTED, lies_on.MEMORY)

_Result = tuple[str, FindingState, str]


def evaluate(policy: WatchPolicy, seen: Observations, now: datetime, *, sidecar: bool) -> tuple[Finding, ...]:
    """Return what was found first, then what was not evaluated, then what is fine; at least one of each check."""
    results = [
        *_of_modality(policy, seen, sidecar=sidecar),
        *_disks(policy, seen.places),
        *_swap(policy, seen),
        *_space(policy.free, seen.spaces),
        *_clock(policy, seen),
    ]
    return _findings(results, now)


def unseen(policy: WatchPolicy, why: str, now: datetime, *, sidecar: bool) -> tuple[Finding, ...]:
    """Return the findings where no look could be had: the process that looks ended, or took too long."""
    nothing = Observations(
        processes_unseen=why, connections_unseen=why, swaps_unseen=why, clock_unseen=why,
        places=tuple(Place(folder, lies_on.UNKNOWN, why) for folder in policy.encrypted),
        spaces=tuple(Space(free.folder, unseen=why) for free in policy.free),
    )  # fmt: skip
    return evaluate(policy, nothing, now, sidecar=sidecar)


def _findings(results: list[_Result], now: datetime) -> tuple[Finding, ...]:
    order = [FindingState.FOUND, FindingState.NOT_EVALUATED, FindingState.FINE]
    kept: list[_Result] = []
    for check in dict.fromkeys(check for check, *_ in results):
        own = sorted((result for result in results if result[0] == check), key=lambda result: order.index(result[1]))
        kept += _bounded(own)
    kept.sort(key=lambda result: order.index(result[1]))
    return tuple(
        Finding(check, state, printable(detail, MAX_DETAIL_CHARS), now) for check, state, detail in kept[:MAX_FINDINGS]
    )


def _bounded(own: list[_Result]) -> list[_Result]:
    """Return at most MAX_OF_ONE_CHECK of one check, the worst first, the last saying how many more there are."""
    if len(own) <= MAX_OF_ONE_CHECK:
        return own
    check, state, detail = own[MAX_OF_ONE_CHECK - 1]
    more = f"and {len(own) - MAX_OF_ONE_CHECK} more; {detail}"
    return [*own[: MAX_OF_ONE_CHECK - 1], (check, state, more)]


# ---- the modality


def _of_modality(policy: WatchPolicy, seen: Observations, *, sidecar: bool) -> Iterator[_Result]:
    if not sidecar:
        yield from _peers(policy, seen) if policy.processes else ()
        yield from _programs(policy, seen) if policy.forbidden else ()
        return
    for wanted, check, what in (
        (policy.processes, MODALITY_PEERS, "connections"),
        (policy.forbidden, FORBIDDEN_PROGRAMS, "programs"),
        (policy.encrypted or policy.encrypted_swap, MODALITY_DISKS, "disks"),
    ):
        if wanted:
            yield check, FindingState.NOT_EVALUATED, _BESIDE.format(what)


def _peers(policy: WatchPolicy, seen: Observations) -> Iterator[_Result]:
    own = {p.pid: p for p in seen.processes if any(is_program(each, p.name, p.path) for each in policy.processes)}
    connections = [c for c in seen.connections if c.pid in own]
    strange = [c for c in connections if not any(peer.holds(c.address, c.service_port) for peer in policy.peers)]
    for connection in dict.fromkeys(strange):
        yield MODALITY_PEERS, FindingState.FOUND, _talking(own[connection.pid or 0], connection)
    doubts = [seen.processes_unseen, seen.connections_unseen]
    doubts += [f"pid {p.pid} {p.name}: {p.sockets_unseen}" for p in own.values() if p.sockets_unseen]
    doubts = [doubt for doubt in doubts if doubt]
    if not own and not doubts:
        doubts = [f"no process named {', '.join(policy.processes)} is running"]
    for doubt in doubts:
        yield MODALITY_PEERS, FindingState.NOT_EVALUATED, doubt
    if not strange and not doubts:
        detail = f"{len(own)} processes, {len(connections)} connections, all to peers that policy lists"
        yield MODALITY_PEERS, FindingState.FINE, detail


def _talking(process: Process, connection: Connection) -> str:
    way = (
        f"is talked to on port {connection.local_port} by {connection.address}"
        if connection.incoming
        else f"talks to {connection.address} port {connection.peer_port}"
    )
    return f"pid {process.pid} {process.name} {way} ({connection.protocol}), which policy does not list"


def _programs(policy: WatchPolicy, seen: Observations) -> Iterator[_Result]:
    found = False
    for process in seen.processes:
        pattern = next((each for each in policy.forbidden if is_program(each, process.name, process.path)), None)
        if pattern is not None:
            found = True
            where = process.path or "its file cannot be seen"
            yield FORBIDDEN_PROGRAMS, FindingState.FOUND, f"pid {process.pid} {process.name} ({where}) is {pattern}"
    doubts = [seen.processes_unseen] if seen.processes_unseen else []
    if blind := sum(process.path_unseen for process in seen.processes):
        doubts.append(f"the files of {blind} of {len(seen.processes)} processes cannot be seen, only their names")
    for doubt in doubts:
        yield FORBIDDEN_PROGRAMS, FindingState.NOT_EVALUATED, doubt
    if not found and not doubts:
        yield FORBIDDEN_PROGRAMS, FindingState.FINE, f"{len(seen.processes)} processes, none of them forbidden"


# ---- the host


def _disks(policy: WatchPolicy, places: tuple[Place, ...]) -> Iterator[_Result]:
    by_name = {place.name: place for place in places}
    for folder in policy.encrypted:
        yield DISK_ENCRYPTION, *_where(by_name.get(folder, Place(folder, lies_on.UNKNOWN, "it was not looked at")))


def _swap(policy: WatchPolicy, seen: Observations) -> Iterator[_Result]:
    if not policy.encrypted_swap:
        return
    if seen.swaps_unseen:
        yield SWAP_ENCRYPTION, FindingState.NOT_EVALUATED, seen.swaps_unseen
    elif not seen.swaps:
        yield SWAP_ENCRYPTION, FindingState.FINE, "there is no swap"
    for swap in seen.swaps:
        yield SWAP_ENCRYPTION, *_where(swap)


def _where(place: Place) -> tuple[FindingState, str]:
    detail = f"{place.name}: {place.lies_on}" + f" ({place.detail})" * bool(place.detail)
    if place.lies_on in _SAFE:
        return FindingState.FINE, detail
    return FindingState.FOUND if place.lies_on == lies_on.PLAIN else FindingState.NOT_EVALUATED, detail


def _space(wanted: tuple[LeastFree, ...], spaces: tuple[Space, ...]) -> Iterator[_Result]:
    by_folder = {space.folder: space for space in spaces}
    for least in wanted:
        space = by_folder.get(least.folder, Space(least.folder, unseen="it was not looked at"))
        if space.unseen:
            yield FREE_SPACE, FindingState.NOT_EVALUATED, f"{least.folder}: {space.unseen}"
            continue
        enough = space.free_bytes >= least.mib << 20
        detail = f"{least.folder}: {space.free_bytes >> 20} MiB free, {least.mib} MiB wanted"
        yield FREE_SPACE, FindingState.FINE if enough else FindingState.FOUND, detail


def _clock(policy: WatchPolicy, seen: Observations) -> Iterator[_Result]:
    if not policy.most_drift_ms:
        return
    clock = seen.clock
    if clock is None:
        yield CLOCK_SYNCHRONISED, FindingState.NOT_EVALUATED, seen.clock_unseen
        yield CLOCK_DRIFT, FindingState.NOT_EVALUATED, seen.clock_unseen
        return
    if not clock.is_synchronised:
        yield CLOCK_SYNCHRONISED, FindingState.FOUND, "the kernel says that nothing keeps the clock (STA_UNSYNC)"
        yield CLOCK_DRIFT, FindingState.NOT_EVALUATED, "nothing keeps the clock, so nobody knows how far off it is"
        return
    yield CLOCK_SYNCHRONISED, FindingState.FINE, "the kernel says that the clock is kept"
    yield CLOCK_DRIFT, *_drift(clock, policy.most_drift_ms)


def _drift(clock: KernelClock, most_ms: int) -> tuple[FindingState, str]:
    off_us = max(abs(clock.offset_us), clock.estimated_error_us)
    detail = (
        f"off by {off_us / 1000:.3f} ms as far as is known, by {clock.max_error_us / 1000:.3f} ms at most; "
        f"{most_ms} ms are allowed"
    )
    if off_us > most_ms * 1000:
        return FindingState.FOUND, detail
    # The kernel's bound grows until whoever keeps the clock says anew how good it is.
    return FindingState.FINE if clock.max_error_us <= most_ms * 1000 else FindingState.NOT_EVALUATED, detail
