"""Commands to a drive's firmware, each in two halves: what is noted before it, and what came of it.

    noted = commands.begin(technique, drive)      # kept durably before anything is done to the drive
    step  = commands.run(noted, drive, watch)
    step  = commands.resume(noted, drive, watch)  # after the power was cut, or whoever ran it was killed

What is asked of a drive that may have begun already is its status, never the same thing once more.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from edge_agent.sanitize.drive import Drive, Watch
from edge_agent.sanitize.engine.direct import open_drive
from edge_agent.sanitize.firmware import ata, nvme, scsi
from edge_agent.sanitize.firmware.ata import AtaSanitizer, SecureErase
from edge_agent.sanitize.firmware.discard import Discard
from edge_agent.sanitize.firmware.ending import ended
from edge_agent.sanitize.firmware.mmc import MmcSanitize
from edge_agent.sanitize.firmware.nvme import Format, NvmeSanitizer
from edge_agent.sanitize.firmware.sanitizing import Held, Sanitizer, Sanitizing
from edge_agent.sanitize.firmware.scsi import ScsiSanitizer
from edge_agent.sanitize.firmware.tools import Tools
from shared.clock import Clock
from shared.errors import Malformed, Refused, Unavailable
from shared.sanitization.report import NOWHERE, Step, StepOutcome
from shared.sanitization.technique import Technique

_SANITIZERS: Mapping[Technique, Callable[[Technique, Drive, Tools], Sanitizer]] = {
    **dict.fromkeys(ata.SANITIZES, AtaSanitizer),
    **dict.fromkeys(nvme.SANITIZES, NvmeSanitizer),
    **dict.fromkeys(scsi.SANITIZES, ScsiSanitizer),
}
_PROGRAMS: Mapping[Technique, str] = {
    **dict.fromkeys((*ata.SANITIZES, *ata.ERASES), "hdparm"),
    **dict.fromkeys((*nvme.SANITIZES, *nvme.FORMATS), "nvme"),
    **dict.fromkeys(scsi.SANITIZES, "sg_sanitize"),
    Technique.MMC_SANITIZE: "mmc",
    Technique.DISCARD: "blkdiscard",
}
# What reads as zeros afterwards, by what was asked of the drive.
_ZEROS = {
    Technique.ATA_SANITIZE_OVERWRITE, Technique.NVME_SANITIZE_OVERWRITE, Technique.SCSI_SANITIZE_OVERWRITE,
    Technique.DISCARD,
}  # fmt: skip


def alone(drive: Drive) -> Held:
    """Hold the drive by O_EXCL, so that nobody mounts it meanwhile. Raises NotOpened, NotThere."""
    return open_drive(drive.node, drive.number, drive.sequence)


class Commands:
    """`pause` waits that many seconds. Covers what `is_of_firmware` says; the others are no commands to a drive."""

    def __init__(
        self,
        tools: Tools,
        clock: Clock,
        pause: Callable[[float], None],
        alone: Callable[[Drive], Held] = alone,
    ) -> None:
        self._tools, self._clock, self._pause, self._alone = tools, clock, pause, alone

    @staticmethod
    def is_of_firmware(technique: Technique) -> bool:
        return technique in _PROGRAMS

    def begin(self, technique: Technique, drive: Drive) -> Step:
        """Return what is known before, of outcome *unknown*. Raises Unavailable, Malformed: do not run it."""
        now = self._clock.now()
        noted = Step(
            technique=technique, part="", tool=self._tools.version(_PROGRAMS[technique]), outcome=StepOutcome.UNKNOWN,
            accepted=False, progress_seen=False, completed=False,
            pattern="00" if technique in _ZEROS else "", commitment=None, seed=None,
            bytes_total=drive.medium.size_bytes, bytes_written=0, retries=0, unwritable=NOWHERE, resumed=0,
            started=now, ended=None, detail="", facts={},
        )  # fmt: skip
        return self._sanitizing(technique, drive).begin(noted) if technique in _SANITIZERS else noted

    def run(self, noted: Step, drive: Drive, watch: Watch) -> Step:
        """Return what came of it; nothing of the drive's makes it raise."""
        if watch.is_stopped:
            return ended(noted, self._clock, StepOutcome.INTERRUPTED, "stopped before the command was given")
        technique = noted.technique
        if technique in _SANITIZERS:
            return self._sanitizing(technique, drive).run(noted, drive.medium.size_bytes, watch)
        if technique in ata.ERASES:
            erase = SecureErase(drive, self._tools, self._clock)
            return self._held(noted, drive, StepOutcome.REFUSED, lambda: erase.run(noted, watch))
        return self._held(noted, drive, StepOutcome.REFUSED, lambda: self._waited(noted, drive, watch))

    def resume(self, noted: Step, drive: Drive, watch: Watch) -> Step:
        technique = noted.technique
        if technique in _SANITIZERS:
            return self._sanitizing(technique, drive).resume(noted, drive.medium.size_bytes, watch)
        if technique in ata.ERASES:
            erase = SecureErase(drive, self._tools, self._clock)
            return self._held(noted, drive, StepOutcome.UNKNOWN, lambda: erase.resume(noted, watch))
        # These do not go on by themselves, and what they did to a part is done: they are given once more.
        again = replace(noted, resumed=noted.resumed + 1)
        return self._held(again, drive, StepOutcome.UNKNOWN, lambda: self._waited(again, drive, watch))

    def _held(self, noted: Step, drive: Drive, otherwise: StepOutcome, do: Callable[[], Step]) -> Step:
        with ExitStack() as held:
            try:
                held.enter_context(self._alone(drive))
            except (Refused, Unavailable) as exc:
                return ended(noted, self._clock, otherwise, f"nothing was done now: {exc}")
            try:
                return do()
            except (Unavailable, Malformed) as exc:
                return ended(noted, self._clock, StepOutcome.UNKNOWN, f"the drive could not be asked: {exc}")

    def _waited(self, noted: Step, drive: Drive, watch: Watch) -> Step:
        if noted.technique in nvme.FORMATS:
            return Format(drive, self._tools, self._clock).run(noted, watch)
        if noted.technique is Technique.MMC_SANITIZE:
            return MmcSanitize(drive, self._tools, self._clock).run(noted, watch)
        return Discard(drive, self._tools, self._clock).run(noted, watch)

    def _sanitizing(self, technique: Technique, drive: Drive) -> Sanitizing:
        sanitizer = _SANITIZERS[technique](technique, drive, self._tools)
        return Sanitizing(sanitizer, self._clock, self._pause, lambda: self._alone(drive))
