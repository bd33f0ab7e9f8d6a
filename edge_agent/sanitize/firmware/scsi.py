"""SCSI and SAS: sanitize, by sg3-utils. The drive keeps no log: that it was seen at work is all that proves it."""

import re

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.firmware import sense
from edge_agent.sanitize.firmware.capacity import have_it_asked_again
from edge_agent.sanitize.firmware.sanitizing import Status
from edge_agent.sanitize.firmware.tools import Answer, Tools
from shared.errors import Malformed, Unavailable
from shared.sanitization.report import Considered
from shared.sanitization.technique import Available, Technique

SANITIZES: dict[Technique, tuple[str, ...]] = {
    Technique.SCSI_SANITIZE_BLOCK: ("--block",),
    Technique.SCSI_SANITIZE_CRYPTO: ("--crypto",),
    Technique.SCSI_SANITIZE_OVERWRITE: ("--overwrite", "--zero"),
}
_SERVICE_ACTIONS = {
    Technique.SCSI_SANITIZE_OVERWRITE: 1,
    Technique.SCSI_SANITIZE_BLOCK: 2,
    Technique.SCSI_SANITIZE_CRYPTO: 3,
}
_TOLD_BEFORE = 3  # what a drive has to say first of other things, each once
_SUPPORTED = re.compile(
    rb"^ *Command (is )?(?P<how>supported \[[^\]\n]+\]|NOT supported|not currently available)", re.M
)


def supports(technique: Technique, drive: Drive, tools: Tools) -> Considered:
    """Ask by REPORT SUPPORTED OPERATION CODES. Raises Unavailable: a drive that does not answer it says nothing."""
    operation = f"--opcode=0x48,{_SERVICE_ACTIONS[technique]:x}"
    answer = tools.run("sg_opcodes", "--no-inquiry", operation, str(drive.node))
    if parse_supported(answer):
        return Considered(technique, Available.YES, "the drive lists it among its commands")
    return Considered(technique, Available.NO, "the drive says that it does not have it")


def parse_supported(answer: Answer) -> bool:
    """Raises Unavailable, Malformed."""
    if answer.code != 0:
        raise Unavailable(f"the drive does not say which commands it has: {answer.words}")
    found = _SUPPORTED.findall(answer.out)
    if len(found) != 1:
        raise Malformed("answer of sg_opcodes", "expected one line that says whether the command is supported")
    return bool(found[0][1].startswith(b"supported"))


class ScsiSanitizer:
    keeps_log = False

    def __init__(self, technique: Technique, drive: Drive, tools: Tools) -> None:
        self._arguments, self._node, self._tools = SANITIZES[technique], str(drive.node), tools
        self._drive = drive

    def status(self) -> Status:
        said = self._sense()
        for _ in range(_TOLD_BEFORE):
            if said.is_told_once:
                said = self._sense()
        return said.status

    def _sense(self) -> sense.Sense:
        answer = self._tools.run("sg_requests", "--raw", self._node)
        if answer.code != 0 and not answer.out:
            raise Unavailable(f"the drive does not answer REQUEST SENSE: {answer.words}")
        return sense.parse(answer.out)

    def start(self) -> str:
        answer = self._tools.run("sg_sanitize", *self._arguments, "--early", "--quick", self._node)
        # It ends with 0 where the host adapter could not hand the command over, and says so in words alone.
        return answer.words if answer.code != 0 or b"_status=" in answer.err else ""

    def estimate_s(self) -> int | None:
        return None

    def names(self, record: str) -> bool:
        return record != ""

    def settle(self) -> None:
        have_it_asked_again(self._drive)
