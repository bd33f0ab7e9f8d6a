"""The one place where these tests know how the agent is made inside; everything else looks at it from outside."""

import inspect
from collections.abc import Callable, Collection
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from edge_agent.agent import Agent
from edge_agent.capture.pipeline import CapturePipeline
from edge_agent.config import AgentFolder
from edge_agent.deliver.receipts import Receipts
from edge_agent.https import HttpsDoor

# What an object in the spool begins with: docs/formats/sealed-object.md section 7.
_OBJECT = b"LGOBJT"


def object_files(folder: AgentFolder) -> list[Path]:
    """Return the files of the sealed objects that wait, oldest first."""
    return sorted(
        (path for path in folder.spool.rglob("*") if path.is_file() and path.read_bytes()[:6] == _OBJECT),
        key=lambda path: (path.stat().st_mtime_ns, path.name),
    )


def perhaps_twice(unanswered: Collection[bytes]) -> Collection[bytes]:
    """Return which images may be there twice because their first answer was lost and they were sent again."""
    recognises_resends = "instances" in inspect.signature(CapturePipeline).parameters
    return () if recognises_resends else unanswered


def on_its_way_bytes(folder: AgentFolder) -> int:
    """Return how much is written of the images that are on their way in; zero: there is none."""
    return sum(path.stat().st_size for path in (folder.spool / "incoming").iterdir())


def give_pipeline(agent: Agent, wrap: Callable[[CapturePipeline], object]) -> None:
    """Have the listener use another pipeline."""
    agent.listener._pipeline = cast("CapturePipeline", wrap(agent.listener._pipeline))


def give_receipts(agent: Agent, receipts: Receipts) -> None:
    """Have delivery ask other receipts whether an object has arrived."""
    _delivery(agent)._receipts = receipts


def give_delivery_door(agent: Agent, timeout_s: float) -> None:
    """Have delivery wait no longer, or much longer, for the vault."""
    doors = agent._identity.config.doors
    _delivery(agent)._door = HttpsDoor(doors.host, doors.https_port, agent._context(), timeout_s)


@contextmanager
def unreadable(path: Path) -> Any:
    """Have every read of an object's bytes fail with an I/O error, as from a bad sector."""
    kept = path.with_name(f"kept-{path.name}")
    path.rename(kept)
    # Address zero of any process is not mapped: open succeeds and read says EIO.
    path.symlink_to("/proc/self/mem")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        kept.rename(path)


def _delivery(agent: Agent) -> Any:
    (part,) = [part for part in agent._parts if part.name == "delivery"]
    return part
