"""Finds the sectors that fail within a transfer that failed, and transfers all the others."""

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.sanitize.engine.device import OF_A_SECTOR

RETRIES = 3


class Stopped(Exception):
    """A person stopped it, while sectors were tried one by one; each may take the drive half a minute."""


@dataclass
class Narrowed:
    """`failed` counts sectors from the transfer's start. `retries` are of single sectors, in vain or not."""

    failed: list[int] = field(default_factory=list)
    retries: int = 0


def narrowed(
    transfer: Callable[[int, int], None], size_bytes: int, sector_bytes: int, is_stopped: Callable[[], bool]
) -> Narrowed:
    """Have `transfer` (start, size) do it at once, and halve what fails down to single sectors.

    Raises OSError where it is not about a place, and Stopped.
    """
    found = Narrowed()
    left = [(0, size_bytes)]
    while left:
        start, size = left.pop()
        if _is_done(transfer, start, size):
            continue
        if is_stopped():
            raise Stopped
        if size > sector_bytes:
            half = -(-size // sector_bytes // 2) * sector_bytes
            left += [(start + half, size - half), (start, half)]
        elif not _retried(transfer, start, size, found):
            found.failed.append(start // sector_bytes)
    return found


def _retried(transfer: Callable[[int, int], None], start: int, size: int, found: Narrowed) -> bool:
    for _ in range(RETRIES):
        found.retries += 1
        if _is_done(transfer, start, size):
            return True
    return False


def _is_done(transfer: Callable[[int, int], None], start: int, size: int) -> bool:
    try:
        transfer(start, size)
    except OSError as exc:
        if exc.errno not in OF_A_SECTOR:
            raise
        return False
    return True
