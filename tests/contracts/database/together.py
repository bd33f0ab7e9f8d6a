"""Work that waits together for one group commit."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from control_plane.db.group import GroupCommit
from provisioning.demo.processes import wait_until

Work = Callable[[Session], Any]
_MOST_S = 60.0


def together(group: GroupCommit, first: Work, works: Sequence[Work]) -> tuple["Future[Any]", list["Future[Any]"]]:
    """Have `works` wait for the next commit while that of `first` is under way; return how it and they ended."""
    return asking_together(group, first, [partial(group.run, work) for work in works])


def asking_together(
    group: GroupCommit, first: Work, asking: Sequence[Callable[[], Any]]
) -> tuple["Future[Any]", list["Future[Any]"]]:
    """Do the same of whoever begins by asking for a commit, whatever else it does then."""
    begun, others = threading.Event(), threading.Event()

    def lead(session: Session) -> Any:
        result = first(session)
        begun.set()
        assert others.wait(2 * _MOST_S)
        return result

    with ThreadPoolExecutor(len(asking) + 1) as pool:
        leading = pool.submit(group.run, lead)
        assert begun.wait(_MOST_S)
        waiting = [pool.submit(one) for one in asking]
        try:
            await_waiting(group, len(asking))
        finally:
            others.set()
    return leading, waiting


def await_waiting(group: GroupCommit, count: int) -> None:
    assert wait_until(lambda: len(group._waiting) >= count, _MOST_S, look_every_s=0.001) is not None
