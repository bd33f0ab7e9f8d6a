"""Gathers what speaks for or against a wipe, from kernel and spool. What one of them does not say is None."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from edge_agent.config import AgentFolder
from edge_agent.database import ReadingDatabase
from edge_agent.sanitize import place
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.holders import holders
from edge_agent.sanitize.refuse import Circumstances
from edge_agent.sanitize.sysfs import HOST, Host
from edge_agent.spool import attempts
from edge_agent.spool.catalogue import HERE, CatalogueReader
from shared.errors import IntegrityFailure, Malformed, Unavailable

_T = TypeVar("_T")


def gather(
    drive: Drive,
    present: Sequence[Drive],
    *,
    agent: AgentFolder,
    states: Iterable[Path],
    is_ticket_used: bool | None,
    hold: bool | None,
    is_clock_sure: bool | None,
    host: Host = HOST,
) -> Circumstances:
    """`present` is every drive that was found here, `states` are folders in which this software keeps its state."""
    serial = drive.medium.serial
    return Circumstances(
        drive=drive,
        twins=sum(each.number != drive.number and each.medium.serial == serial for each in present),
        holders=_told(lambda: holders(drive, host)),
        system=_told(lambda: place.of_system(drive, host)),
        network=_told(lambda: place.on_network(drive, host)),
        has_own_state=_told(lambda: place.has_state(drive, (agent.path, *states), host)),
        is_read_only=place.is_read_only(drive),
        is_ticket_used=is_ticket_used,
        hold=hold,
        undelivered=undelivered(agent),
        is_clock_sure=is_clock_sure,
    )


def undelivered(agent: AgentFolder) -> int | None:
    """Return how many images of this host nobody else has yet, or an archive is owed; None: it cannot be counted."""
    try:
        coming_in = attempts.count(agent.spool / "attempts")
        if not agent.database.exists():
            # A host that was enrolled and has not taken anything in yet. Any other folder says nothing.
            return coming_in if agent.config.exists() and not _has_objects(agent) else None
        with closing(ReadingDatabase(agent.database)) as database:
            if not database.has("spooled"):
                return coming_in
            catalogue = CatalogueReader(database)
            return coming_in + sum(catalogue.count(state)[0] for state in HERE)
    except (Unavailable, IntegrityFailure, OSError):
        return None


def _has_objects(agent: AgentFolder) -> bool:
    return any(any((agent.spool / name).glob("*")) for name in ("files", "segments"))


def _told(ask: Callable[[], _T]) -> _T | None:
    try:
        return ask()
    except (Unavailable, Malformed):
        return None
