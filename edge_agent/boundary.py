"""The task boundary: the one place in the agent, beside `main()`, where an error nobody expected is stopped."""

from collections.abc import Callable

from edge_agent.log import Log, where, why


def contained(log: Log, task: str, work: Callable[[], object]) -> bool:
    """Run one unit of work; return whether it ended without an error.

    An error makes this unit fail and no other: an image is refused, a part of the agent is started again.
    """
    try:
        work()
    # An agent that dies of one bad image or one bad message would stop a scanner's day; every error is logged with
    # its place, and whoever asked for the work sees it fail.
    except Exception as exc:  # noqa: BLE001
        log.event("task.failed", task=task, why=why(exc), where=where(exc))
        return False
    return True
