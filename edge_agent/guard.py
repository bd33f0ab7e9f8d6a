"""Stands in until the guard's parts are joined."""

from edge_agent.guard_options import RunOptions
from shared.errors import Unavailable


class NotJoined(Unavailable):
    def __init__(self) -> None:
        super().__init__("this build has no guard to run yet")


def run(_options: RunOptions) -> None:
    """Raises NotJoined."""
    raise NotJoined
