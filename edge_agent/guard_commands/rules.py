"""Commands about rules: learning them from what is attached, and trying them on it."""

import sys
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

from edge_agent.devices.sysfs import SysfsUsb
from edge_agent.guard_commands.compare import Difference, differences, policy_of
from edge_agent.guard_commands.showing import quoted, reason_text
from edge_agent.link.client import GuardClient
from shared import canonical
from shared.clock import SystemClock
from shared.devices.device import UsbDevice
from shared.devices.learn import Ports
from shared.devices.learn import learn as rules_for
from shared.devices.parse import parse_rules
from shared.errors import Malformed, Refused, Unavailable

_MAX_BYTES = 16 * 1024 * 1024


def learn(sys_root: Path, proc_root: Path, ports: Ports, *, hashes: bool) -> None:
    """Print a rule for each device that is attached. The devices' texts are quoted as the language has it."""
    for rule in rules_for(_present(sys_root, proc_root), ports=ports, hashes=hashes):
        _say(rule.text())


def simulate(guard: GuardClient, file: Path, sys_root: Path, proc_root: Path, *, as_json: bool) -> None:
    """Raises Malformed, GuardUnavailable, GuardRefused."""
    policy = policy_of(parse_rules(_read(file)))
    report = guard.report()
    now = SystemClock().now()
    zone = now.astimezone().tzinfo or UTC
    found = differences(tuple(_present(sys_root, proc_root)), report.devices, policy, now, zone)
    for difference in found:
        _say(canonical.encode(difference.json()).decode() if as_json else _text(difference))
    if not found and not as_json:
        _say("every attached device would be treated as it is now")


def _text(difference: Difference) -> str:
    device, then = difference.device, difference.then
    now = difference.now.target.value if difference.now else "unknown to the guard"
    read_only = ", read-only" if then.access.value == "read-only" else ""
    reason = reason_text(then.cause, then.rule, then.detail)
    mark = "LOOSER " if difference.loosens else "       "
    return (
        f"{mark}{device.port:10} {device.id} {quoted(device.name)}: {now} -> {then.target.value}{read_only} ({reason})"
    )


def _present(sys_root: Path, proc_root: Path) -> Iterator[UsbDevice]:
    usb = SysfsUsb(sys_root, proc_root)
    for port in usb.ports():
        try:
            yield usb.read(port)
        except (Refused, Unavailable) as exc:
            sys.stderr.write(f"left out: {exc}\n")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
        if len(data) <= _MAX_BYTES:
            return data.decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise Malformed("rules file", "it cannot be read as UTF-8 text") from exc
    raise Malformed("rules file", f"larger than {_MAX_BYTES} bytes")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
