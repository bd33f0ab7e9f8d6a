"""Whether this machine's console works without the guard: what has to be so before anything is denied."""

import shutil
import subprocess
from pathlib import Path

from edge_agent.console.choose import Present, role
from edge_agent.console.pinned import load_pins
from edge_agent.console.pinning import CheckDisagrees, Machine, present, verify_accepted
from edge_agent.console.plan import RULES
from edge_agent.console.sysfs import ConsoleSysfs
from edge_agent.devices.sysfs import SysfsUsb
from provisioning.finding import Finding, Verdict
from provisioning.install.wanted import GUARD_STATE

_CHECK, _EARLY = "console", "console-at-start"
_PIN = "attach this machine's own keyboard and mouse, and run `leadglass-guard pin-console`"


def look(root: Path = Path("/"), *, no_usb_console: bool = False, sys: Path = Path("/sys")) -> list[Finding]:
    """Return what proves that keyboard and pointer work without the guard.

    `no_usb_console` is a person's word that this machine is worked at otherwise; it counts while none is attached.
    Raises PinsUnreadable.
    """
    machine = Machine(root, root / GUARD_STATE.lstrip("/"), sys)
    pins = load_pins(machine.state)
    if not pins.consoles:
        return [_unpinned(present(SysfsUsb(sys), ConsoleSysfs(sys)), no_usb_console=no_usb_console)]
    return [_works(machine, root), _starts(root)]


def _unpinned(attached: tuple[Present, ...], *, no_usb_console: bool) -> Finding:
    consoles = [one.device.port for one in attached if role(one.device)]
    if consoles:
        return Finding(_CHECK, Verdict.FAIL, f"not pinned, and attached at {', '.join(consoles)}", _PIN)
    if no_usb_console:
        return Finding(_CHECK, Verdict.PASS, "none is attached by USB, and a person says that none ever is")
    return Finding(
        _CHECK, Verdict.FAIL, "nothing is pinned, and no keyboard is attached by USB",
        f"{_PIN}; if this machine has none on the USB, say so with --no-usb-console",
    )  # fmt: skip


def _works(machine: Machine, root: Path) -> Finding:
    pins = load_pins(machine.state).pins
    if not (root / RULES.lstrip("/")).is_file():
        return Finding(_CHECK, Verdict.FAIL, f"{RULES} is not there", "run `leadglass-guard pin-console` again")
    try:
        verify_accepted(machine, pins)
    except (CheckDisagrees, OSError) as exc:
        return Finding(_CHECK, Verdict.FAIL, str(exc), _PIN)
    return Finding(_CHECK, Verdict.PASS, f"{len(pins)} pinned devices, each accepted as it is attached now")


def _starts(root: Path) -> Finding:
    """The rule has to be in the initramfs too, for whoever has to type there."""
    images = sorted((root / "boot").glob("initrd.img-*"))
    if shutil.which("lsinitramfs") is None or not images:
        return Finding(
            _EARLY, Verdict.NOT_EVALUATED, "no initramfs of initramfs-tools is here to look into",
            "if this machine starts with another initramfs, put the rule and the check into it",
        )  # fmt: skip
    for image in images:
        done = subprocess.run(["lsinitramfs", image], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if Path(RULES).name.encode() not in done.stdout:
            return Finding(_EARLY, Verdict.FAIL, f"{image.name} does not hold the rule", "update-initramfs -u -k all")
    return Finding(_EARLY, Verdict.PASS, f"the rule is in {len(images)} initramfs images")
