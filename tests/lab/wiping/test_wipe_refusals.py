"""Drives of a real kernel in every use, and swapped ones: what is said of them before anything is written."""

import json
from pathlib import Path

from tests.lab.conftest import Guarded
from tests.lab.guard import packed
from tests.lab.lab import Lab
from tests.lab.media import Media

USES = Path(__file__).parents[1] / "inside" / "wipe_uses.py"
MIB = 1 << 20


def test_each_use_of_a_drive_is_named_while_it_lasts_and_a_copy_of_a_luks_header_opens_it_after_its_erase(
    lab: Lab,
) -> None:
    lab.guest.put("/run/leadglass.tar", packed())
    lab.guest.run("tar --extract --file /run/leadglass.tar --directory /")
    lab.guest.put("/run/wipe_uses.py", USES.read_bytes())
    lab.drives.scsi("SCSI-1", "sda", 32 * MIB, "slot0")
    lab.drives.nvme("NVME-1", "nvme0n1", 32 * MIB, "slot1")
    told = json.loads(lab.guest.run(["python3", "/run/wipe_uses.py", "/dev/sda", "/dev/nvme0n1"], timeout_s=240).out)

    during = {name: use["during"] for name, use in told["uses"].items()}
    assert during == {
        "mount": [["MOUNT", "sda1", "ext4"]],
        "bind": [["MOUNT", "sda1", "ext4"]],
        "swap": [["SWAP", "sda1", "in use"]],
        "crypt": [["CRYPT", "sda1", "dm-0"]],
        "lvm": [["LVM", "sda1", "dm-0"]],
        "multipath": [["MULTIPATH", "sda", "dm-0"]],
        "raid": [["RAID", "sda1", "md127"]],
        "loop": [["LOOP", "sda1", "loop6"]],
        "let go": [["EXCLUSIVE", "sda", "it is busy"], ["EXCLUSIVE", "sda1", "it is busy"]],
        "exclusive": [["EXCLUSIVE", "sda", "it is busy"], ["EXCLUSIVE", "sda1", "it is busy"]],
        "read-only": [["READ_ONLY", "sda", ""]],
    }
    assert {name: use["after"] for name, use in told["uses"].items()} == {name: [] for name in during}

    drives = told["drives"]
    scsi, nvme, root = (drives[node] for node in ("/dev/sda", "/dev/nvme0n1", "/dev/vda"))
    assert (scsi["kind"], scsi["serial"], scsi["serial_source"]) == ("scsi-disk", "SCSI-1", "scsi-vpd-80")
    assert scsi["partitions"] == [{"type": "empty", "count": 1}]
    assert (nvme["kind"], nvme["serial"], nvme["serial_source"]) == ("nvme", "NVME-1", "nvme-identify")
    assert (nvme["health"]["evaluated"], nvme["health"]["passed"]) == (True, True)
    assert {drive["network"] for drive in drives.values()} == {""}
    assert (scsi["system"], nvme["system"]) == ("", "")
    assert root["system"] == "what the kernel was started with as root"

    luks = told["luks"]
    assert (luks["outcome"], luks["detail"], luks["opens"], luks["reached"]) == ("done", "", False, "clear")
    assert luks["kept"] == "PATIENT"


AGAIN = """
import sys
from edge_agent.media.answer import Answer
from edge_agent.sanitize.drives import DriveGone, DriveSwapped, find_again, find_drives
from edge_agent.sanitize.place import is_read_only

def not_looked_at(disk):
    return Answer(disk.number, (), None, "not looked at")

while node := open("/run/told").read().strip():
    [drive] = [each for each in find_drives(look=not_looked_at) if each.node.name == node]
    print(drive.medium.serial, drive.medium.serial_source, "read-only:", is_read_only(drive), flush=True)
    open("/run/told").read()
    try:
        find_again(drive)
    except (DriveGone, DriveSwapped) as exc:
        print("refused:", exc, flush=True)
    else:
        print("the same", flush=True)
"""


def test_a_stick_that_is_swapped_between_choice_and_start_is_found_also_by_one_of_the_same_serial(
    installed: Guarded, sticks: Media
) -> None:
    lab = installed.lab
    lab.tree.set_defaults("1")
    lab.guest.put("/run/again.py", AGAIN.encode())
    lab.guest.run("mkfifo /run/told")
    choosing = lab.guest.spawn(["python3", "/run/again.py"])
    lab.usb.stick("stick", sticks.fat, serial="CHOSEN", port="1")
    for other, said in (("", "the same"), ("OTHER", "refused:"), ("CHOSEN", "refused:")):
        node = lab.tree.await_disk("3-1")
        lab.guest.run(f"udevadm settle; echo {node} > /run/told")
        choosing.await_line("usb-descriptor read-only: True")  # by the guard's udev rule, for policy says nothing yet
        if other:
            lab.usb.unplug("stick")
            lab.tree.await_gone("3-1")
            lab.usb.stick("stick", sticks.fat, serial=other, port="1")
            lab.tree.await_disk("3-1")
        lab.guest.run("echo go > /run/told")
        choosing.await_line(said)
