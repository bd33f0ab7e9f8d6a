"""The control plane, which kills itself around the commit of a step of a roll-out, as kill -9 would at that moment.

python -m tests.scenarios.dying_centre POINT run --data DIR ...     (the rest is the control plane's own command line)

POINT is before or after, a hyphen, and publishing (the row of a roll-out is new) or widening (a ring was opened).
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable
from threading import local

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from control_plane.__main__ import main
from control_plane.db.models import RolloutRow

_STEPS: dict[str, Callable[[Session], Iterable[object]]] = {
    "publishing": lambda session: session.new,
    "widening": lambda session: session.dirty,
}


def die_at(point: str) -> None:
    """Have this process end around the next commit of such a step, whichever thread makes it."""
    when, _, step = point.partition("-")
    written = local()

    def note(session: Session, *_: object) -> None:
        if any(isinstance(row, RolloutRow) for row in _STEPS[step](session)):
            written.by_this_thread = True

    def die(*_: object) -> None:
        if getattr(written, "by_this_thread", False):
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Session, "after_flush", note)
    if when == "before":
        event.listen(Engine, "commit", die)  # all is written, and nothing of it would be there after a power cut
    else:
        event.listen(Session, "after_commit", die)


if __name__ == "__main__":
    die_at(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
