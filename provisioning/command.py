"""What every command of `leadglass-provision` shares: how it is added, and its exit codes.

A command lives in `command.py` of its package, whose `add_to` adds a parser with `set_defaults(run=...)`. What is heavy
is imported when it runs.
"""

import argparse
from importlib.util import find_spec
from typing import TypeAlias

from shared.errors import Unavailable

OK, REFUSED, BAD_INPUT, UNAVAILABLE = range(4)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class NotOnAHost(Unavailable):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs the control plane's own code, which no modality host has; run it at the centre")


def verify_centre_is_here(what: str) -> None:
    """Raises NotOnAHost: this is the package of a modality host, which carries nothing of the centre."""
    if find_spec("control_plane") is None:
        raise NotOnAHost(what)
