"""What is asked of this machine about drives, and what is done to one: everything of a wipe that touches the world."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent.config import AgentFolder
from edge_agent.sanitize import capabilities, luks
from edge_agent.sanitize import hidden as hidden_areas
from edge_agent.sanitize.circumstances import gather
from edge_agent.sanitize.drive import Drive, Watch
from edge_agent.sanitize.drives import DriveGone, DriveSwapped, find_again, find_drives, look_in_child
from edge_agent.sanitize.engine.device import Device
from edge_agent.sanitize.engine.direct import open_drive
from edge_agent.sanitize.firmware.commands import Commands
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.fitting import is_same
from edge_agent.sanitize.health import health
from edge_agent.sanitize.luks import Attested
from edge_agent.sanitize.refuse import Circumstances
from shared.clock import Clock
from shared.sanitization.medium import Medium
from shared.sanitization.report import Considered, HiddenArea, Step
from shared.sanitization.technique import Facts, Technique


@dataclass(frozen=True)
class Known:
    """What is known of a ticket and this host without looking at a drive."""

    is_ticket_used: bool
    hold: bool | None
    is_clock_sure: bool


class Hands(Protocol):
    def drives(self) -> Sequence[Drive]:
        """Return every drive that is here."""

    def again(self, drive: Drive) -> Drive:
        """Return the same drive as it is now. Raises DriveGone, DriveSwapped."""

    def circumstances(self, drive: Drive, present: Sequence[Drive], known: Known) -> Circumstances: ...

    def considered(self, drive: Drive) -> tuple[Considered, ...]:
        """Return of each technique whether the drive has it."""

    def hidden(self, drive: Drive) -> tuple[HiddenArea, ...]: ...

    def remove_hidden(self, drive: Drive) -> tuple[HiddenArea, ...]: ...

    def health(self, drive: Drive) -> Facts: ...

    def open(self, drive: Drive) -> AbstractContextManager[Device]:
        """Have the drive for oneself. Raises NotOpened, NotThere."""

    def begin(self, technique: Technique, drive: Drive) -> Step:
        """Return what is to be kept before `run` gives the command. Raises Unavailable, Malformed."""

    def run(self, noted: Step, drive: Drive, watch: Watch, attested: Attested) -> Step: ...

    def resume(self, noted: Step, drive: Drive, watch: Watch, attested: Attested) -> Step:
        """Find out what became of a command that was cut short, and bring it to an end."""


class OfThisMachine:
    """`states` are the folders in which this software keeps what a wipe must not take away."""

    def __init__(self, agent: AgentFolder, states: Sequence[Path], tools: Tools, clock: Clock) -> None:
        self._agent, self._states, self._tools, self._clock = agent, tuple(states), tools, clock
        self._commands = Commands(tools, clock, time.sleep)

    def drives(self) -> Sequence[Drive]:
        return find_drives()

    def again(self, drive: Drive) -> Drive:
        return find_again(drive, look=look_in_child)

    def circumstances(self, drive: Drive, present: Sequence[Drive], known: Known) -> Circumstances:
        return gather(
            drive,
            present,
            agent=self._agent,
            states=self._states,
            is_ticket_used=known.is_ticket_used,
            hold=known.hold,
            is_clock_sure=known.is_clock_sure,
        )

    def considered(self, drive: Drive) -> tuple[Considered, ...]:
        return capabilities.considered(drive, self._tools)

    def hidden(self, drive: Drive) -> tuple[HiddenArea, ...]:
        return hidden_areas.hidden_areas(drive, self._tools)

    def remove_hidden(self, drive: Drive) -> tuple[HiddenArea, ...]:
        return hidden_areas.remove_hidden(drive, self._tools)

    def health(self, drive: Drive) -> Facts:
        return health(drive)

    def open(self, drive: Drive) -> AbstractContextManager[Device]:
        return open_drive(drive.node, drive.number, drive.sequence)

    def begin(self, technique: Technique, drive: Drive) -> Step:
        return luks.begin(drive) if technique is Technique.LUKS_ERASE else self._commands.begin(technique, drive)

    def run(self, noted: Step, drive: Drive, watch: Watch, attested: Attested) -> Step:
        if noted.technique is Technique.LUKS_ERASE:
            return luks.erase(noted, drive, watch, attested)
        return self._commands.run(noted, drive, watch)

    def resume(self, noted: Step, drive: Drive, watch: Watch, attested: Attested) -> Step:
        if noted.technique is Technique.LUKS_ERASE:
            return luks.resume(noted, drive, watch, attested)
        return self._commands.resume(noted, drive, watch)


def found_again(hands: Hands, drive: Drive, before: Medium, hidden: Sequence[HiddenArea]) -> Drive:
    """Return a drive that something was done to, also where the kernel knows it anew since, or it is larger now.

    Raises DriveGone, DriveSwapped.
    """
    try:
        return hands.again(drive)
    except (DriveGone, DriveSwapped):
        same = [one for one in hands.drives() if is_same(before, one.medium, hidden)]
        if len(same) != 1:
            raise
        return same[0]
