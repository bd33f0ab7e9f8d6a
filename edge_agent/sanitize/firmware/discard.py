"""Discard, by blkdiscard: a hint that the blocks are not needed. What the drive makes of it only a read back can tell.

Never `--secure`, which most drives refuse, nor `--zeroout`, which is an overwrite. With `--force`: else the tool wants
to hold the drive alone, and we do.
"""

from dataclasses import replace

from edge_agent.sanitize.drive import Drive, Watch
from edge_agent.sanitize.firmware.ending import done, ended
from edge_agent.sanitize.firmware.tools import Tools
from shared.clock import Clock
from shared.errors import Unavailable
from shared.sanitization.report import Considered, Step, StepOutcome
from shared.sanitization.technique import Available, Technique

_PARTS = 64
_ALIGNED_BYTES = 1 << 20
_LIMIT_S = 600.0


def supports(drive: Drive) -> Considered:
    """Return what the kernel says of it. Raises Unavailable."""
    try:
        most = int((drive.sysfs / "queue" / "discard_max_bytes").read_text(encoding="ascii"))
    except (OSError, ValueError) as exc:
        raise Unavailable("the kernel does not say whether the drive takes discards") from exc
    if most > 0:
        return Considered(
            Technique.DISCARD, Available.YES, "the drive takes discards; all of it is read back afterwards"
        )
    return Considered(Technique.DISCARD, Available.NO, "the drive takes no discards")


class Discard:
    def __init__(self, drive: Drive, tools: Tools, clock: Clock) -> None:
        self._drive, self._tools, self._clock = drive, tools, clock

    def run(self, noted: Step, watch: Watch) -> Step:
        """Discard part after part, always from the beginning: it is quick, and what was done once is done."""
        size = self._drive.medium.size_bytes
        part = max(_ALIGNED_BYTES, -(-size // _PARTS // _ALIGNED_BYTES) * _ALIGNED_BYTES)
        noted = replace(noted, bytes_total=size, bytes_written=0)
        for first in range(0, size, part):
            if watch.is_stopped:
                return ended(noted, self._clock, StepOutcome.INTERRUPTED, "stopped")
            count = min(part, size - first)
            where = f"--offset={first}", f"--length={count}", str(self._drive.node)
            answer = self._tools.run("blkdiscard", "--force", *where, limit_s=_LIMIT_S)
            if answer.code != 0:
                outcome = StepOutcome.FAILED if first else StepOutcome.REFUSED
                return ended(noted, self._clock, outcome, f"the drive did not take it at byte {first}: {answer.words}")
            noted = replace(noted, bytes_written=first + count)
            watch.at(first + count, size)
        return done(noted, self._clock, "every discard was answered with success; only a read back shows more")
