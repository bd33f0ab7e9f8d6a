"""`leadglass-guard pin-console`: what a person types, and what it says."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_agent.console.choose import Present
    from edge_agent.console.pinning import Machine
    from edge_agent.console.pins import Pin, Pins

DESCRIPTION = """\
Makes the keyboard and the pointer of this machine work without the guard, at the machine's start and in the initramfs.

Pins exactly the devices that are attached now, in the ports they are in, with the hubs on their way. Run it as root,
with the console attached; again when it is replaced or moved. --list shows what is pinned.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        action="append",
        default=[],
        metavar="PORT",
        help="pin what is in this port, such as 1-2.4 (repeatable; asked for where several could be meant)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print every file that would be written, and write none")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="print what is pinned")
    what.add_argument("--remove", metavar="PORT", help="no longer pin what was in this port")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="where the machine's files lie (%(default)s)"
    )


def act(arguments: argparse.Namespace) -> None:
    """Raises Refused, IntegrityFailure, Unavailable."""
    from edge_agent.console.pinned import load_pins
    from edge_agent.console.pinning import Machine

    machine = Machine(arguments.root, arguments.state, arguments.sys)
    held = load_pins(machine.state)
    if arguments.list:
        _list(held.pins)
    elif arguments.remove is not None:
        _remove(machine, held, arguments.remove, dry=arguments.dry_run)
    else:
        _pin(machine, held, arguments.port, dry=arguments.dry_run)


def _pin(machine: "Machine", held: "Pins", ports: Sequence[str], *, dry: bool) -> None:
    from edge_agent.console.choose import AskWhich, choose, pins
    from edge_agent.console.pinning import present, verify_accepted
    from edge_agent.console.sysfs import ConsoleSysfs
    from edge_agent.devices.sysfs import SysfsUsb

    found = present(SysfsUsb(machine.sys), ConsoleSysfs(machine.sys))
    try:
        chosen = choose(found, ports)
    except AskWhich as several:
        if not sys.stdin.isatty():
            raise
        chosen = choose(found, _ask(found, several.ports))
    new = pins(chosen, found)
    _write(machine, held.joined(new), dry=dry)
    if not dry:
        verify_accepted(machine, new)
        for pin in new:
            _say(f"pinned: {_shown(pin)}")


def _remove(machine: "Machine", held: "Pins", port: str, *, dry: bool) -> None:
    from edge_agent.console.pinning import NotPinned

    pin = next((pin for pin in held.consoles if pin.port == port), None)
    if pin is None:
        raise NotPinned(port)
    _write(machine, held.without(pin.place), dry=dry)
    if not dry:
        _say(f"no longer pinned: {_shown(pin)}")


def _write(machine: "Machine", pins: "Pins", *, dry: bool) -> None:
    from edge_agent.console.initramfs import rebuild
    from edge_agent.console.pinning import store

    if dry:
        for wanted in (*machine.wanted(pins), machine.wanted_list(pins)):
            if wanted.data is None:
                _say(f"==== {wanted.path}: removed")
            else:
                _say(f"==== {wanted.path} (mode {wanted.mode:o})\n{wanted.data.decode()}")
        return
    changed = store(machine, pins)
    for path in changed:
        _say(f"written: {path}")
    if not changed:
        _say("every file was as it should be")
    # Also where nothing changed: an earlier run may have ended before this.
    if machine.root != Path("/"):
        _say(f"the initramfs was left alone: the files lie below {machine.root}")
    elif not rebuild():
        _say("this machine has no update-initramfs: if it starts with an initramfs, put the rule and the check into it")


def _list(pins: "Sequence[Pin]") -> None:
    for pin in pins:
        _say(_shown(pin))
    if not pins:
        _say("nothing is pinned")


def _ask(present: "Sequence[Present]", ports: Sequence[str]) -> list[str]:
    _say("Which of these are the console?")
    for one in present:
        if one.device.port in ports:
            _say(
                f"  {one.device.port:10} {one.device.id} {one.device.name}  {' '.join(map(str, one.device.interfaces))}"
            )
    sys.stdout.write("Their ports, a space between: ")
    sys.stdout.flush()
    return sys.stdin.readline().split()


def _shown(pin: "Pin") -> str:
    name = f" {pin.name}" if pin.name else ""
    return f"{pin.role} {pin.vendor:04x}:{pin.product:04x}{name} at {pin.port} ({pin.place})"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
