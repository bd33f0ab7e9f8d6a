"""SMART and temperature of a drive, as it tells them to smartctl and nvme; asked before a wipe and after it."""

from collections.abc import Callable

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.programs import Run, run
from edge_agent.sanitize.smart import not_evaluated, of_nvme, of_smartctl
from shared.errors import Malformed
from shared.sanitization.medium import MediumKind
from shared.sanitization.technique import Facts


def health(drive: Drive, run: Run = run) -> Facts:
    """Return what the drive says of itself; `evaluated` false and `why` where it says nothing, or nobody can ask."""
    node = str(drive.node)
    if drive.medium.kind is MediumKind.VIRTUAL:
        return not_evaluated("a virtual drive has no state of its own")
    facts = _asked(run, ["smartctl", "--json=c", "--info", "--health", "--attributes", node], of_smartctl)
    if drive.medium.kind is MediumKind.NVME and not facts["evaluated"]:
        own = _asked(run, ["nvme", "smart-log", node, "-o", "json"], of_nvme)
        return own if own["evaluated"] else not_evaluated(f"{facts['why']}; {own['why']}")
    return facts


def _asked(run: Run, command: list[str], read: Callable[[bytes], Facts]) -> Facts:
    ran = run(command)
    if ran.code is None:
        return not_evaluated(ran.why)
    if not ran.stdout:
        return not_evaluated(f"{command[0]} printed nothing and ended with {ran.code}")
    try:
        return read(ran.stdout)
    except Malformed as exc:
        return not_evaluated(f"{command[0]} ended with {ran.code}: {exc}")
