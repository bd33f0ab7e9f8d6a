"""eMMC: sanitize, by mmc-utils. It takes what is unmapped, so all is discarded first, and nothing tells that it ran."""

import re
from dataclasses import dataclass, replace

from edge_agent.sanitize.drive import Drive, Watch
from edge_agent.sanitize.firmware.discard import Discard
from edge_agent.sanitize.firmware.ending import done, ended
from edge_agent.sanitize.firmware.sanitizing import limit_s
from edge_agent.sanitize.firmware.tools import NoAnswer, Tools
from shared.clock import Clock
from shared.errors import Malformed, Unavailable
from shared.sanitization.report import Step, StepOutcome

_WHAT = "answer of mmc extcsd read"
_REGISTER = re.compile(rb"\[(?P<name>[A-Z0-9_]+)(: 0x(?P<inside>[0-9a-f]{2,8})\]|\]: 0x(?P<after>[0-9a-f]{2,8}))")
_UNIT_BYTES = 128 << 10
_SANITIZE = 1 << 6


@dataclass(frozen=True)
class Registers:
    """`boot_bytes` are of each of two boot partitions, `rpmb_bytes` of another one beside what is wiped."""

    sanitize: bool
    boot_bytes: int
    rpmb_bytes: int


def registers(drive: Drive, tools: Tools) -> Registers:
    """Raises Unavailable, Malformed."""
    answer = tools.run("mmc", "extcsd", "read", str(drive.node))
    if answer.code != 0:
        raise Unavailable(f"the card does not hand out its EXT_CSD: {answer.words}")
    return parse(answer.out)


def parse(output: bytes) -> Registers:
    """Raises Malformed."""
    found: dict[bytes, int] = {}
    for each in _REGISTER.finditer(output):
        value = int(each["inside"] or each["after"], 16)
        if found.setdefault(each["name"], value) != value:
            raise Malformed(_WHAT, "a register has two values")
    try:
        features, boot, rpmb = found[b"SEC_FEATURE_SUPPORT"], found[b"BOOT_SIZE_MULTI"], found[b"RPMB_SIZE_MULT"]
    except KeyError as exc:
        raise Malformed(_WHAT, f"it does not name {exc.args[0].decode()}") from exc
    return Registers(bool(features & _SANITIZE), boot * _UNIT_BYTES, rpmb * _UNIT_BYTES)


class MmcSanitize:
    def __init__(self, drive: Drive, tools: Tools, clock: Clock) -> None:
        self._drive, self._tools, self._clock = drive, tools, clock
        self._discard = Discard(drive, tools, clock)

    def run(self, noted: Step, watch: Watch) -> Step:
        discarded = self._discard.run(noted, watch)
        if discarded.outcome is not StepOutcome.DONE:
            return discarded
        noted = replace(noted, facts={**noted.facts, "discarded_bytes": discarded.bytes_written})
        try:
            limit = limit_s(None, self._drive.medium.size_bytes)
            answer = self._tools.run("mmc", "sanitize", str(self._drive.node), limit_s=limit)
        except NoAnswer as exc:
            return ended(noted, self._clock, StepOutcome.UNKNOWN, f"{exc}; what became of it is not known")
        if answer.code != 0 or answer.err:
            return ended(noted, self._clock, StepOutcome.REFUSED, f"the card did not take the command: {answer.words}")
        return done(noted, self._clock, "the card was busy with it and said that it ended; it keeps no log")
