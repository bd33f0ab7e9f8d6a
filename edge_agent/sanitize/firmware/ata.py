"""ATA: sanitize (block erase, crypto scramble, overwrite) and secure erase, by hdparm.

A secure erase needs a password on the drive, which the drive drops when it has ended well. It is the same everywhere
and no secret, so that whoever finds a drive that was cut off under it can open it.
"""

import re
from dataclasses import replace

from edge_agent.sanitize.drive import Drive, Watch
from edge_agent.sanitize.firmware import ata_identify
from edge_agent.sanitize.firmware.ata_identify import Identity, Security
from edge_agent.sanitize.firmware.capacity import have_it_asked_again
from edge_agent.sanitize.firmware.ending import done, ended
from edge_agent.sanitize.firmware.sanitizing import State, Status, limit_s
from edge_agent.sanitize.firmware.tools import Answer, NoAnswer, Tools
from shared.clock import Clock
from shared.errors import Malformed, Unavailable
from shared.sanitization.report import Step, StepOutcome
from shared.sanitization.technique import Technique

PASSWORD = "LEADGLASS"  # noqa: S105 (known to everybody: it guards nothing)
OPENED_BY = f"hdparm --user-master u --security-disable {PASSWORD}"
SURE = "--yes-i-know-what-i-am-doing"
SANITIZES: dict[Technique, tuple[str, ...]] = {
    Technique.ATA_SANITIZE_BLOCK: (SURE, "--sanitize-block-erase"),
    Technique.ATA_SANITIZE_CRYPTO: (SURE, "--sanitize-crypto-scramble"),
    Technique.ATA_SANITIZE_OVERWRITE: (
        SURE, "--sanitize-overwrite-passes", "1", "--sanitize-overwrite", "hex:00000000",
    ),
}  # fmt: skip
ERASES = {
    Technique.ATA_SECURE_ERASE: "--security-erase",
    Technique.ATA_SECURE_ERASE_ENHANCED: "--security-erase-enhanced",
}
# hdparm ends with 0 all the same where a bridge or a drive did not give it the answer that the command has.
NO_SENSE = b"bad/missing sense data"
_WHAT = "answer of hdparm --sanitize-status"
_STATUS = re.compile(
    r"[^\n]*:\nIssuing SANITIZE_STATUS command\nSanitize status:\n"
    r" +State: +(?P<state>SD[012]) [^\n]*\n"
    r"( +Progress: 0x(?P<progress>[0-9a-f]{1,4}) \([0-9]{1,3}%\)\n)?"
    r"(?P<well> +Last Sanitize Operation Completed Without Error\n)?"
    r"( +Antifreeze bit set\n)?"
)
_STATES = {"SD0": State.IDLE, "SD1": State.FROZEN, "SD2": State.RUNNING}
_FAILED = b"Drive in SD3 Sanitize Operation Failed state"
_ENDED_WELL = "completed without error"


def identity(drive: Drive, tools: Tools) -> Identity:
    """Raises Unavailable, Malformed."""
    answer = tools.run("hdparm", "--Istdout", str(drive.node))
    if answer.code != 0 or NO_SENSE in answer.err:
        raise Unavailable(f"the drive does not answer IDENTIFY DEVICE: {answer.words}")
    return ata_identify.parse(answer.out)


def parse_status(answer: Answer) -> Status:
    """Raises Unavailable, Malformed."""
    if _FAILED in answer.err:
        return Status(State.FAILED)
    if answer.code != 0 or NO_SENSE in answer.err:
        raise Unavailable(f"the drive does not answer SANITIZE STATUS: {answer.words}")
    found = _STATUS.fullmatch(answer.out.decode("ascii", "replace").strip(" \n") + "\n")
    if found is None:
        raise Malformed(_WHAT, "expected a state, and progress where it is at work")
    state = _STATES[found["state"]]
    if (state is State.RUNNING) != (found["progress"] is not None):
        raise Malformed(_WHAT, "expected progress where it is at work and nowhere else")
    return Status(state, int(found["progress"] or "0", 16), _ENDED_WELL if found["well"] else "")


class AtaSanitizer:
    keeps_log = True

    def __init__(self, technique: Technique, drive: Drive, tools: Tools) -> None:
        self._arguments, self._node, self._tools = SANITIZES[technique], str(drive.node), tools
        self._drive = drive

    def status(self) -> Status:
        return parse_status(self._tools.run("hdparm", "--sanitize-status", self._node))

    def start(self) -> str:
        answer = self._tools.run("hdparm", *self._arguments, self._node)
        return answer.words if answer.code != 0 or NO_SENSE in answer.err else ""

    def estimate_s(self) -> int | None:
        return None

    def names(self, record: str) -> bool:
        return record == _ENDED_WELL

    def settle(self) -> None:
        # Of a drive at its own controller the kernel keeps the size; one behind a bridge is a SCSI drive to it.
        have_it_asked_again(self._drive)


class SecureErase:
    """Set the password, see that the drive took it, erase, see that the drive dropped it."""

    def __init__(self, drive: Drive, tools: Tools, clock: Clock) -> None:
        self._drive, self._tools, self._clock = drive, tools, clock

    def run(self, noted: Step, watch: Watch) -> Step:
        security = self._security()
        if security is None:
            return ended(noted, self._clock, StepOutcome.REFUSED, "the drive does not answer; nothing was started")
        if security.enabled:
            why = "the drive is under a password already, which nobody gave us: have it taken off, then go on"
            return ended(noted, self._clock, StepOutcome.REFUSED, why)
        return self._erase(noted, security, watch)

    def resume(self, noted: Step, watch: Watch) -> Step:
        """An erase does not go on after a power cut: the drive waits, locked, for the same command."""
        noted = replace(noted, resumed=noted.resumed + 1)
        security = self._security()
        if security is None:
            return ended(noted, self._clock, StepOutcome.UNKNOWN, "the drive does not say what became of it")
        return self._erase(noted, security, watch)

    def _erase(self, noted: Step, security: Security, watch: Watch) -> Step:
        if security.frozen:
            return ended(noted, self._clock, StepOutcome.REFUSED, FROZEN)
        if not security.enabled:
            why_not = self._asked("--security-set-pass")
            taken = self._security()
            if taken is None:
                return self._not_known(noted, "the drive does not say whether it took the password")
            if not taken.enabled:
                return ended(noted, self._clock, StepOutcome.REFUSED, f"the drive did not take a password: {why_not}")
        watch.at(0, 1)
        enhanced = noted.technique is Technique.ATA_SECURE_ERASE_ENHANCED
        minutes = security.enhanced_minutes if enhanced else security.erase_minutes
        limit = limit_s(None if minutes is None else minutes * 60, self._drive.medium.size_bytes)
        try:
            why_not = self._asked(ERASES[noted.technique], limit)
        except NoAnswer as exc:
            return self._not_known(noted, f"{exc}; the drive may be erasing still, go on later")
        return self._judged(noted, why_not, watch)

    def _judged(self, noted: Step, why_not: str, watch: Watch) -> Step:
        after = self._security()
        if after is None:
            return self._not_known(noted, f"the drive does not answer after it: {why_not}")
        if after.enabled:
            return self._failed(noted, why_not or "it kept the password, so it did not end well")
        if why_not:
            return self._failed(noted, why_not)
        watch.at(1, 1)
        noted = _under_password(noted, is_left=False)
        return done(noted, self._clock, "the drive took the password, the erase, and dropped the password")

    def _not_known(self, noted: Step, why: str) -> Step:
        return ended(_under_password(noted, is_left=True), self._clock, StepOutcome.UNKNOWN, why)

    def _failed(self, noted: Step, why: str) -> Step:
        """Take the password off again where the drive lets us, and say so where it does not."""
        self._asked("--security-disable")
        left = self._security()
        is_left = left is None or left.enabled
        more = f"; it is under our password still ({OPENED_BY})" if is_left else ""
        noted = _under_password(noted, is_left=is_left)
        return ended(noted, self._clock, StepOutcome.FAILED, f"the drive did not erase: {why}{more}")

    def _asked(self, option: str, limit_s: float = 60.0) -> str:
        """Return why the drive did not do it, or nothing. Raises NoAnswer."""
        answer = self._tools.run(
            "hdparm", "--user-master", "u", option, PASSWORD, str(self._drive.node), limit_s=limit_s
        )
        return answer.words if answer.code != 0 or NO_SENSE in answer.err else ""

    def _security(self) -> Security | None:
        try:
            return identity(self._drive, self._tools).security
        except (Unavailable, Malformed):
            return None


def _under_password(step: Step, *, is_left: bool) -> Step:
    return replace(step, facts={**step.facts, "password_left": is_left})


FROZEN = (
    "frozen by the machine's firmware: send the machine to sleep and wake it, or pull and give back the drive's power "
    "while it runs, then look again"
)
