"""A folder that looks like the files of a machine that is fit to be a protected host."""

from pathlib import Path

from tests.fakes.usb_tree import UsbTree

KERNEL = "6.1.0-40-amd64"
_FILES = {
    "proc/sys/kernel/osrelease": KERNEL,
    "proc/meminfo": "MemTotal:        3907584 kB\nMemFree:          112000 kB\nMemAvailable:    2907584 kB\n",
    "proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n",
    "proc/self/mountinfo": "29 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/root rw\n",
    "sys/dev/block/253:0/dev": "253:0",
    "sys/dev/block/253:0/dm/uuid": "CRYPT-LUKS2-00112233445566778899aabbccddeeff-root",
    "sys/fs/cgroup/cgroup.controllers": "cpu io memory pids",
    "sys/module/usbcore/parameters/authorized_default": "-1",
    "sys/class/tpm/tpm0/tpm_version_major": "2",
    "dev/tpmrm0": "",
    f"boot/config-{KERNEL}": "CONFIG_CGROUPS=y\nCONFIG_CGROUP_BPF=y\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nleadglass:x:997:997::/var/lib/leadglass:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\ntss:x:113:leadglass\nleadglass:x:997:\n",
    "etc/timezone": "Asia/Shanghai",
    "run/udev/control": "",
    "usr/lib/systemd/libsystemd-shared-252.so": "",
}


def machine_tree(root: Path) -> UsbTree:
    """Make it below `root`; return what is attached to its USB, which is nothing yet."""
    tree = UsbTree(root / "sys")
    for name, text in _FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text.rstrip()}\n" if text else "")
    (root / "run/systemd/system").mkdir(parents=True)
    return tree
