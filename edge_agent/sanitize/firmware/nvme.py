"""NVMe: sanitize and format, by nvme-cli.

A sanitize is of the whole subsystem: it would take along every other namespace, which the ticket does not name.
"""

from dataclasses import dataclass, replace

from edge_agent.sanitize.drive import Drive, Watch
from edge_agent.sanitize.firmware import nvme_data
from edge_agent.sanitize.firmware.ending import done, ended
from edge_agent.sanitize.firmware.nvme_data import Controller
from edge_agent.sanitize.firmware.sanitizing import Status, limit_s
from edge_agent.sanitize.firmware.tools import Answer, NoAnswer, Tools
from shared.clock import Clock
from shared.errors import Malformed, Unavailable
from shared.sanitization.report import Step, StepOutcome
from shared.sanitization.technique import Technique

SANITIZES = {
    Technique.NVME_SANITIZE_BLOCK: 2,
    Technique.NVME_SANITIZE_OVERWRITE: 3,
    Technique.NVME_SANITIZE_CRYPTO: 4,
}
FORMATS = {Technique.NVME_FORMAT_USER: 1, Technique.NVME_FORMAT_CRYPTO: 2}
_OVERWRITE = 3
_LONGEST_MS = 2**31 - 1  # of an ioctl
_ONE_PASS_OF_ZEROS = ("--owpass=1", "--ovrpat=0")  # without it, sixteen


@dataclass(frozen=True)
class Subsystem:
    """`namespaces` are all that exist, attached or not; `controllers` is None where the drive does not say how many."""

    controller: Controller
    namespaces: tuple[int, ...]
    controllers: int | None

    @property
    def format_takes_others(self) -> bool:
        """Whether a format of one namespace, with an erase or without, may reach another one."""
        controller = self.controller
        return len(self.namespaces) > 1 and (controller.format_covers_all or controller.erase_covers_all)

    @property
    def covers_all(self) -> bool:
        """Whether an erase of one namespace leaves nothing of the drive's capacity out."""
        one = len(self.namespaces) == 1 or self.controller.erase_covers_all
        return one and self.controller.unallocated_bytes == 0


def subsystem(drive: Drive, tools: Tools) -> Subsystem:
    """Raises Unavailable, Malformed."""
    node = str(drive.node)
    controller = nvme_data.parse_controller(_answered(tools, "id-ctrl", node, "--output-format=binary"))
    everything = ["--all"] if controller.manages_namespaces else []
    listed = nvme_data.parse_namespaces(_answered(tools, "list-ns", node, *everything, "--output-format=json"))
    return Subsystem(controller, listed, _controllers(node, tools) if controller.several_controllers else 1)


def _controllers(node: str, tools: Tools) -> int | None:
    try:
        return nvme_data.parse_controllers(_answered(tools, "list-ctrl", node, "--output-format=json"))
    except (Unavailable, Malformed):
        return None


def _answered(tools: Tools, *arguments: str) -> bytes:
    answer = tools.run("nvme", *arguments)
    if answer.code != 0:
        raise Unavailable(f"the drive does not answer {arguments[0]}: {answer.words}")
    return answer.out


class NvmeSanitizer:
    keeps_log = True

    def __init__(self, technique: Technique, drive: Drive, tools: Tools) -> None:
        self._action, self._node, self._tools = SANITIZES[technique], str(drive.node), tools

    def status(self) -> Status:
        return self._log().status

    def start(self) -> str:
        how = _ONE_PASS_OF_ZEROS if self._action == _OVERWRITE else ()
        return _why_not(self._tools.run("nvme", "sanitize", self._node, f"--sanact={self._action}", *how))

    def estimate_s(self) -> int | None:
        return self._log().estimates_s[self._action]

    def names(self, record: str) -> bool:
        return record.startswith(f"action {self._action} completed")

    def settle(self) -> None:
        """Nothing to do: the kernel keeps the size of a namespace."""

    def _log(self) -> nvme_data.SanitizeLog:
        return nvme_data.parse_sanitize_log(
            _answered(self._tools, "sanitize-log", self._node, "--output-format=binary")
        )


class Format:
    """Waits for the one command, whose completion is the drive's whole answer: there is no log of it."""

    def __init__(self, drive: Drive, tools: Tools, clock: Clock) -> None:
        self._drive, self._tools, self._clock = drive, tools, clock

    def run(self, noted: Step, watch: Watch) -> Step:
        watch.at(0, 1)
        try:
            found = subsystem(self._drive, self._tools)
            if found.format_takes_others:
                why = "it would erase other namespaces of the drive as well, which the ticket does not name"
                return ended(noted, self._clock, StepOutcome.REFUSED, why)
            facts = {**noted.facts, "namespaces_covered": found.covers_all}
            limit = limit_s(None, self._drive.medium.size_bytes)
            answer = self._tools.run(
                "nvme", "format", str(self._drive.node), f"--ses={FORMATS[noted.technique]}", "--force",
                f"--timeout={min(int(limit * 1000), _LONGEST_MS)}", limit_s=limit + 60,
            )  # fmt: skip
        except NoAnswer as exc:
            return ended(noted, self._clock, StepOutcome.UNKNOWN, f"{exc}; what became of it is not known")
        noted, why_not = replace(noted, facts=facts), _why_not(answer)
        if why_not:
            return ended(noted, self._clock, StepOutcome.REFUSED, f"the drive did not take the command: {why_not}")
        watch.at(1, 1)
        return done(noted, self._clock, "the drive ended the command with success; it keeps no log of it")


def _why_not(answer: Answer) -> str:
    # "NVMe status: ..." is the drive's refusal, whatever the exit status of the tool's version says.
    refused = b"nvme status" in (answer.err + answer.out).lower()
    return answer.words if answer.code != 0 or refused else ""
