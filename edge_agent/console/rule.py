"""The udev rules that authorise the console without the guard (udev(7)).

Every value in them is a number, a digest or a place, each of a strict form: no text of a device comes in here. Each
rule matches one device at one place; the check program, run last, compares its descriptors, which show before it is
authorised. An interface set that grew, another device in that port and this one in another port stay as they are.
"""

from collections.abc import Iterable

from edge_agent.console.pins import Pin

CHECK = "/usr/lib/leadglass/console-check"

_HEAD = """\
# Written by `leadglass-guard pin-console`, which writes it anew: change nothing here.
# Authorises the pinned console and the hubs on the way to it, without the guard and in the initramfs.
ACTION!="add|change", GOTO="leadglass_console_end"
SUBSYSTEM!="usb", GOTO="leadglass_console_end"
ENV{DEVTYPE}!="usb_device", GOTO="leadglass_console_end"
"""
_TAIL = 'LABEL="leadglass_console_end"\n'


def rules(pins: Iterable[Pin]) -> str:
    return _HEAD + "".join(f"\n# {pin.role}, {pin.place}\n{_rule(pin)}\n" for pin in pins) + "\n" + _TAIL


def _rule(pin: Pin) -> str:
    # %S%p is the folder of the device in sysfs. udev runs the program itself, without a shell.
    return ", ".join(
        (
            f'KERNEL=="[0-9]*-{pin.place.port_text}"',
            f'DEVPATH=="{pin.place.pattern}"',
            f'ATTR{{idVendor}}=="{pin.vendor:04x}"',
            f'ATTR{{idProduct}}=="{pin.product:04x}"',
            f'PROGRAM=="{CHECK} %S%p {pin.descriptors}"',
            'ATTR{authorized}="1"',
        )
    )
