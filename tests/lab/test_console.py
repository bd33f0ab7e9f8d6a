"""The pinned keyboard works in the initramfs, after it, and without any guard; nothing else does."""

import io
import tarfile
from pathlib import Path

from shared.fleet.devices import Authorized
from tests.lab.conftest import Guarded
from tests.lab.console import Console
from tests.lab.guest import Guest
from tests.lab.image import Image
from tests.lab.lab import Lab
from tests.lab.machine import DEFAULT_DENY, Boot
from tests.lab.media import Media
from tests.lab.newc import Entry, File
from tests.lab.tree import NOTHING
from tests.lab.wire import until

KEYS = Path(__file__).parent / "inside" / "keys.py"
PINNED, OTHER, STICK = "2-8", "2-7", "3-1"
RULE, CHECK = "/etc/udev/rules.d/60-leadglass-console.rules", "/usr/lib/leadglass/console-check"
HOOK = "/etc/initramfs-tools/hooks/leadglass-console"
# The hook as mkinitramfs runs it, but for the modules, which the image's initramfs has: finding them takes ten seconds
# here, and the whole of mkinitramfs two minutes.
RUN_HOOK = f"""\
set -e
export DESTDIR=/run/hooked verbose=n version=$(uname -r) MODULES=list CONFDIR=/etc/initramfs-tools
export MODULESDIR=/lib/modules/$version __MODULES_TO_ADD=/run/modules
mkdir -p $DESTDIR/usr/bin $DESTDIR/usr/lib
ln -s usr/bin $DESTDIR/bin; ln -s usr/lib $DESTDIR/lib
touch $__MODULES_TO_ADD
sed /manual_add_modules/d {HOOK} | sh
rm $DESTDIR/bin $DESTDIR/lib
tar --create --file /run/hooked.tar --directory $DESTDIR .
"""
IN_INITRAMFS = Boot(append=f"{DEFAULT_DENY} break=premount", console="console=ttyS0 console=tty0")


def test_the_pinned_keyboard_types_in_the_initramfs_and_after_it_while_all_else_is_blocked(
    installed: Guarded, guest_image: Image, sticks: Media
) -> None:
    extra = pinned(installed)

    with Lab(guest_image, Boot(IN_INITRAMFS.append, IN_INITRAMFS.console, extra), restored=False) as lab:
        lab.usb.stick("stick", sticks.fat, serial="GOOD", port="1")
        lab.usb.keyboard("other", port="7")
        lab.usb.keyboard("pinned", port="8")  # typed keys go to the last one
        await_typed(lab.console, "\necho it-types >/dev/ttyS0\n", "it-types")
        lab.console.type(f"cd /sys/bus/usb/devices; cat {OTHER}/authorized {STICK}/authorized >/dev/ttyS0\n")
        lab.console.type("ls /sys/block >/dev/ttyS0\n")
        lab.console.await_text(r"0\s+0\s+vda")
        lab.console.type("exit\n")
        lab.await_ready()

        assert lab.tree.authorized(PINNED) == "1"
        assert lab.tree.inputs(PINNED)
        for port in (OTHER, STICK):
            assert lab.tree.authorized(port) == "0"
            assert lab.tree.bound(port) == NOTHING
        assert not lab.guest.glob("/sys/block/sd*")
        keys_arrive(lab)


def test_the_pinned_keyboard_works_when_it_is_plugged_in_again_and_in_no_other_port(installed: Guarded) -> None:
    lab = installed.lab
    pin(lab.guest, lab)
    lab.guest.await_text(f"/sys/bus/usb/devices/{PINNED}/authorized", "0")
    lab.usb.unplug("console")
    lab.tree.await_gone(PINNED)
    lab.usb.keyboard("console", port="8")

    assert lab.tree.await_input(PINNED)
    keys_arrive(lab)
    lab.usb.keyboard("moved", port="7")
    lab.tree.await_device(OTHER)
    assert lab.tree.bound(OTHER) == NOTHING


def test_the_guard_leaves_the_pinned_keyboard_to_its_pin_whatever_policy_says(guarded: Guarded) -> None:
    lab, guard = guarded.lab, guarded.guard
    pin(lab.guest, lab)
    guard.stop()
    guard.start()

    device = guard.await_decided(PINNED, Authorized.YES)
    assert device.cause.value == "pinned-console"
    guard.follow("block")
    assert guard.await_decided(PINNED, Authorized.YES).cause.value == "pinned-console"
    keys_arrive(lab)


def pin(guest: Guest, lab: Lab) -> None:
    lab.usb.keyboard("console", port="8")
    lab.tree.await_device(PINNED)
    guest.run(f"leadglass-guard pin-console --port {PINNED}", timeout_s=120)
    # By itself udev looks for changed rules every three seconds; on a host, making the initramfs anew takes longer.
    guest.run("udevadm control --reload")


def pinned(installed: Guarded) -> dict[str, Entry]:
    """Pin a keyboard, and return what the hook puts into the initramfs and what the root file system then holds."""
    guest = installed.lab.guest
    pin(guest, installed.lab)
    guest.run(RUN_HOOK)
    extra: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(guest.get("/run/hooked.tar"))) as tar:
        for member in tar.getmembers():
            if member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                extra[f"/{member.name.removeprefix('./')}"] = File(content.read(), member.mode)
    assert {RULE, CHECK} < extra.keys()
    return extra | {f"/lab{path}": extra[path] for path in (RULE, CHECK)}


def await_typed(console: Console, text: str, shown: str) -> None:
    """Type until somebody listens: nothing says when the initramfs's shell is there."""

    def is_shown() -> bool:
        console.type(text)
        return shown in console.text()

    until(f"what is typed shows {shown!r}", is_shown, 120)


def keys_arrive(lab: Lab) -> None:
    """Press a key, and see it at the pinned keyboard, once that is listened to."""
    keyboard = lab.tree.await_input(PINNED)
    lab.guest.put("/opt/lab/keys.py", KEYS.read_bytes())
    keys = lab.guest.spawn(["python3", "/opt/lab/keys.py"])
    keys.await_line(f"device {keyboard}")
    lab.console.type("k")
    assert keys.await_line("key ")[1] == f"key {keyboard} 37"  # KEY_K
    keys.signal()
