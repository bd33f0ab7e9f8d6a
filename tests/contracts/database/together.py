"""Work that waits together for one group commit."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sqlalchemy.orm import Session

from control_plane.db.group import GroupCommit

Work = Callable[[Session], Any]


def together(group: GroupCommit, first: Work, works: Sequence[Work]) -> tuple["Future[Any]", list["Future[Any]"]]:
    """Have `works` wait for the next commit while that of `first` is under way; return how it and they ended."""
    begun, others = threading.Event(), threading.Event()

    def lead(session: Session) -> Any:
        result = first(session)
        begun.set()
        assert others.wait(30)
        return result

    with ThreadPoolExecutor(len(works) + 1) as pool:
        leading = pool.submit(group.run, lead)
        assert begun.wait(30)
        waiting = [pool.submit(group.run, work) for work in works]
        while len(group._waiting) < len(works):
            threading.Event().wait(0.001)
        others.set()
    return leading, waiting
