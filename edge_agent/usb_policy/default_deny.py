"""Has the kernel authorise nothing by itself: what comes before the guard looks, or while it is dead, stays unbound."""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from edge_agent.devices.command_line import authorized_default
from shared.errors import Refused, Unavailable


class DefaultDeny(StrEnum):
    BOOT = "boot"  # since the kernel's start
    LATE = "late"  # since the guard closed it: what came before may have been bound
    NO = "no"


class RootHubs(Protocol):
    def root_hubs(self) -> list[str]: ...
    def authorized_default(self, hub: str, /) -> int | None: ...
    def set_authorized_default(self, hub: str, value: int, /) -> None: ...
    def usbcore_authorized_default(self) -> int | None: ...
    def set_usbcore_authorized_default(self, value: int, /) -> None: ...
    def command_line(self) -> str: ...


class Denial:
    """Has it so, and remembers for the rest of this start of the machine that something was found open.

    `mark` is a file that a start of the machine does away with, and a restart of the guard does not. `untold` names
    what was found open; whoever has recorded it clears it.
    """

    def __init__(self, hubs: RootHubs, mark: Path) -> None:
        self._hubs, self._mark = hubs, mark
        self._was_open = mark.exists()
        self.state, self.untold = DefaultDeny.NO, list[str]()

    def ensure(self) -> None:
        """Close what is open, and take note of it. Raises what `RootHubs.root_hubs` does."""
        self.state, opened = ensure(self._hubs)
        if opened:
            self._was_open = True
            self.untold += [each for each in opened if each not in self.untold]
            # Without the file it is known until the guard ends, and on record.
            with suppress(OSError):
                self._mark.touch(mode=0o600)
        if self._was_open and self.state is DefaultDeny.BOOT:
            self.state = DefaultDeny.LATE


def ensure(hubs: RootHubs) -> tuple[DefaultDeny, list[str]]:
    """Set what is not set, and return what holds by the kernel's own word, and what had to be set just now.

    A controller that is added later comes up with what usbcore says, not with what the other hubs have.
    """
    changed = []
    try:
        if hubs.usbcore_authorized_default() not in (0, None):
            hubs.set_usbcore_authorized_default(0)
            changed.append("usbcore")
        holds = hubs.usbcore_authorized_default() in (0, None)
    except (Unavailable, Refused):
        holds = False
    for hub in hubs.root_hubs():
        try:
            if hubs.authorized_default(hub) != 0:
                hubs.set_authorized_default(hub, 0)
                changed.append(hub)
            holds = holds and hubs.authorized_default(hub) == 0
        except (Unavailable, Refused):
            holds = False
    if not holds:
        return DefaultDeny.NO, changed
    return (DefaultDeny.BOOT if _from_the_start(hubs) else DefaultDeny.LATE), changed


def _from_the_start(hubs: RootHubs) -> bool:
    try:
        return authorized_default(hubs.command_line()) == 0
    except (Unavailable, Refused):
        return False
