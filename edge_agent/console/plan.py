"""What `pin-console` has to write, from which devices are pinned."""

from dataclasses import dataclass

from edge_agent.console.pins import Pins
from edge_agent.console.rule import CHECK, rules
from edge_agent.console.scripts import CHECK_PROGRAM, INITRAMFS_HOOK

RULES = "/etc/udev/rules.d/60-leadglass-console.rules"
HOOK = "/etc/initramfs-tools/hooks/leadglass-console"
PINS = "pins.json"


@dataclass(frozen=True)
class Wanted:
    """A file as it has to be: `data` is None where there must be none. `path` is below the machine's root."""

    path: str
    data: bytes | None
    mode: int = 0o644


def plan(pins: Pins, *, has_initramfs_tools: bool) -> tuple[Wanted, ...]:
    """Return the files in the order in which they are written: nothing is named before it is there.

    The guard's own list of pins is not among them. It comes last, so that the guard never spares a device that would
    not work without it.
    """
    if not pins.pins:
        return (Wanted(HOOK, None), Wanted(RULES, None), Wanted(CHECK, None))
    files = [Wanted(CHECK, CHECK_PROGRAM.encode(), 0o755), Wanted(RULES, rules(pins.pins).encode())]
    if has_initramfs_tools:
        files.append(Wanted(HOOK, INITRAMFS_HOOK.encode(), 0o755))
    return tuple(files)
