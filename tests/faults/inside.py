"""The one place where these tests know how the agent is made inside; everything else looks at it from outside."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from edge_agent.agent import Agent
from edge_agent.capture.crowd import Crowd, Limits
from edge_agent.capture.pipeline import CapturePipeline
from edge_agent.capture.store import CaptureStore
from edge_agent.config import AgentFolder
from edge_agent.database import Database
from edge_agent.deliver.receipts import Receipts
from edge_agent.forward.forwards import Forwards
from edge_agent.https import HttpsDoor
from edge_agent.spool.catalogue import Spooled
from edge_agent.spool.spool import Spool


@dataclass(frozen=True)
class Lying:
    """A sealed object that waits, as bytes of a file: for what spoils bytes on a disk."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        return self.path.read_bytes()[self.offset : self.offset + self.size]

    def write(self, data: bytes) -> None:
        """Put `data`, of the same length, in its place."""
        assert len(data) == self.size
        with self.path.open("r+b") as file:
            file.seek(self.offset)
            file.write(data)


def waiting_objects(folder: AgentFolder) -> list[Lying]:
    """Return the sealed objects that wait in a folder in which no agent runs, oldest first."""
    database = Database(folder.database)
    spool = Spool(folder.spool, database)
    try:
        return [_lying(spool, spooled) for spooled in spool.everything()]
    finally:
        database.close()


def _lying(spool: Spool, spooled: Spooled) -> Lying:
    if spooled.place is None:
        return Lying(spool.files / spooled.name, 0, spooled.object_bytes)
    return Lying(spool.segments.path(spooled.place.segment), spooled.place.offset, spooled.object_bytes)


def on_its_way_bytes(folder: AgentFolder) -> int:
    """Return how much is written to the disk of the images that are on their way in."""
    return sum(path.stat().st_size for path in (folder.spool / "incoming").iterdir())


def are_on_their_way(folder: AgentFolder) -> bool:
    """Return whether an image has begun to come in."""
    return any((folder.spool / "attempts").read_bytes())


def give_pipeline(agent: Agent, wrap: Callable[[CapturePipeline], object]) -> None:
    """Have the listener use another pipeline."""
    agent.listener._pipeline = cast("CapturePipeline", wrap(agent.listener._pipeline))


def give_receipts(agent: Agent, receipts: Receipts) -> None:
    """Have delivery ask other receipts whether an object has arrived."""
    _part(agent, "delivery")._receipts = receipts


def give_forwards(captures: CaptureStore, pipeline: CapturePipeline, forwards: Forwards) -> None:
    """Have what is captured owed to the archives of this host's routes."""
    pipeline.forwards, captures.entries._owe = forwards, forwards.add


def give_the_time_of_day(agent: Agent) -> None:
    """Have associations wait by the clock that people set, and not by one that only rises."""
    agent.listener._monotonic = time.time  # noqa: TID251  what it is there to show


def give_no_limits(agent: Agent) -> None:
    """Have the listener let in as many as come."""
    most = 1_000_000
    agent.listener._crowd = Crowd(Limits(most, most, most, most))


def give_no_reserve(agent: Agent) -> None:
    """Have the spool write to the disk's last page: somebody else may fill what it keeps in reserve at any moment."""
    agent.spool._reserve_bytes = 0


def give_a_small_disk(agent: Agent) -> None:
    """Have segments written in advance as where little is free: one, not the half gigabyte of a large disk."""
    keeper = _part(agent, "spool-keeper")
    free_bytes = keeper._free_bytes
    keeper._free_bytes = lambda: min(free_bytes(), 2 << 30)


def give_doors(agent: Agent, timeout_s: float) -> None:
    """Have every part wait no longer, or much longer, for the centre."""
    doors = agent._identity.config.doors
    for part in agent._parts:
        if isinstance(getattr(part, "_door", None), HttpsDoor):
            cast("Any", part)._door = HttpsDoor(doors.host, doors.https_port, agent._context(), timeout_s)


@contextmanager
def unreadable(lying: Lying) -> Any:
    """Have every read of an object's bytes fail with an I/O error, as from a bad sector.

    For one that is a file of its own: which part of a file fails cannot be arranged without a device of our own.
    """
    path = lying.path
    assert lying.offset == 0
    kept = path.with_name(f"kept-{path.name}")
    path.rename(kept)
    # Address zero of any process is not mapped: open succeeds and read says EIO.
    path.symlink_to("/proc/self/mem")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        kept.rename(path)


def _part(agent: Agent, name: str) -> Any:
    (part,) = [part for part in agent._parts if part.name == name]
    return part
