"""USBGuard in the guest, as Debian configures it, with rules of ours: the peer of what the guard does."""

import re
from collections.abc import Sequence

from tests.lab.lab import Lab
from tests.lab.wire import until

UNIT = "usbguard.service"


class UsbGuard:
    def __init__(self, lab: Lab, rules: Sequence[str]) -> None:
        self._guest = lab.guest
        self._guest.put("/etc/usbguard/rules.conf", "".join(f"{rule}\n" for rule in rules).encode(), mode=0o600)

    def start(self) -> None:
        self._guest.run(["systemctl", "start", UNIT])
        until("USBGuard answers", lambda: self._guest.run("usbguard list-devices", check=False).code == 0)

    def main_pid(self) -> int:
        return int(self._guest.run(["systemctl", "show", "--value", "--property=MainPID", UNIT]).out)

    def verdicts_s(self, port: str) -> list[float]:
        """Return when its audit trail says that a verdict about the device there was carried out, since the epoch."""
        trail = self._guest.read("/var/log/usbguard/usbguard-audit.log")
        return [float(at) for at in re.findall(rf"^\[([0-9.]+)\].*/{port}' target\.new=", trail, re.MULTILINE)]

    def list_devices(self) -> str:
        return self._guest.run("usbguard list-devices").out

    def await_decided(self, serial: str, target: str) -> None:
        """Raises LabError: it did not come to this target."""
        until(
            f"USBGuard says {target} of {serial}",
            lambda: any(
                f'serial "{serial}"' in line and f" {target} " in line for line in self.list_devices().splitlines()
            ),
        )
