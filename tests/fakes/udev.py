"""Debian's own udev on a folder that looks like /sys, within a mount namespace of its own: the host is not touched."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# The folders below ROOT come to lie over the machine's, so that paths in rules mean what they mean on a host.
_SCRIPT = """
set -e
mount --bind "$SYS" /sys
for folder in etc usr/lib usr/sbin; do
    [ ! -d "$ROOT/$folder" ] || mount -t overlay overlay -o "lowerdir=$ROOT/$folder:/$folder" "/$folder"
done
mount -t tmpfs tmpfs /usr/lib/udev/rules.d
mount -t tmpfs tmpfs /run
[ ! -d "$ROOT/run" ] || cp -a "$ROOT/run/." /run/
exec udevadm test --action="$ACTION" "/sys$DEVPATH" 2>&1
"""


class Udev:
    """Evaluates the rules that lie in etc/udev/rules.d below `root`."""

    def __init__(self, root: Path, sys: Path) -> None:
        self._root, self._sys = root, sys
        if shutil.which("udevadm") is None:
            pytest.skip("udevadm is not installed (Debian package udev)")
        self._unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
        if subprocess.run([*self._unshare, "true"], check=False, capture_output=True).returncode:
            pytest.skip("a mount namespace cannot be made here")

    def handle(self, devpath: str, action: str = "add") -> str:
        """Apply the rules to one event as udev does, except for RUN; return what udev says."""
        environment = {
            "PATH": os.environ["PATH"],
            "ROOT": str(self._root),
            "SYS": str(self._sys),
            "DEVPATH": devpath,
            "ACTION": action,
            "SYSTEMD_DEVICE_VERIFY_SYSFS": "0",  # the folder is no real sysfs
            "SYSTEMD_LOG_LEVEL": "debug",
        }
        command = [*self._unshare, "sh", "-c", _SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "This program is for debugging only" in done.stdout, done.stdout + done.stderr
        return done.stdout
